"""What each change gained: the fast network beside itself with one change undone.

Contenders take turns, in the opposite order every second round, with the same weights and images; each has answered as
the whole does before it is timed. "Times as long" is without the change over with it, round by round. What is undone in
the native kernels is undone in their source, and compiled; training steps run in processes of their own, as in `maxvit
benchmark`.

    python benchmarks/ablations.py --out benchmarks/results/ablations_HARDWARE_YYYY-MM
"""

import argparse
import contextlib
import ctypes
import io
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from note import write_note
from torch import Tensor, nn

import maxvit
from maxvit import MaxViT, create_model, optimize
from maxvit.benchmark.job import Contender, Job
from maxvit.benchmark.ours import plain
from maxvit.benchmark.page import written
from maxvit.benchmark.plan import Plan, find_ours
from maxvit.benchmark.record import paired_ratio, spread
from maxvit.benchmark.run import benchmark
from maxvit.benchmark.weights import fill
from maxvit.export.onnx import write_onnx
from maxvit.export.options import ExportOptions
from maxvit.inference.engines import FileEngine
from maxvit.kernels.cpu import build, inference, training
from maxvit.kernels.cpu.ctypes_calls import activation_code, call
from maxvit.kernels.folding import fold_for_inference
from maxvit.layers.mbconv import MBConv
from maxvit.layers.multiaxis import AttentionLayer
from maxvit.layers.position_bias import RelativePositionBias
from maxvit.model import Stem

Run = Callable[[], Tensor]
CLOSE = 1e-4  # the largest difference over the largest number
# file, what stands there, what stands there without the change
UNDONE = {
    "groups one at a time, not 96 tokens together": [("attention.h", "TOGETHER = 96", "TOGETHER = 1")],
    "MBConv's hidden map whole, not in tiles that stay in the cache": [
        ("mbconv.h", "PANELS = 2;", "PANELS = 1000;"),
        ("mbconv.h", "TILE = 128 * 1024", "TILE = 1L << 40"),
    ],
    "GELU's exponential from the C library, one number at a time": [
        (
            "vector.h",
            "return x / (1.0f + exp2(minus_twice));",
            "Vec e; for (int i = 0; i < LANES; i++) e[i] = __builtin_exp2f(minus_twice[i]); return x / (1.0f + e);",
        )
    ],
    "softmax's exponential from the C library, one number at a time": [
        (
            "attention.h",
            "const Vec e = exp(load(x + i) - highest);",
            "const Vec d = load(x + i) - highest; Vec e; for (int j = 0; j < LANES; j++) e[j] = __builtin_expf(d[j]);",
        )
    ],
}


def timed(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Seconds of each, round by round, after one round that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for done in range(rounds + 1):
        for name in runs if done % 2 else reversed(runs):
            start = time.perf_counter()
            runs[name]()
            seconds[name].append(time.perf_counter() - start)
    return {name: values[1:] for name, values in seconds.items()}


def check(runs: dict[str, Run]) -> None:
    """Raises `AssertionError` if one does not answer as the first does."""
    answers = {name: run() for name, run in runs.items()}
    truth = next(iter(answers.values()))
    for name, answer in answers.items():
        difference = ((answer - truth).abs().max() / truth.abs().max()).item()
        assert difference < CLOSE, f"{name}: answers differ by {difference:.1e}"


def table(title: str, runs: dict[str, Run], rounds: int) -> list[str]:
    """A section of the page: the first is the whole, with which the others are compared."""
    check(runs)
    found = timed(runs, rounds)
    whole = next(iter(found))
    lines = [f"## {title}", "", "| | ms (20th to 80th percentile) | times as long |", "|---|---:|---:|"]
    for name, seconds in found.items():
        than = "" if name == whole else written(paired_ratio(found[whole], seconds), 2)
        lines.append(f"| {name} | {written(spread([1e3 * s for s in seconds]), 2)} | {than} |")
        print(lines[-1], file=sys.stderr, flush=True)
    return [*lines, ""]


def compiled_without(changes: list[tuple[str, str, str]], width: int, folder: Path) -> ctypes.CDLL:
    """The kernels with changes undone in their source."""
    folder.mkdir()
    for source in build.SOURCES.iterdir():
        (folder / source.name).write_text(source.read_text())
    for name, now, without in changes:
        text = (folder / name).read_text()
        assert now in text, f"{name} has no {now!r} any more: bring this script up to date"
        (folder / name).write_text(text.replace(now, without))
    with mock.patch.multiple(build, SOURCES=folder, cache_folder=lambda: folder):
        return build.load.__wrapped__(width)


def forward(network: nn.Module, images: Tensor, kernels: ctypes.CDLL | None = None) -> Run:
    """Runs a network, on other kernels if some are given."""

    def run() -> Tensor:
        swap: Any = mock.patch.object(inference, "load", return_value=kernels) if kernels else contextlib.nullcontext()
        with torch.inference_mode(), swap:
            return network(images)

    return run


def native_runs(model: MaxViT, images: Tensor, folder: Path) -> Iterator[tuple[str, Run]]:
    """The native kernels, and what they are without one of their ideas."""
    whole = optimize(model, backend="native")
    width = inference.width_for(model)
    yield "all of it", forward(whole, images)
    for i, (name, changes) in enumerate(UNDONE.items()):
        yield name, forward(whole, images, compiled_without(changes, width, folder / str(i)))
    if len(build.widths()) > 1:
        with mock.patch.object(inference, "widths", return_value=(16,)):
            yield "vectors of 8 floats, not 16", forward(optimize(model, backend="native"), images)


def pytorch_runs(model: MaxViT, images: Tensor) -> Iterator[tuple[str, Run]]:
    """From our plain network to the native one, one step after another."""
    yield "native kernels", forward(optimize(model, backend="native"), images)
    yield "PyTorch, norms folded, biases gathered once", forward(optimize(model, backend="torch"), images)
    yield "PyTorch, norms folded", forward(fold_for_inference(model), images)
    yield "PyTorch, the plain network", forward(model, images)


def onnx_runs(model: MaxViT, images: Tensor, folder: Path) -> Iterator[tuple[str, Run]]:
    """Our graph, and what PyTorch's exporter makes of the same network, in ONNX Runtime."""
    size = (images.shape[2], images.shape[3])
    write_onnx(model, folder / "ours.onnx", ExportOptions(image_size=size))
    engine = FileEngine(folder / "ours.onnx")
    yield "our graph, an image for each core", lambda: engine(images)
    session = engine.file._together
    yield (
        "our graph, all cores on each operator",
        lambda: torch.from_numpy(session.run(None, {"images": images.numpy()})[0]),
    )
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        made = torch.onnx.export(model, (images,), input_names=["images"], dynamo=True, verbose=False)
    assert made is not None
    made.save(folder / "theirs.onnx")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    theirs = onnxruntime.InferenceSession(folder / "theirs.onnx", options, providers=["CPUExecutionProvider"])
    yield (
        "PyTorch's export of the same network",
        lambda: torch.from_numpy(theirs.run(None, {"images": images.numpy()})[0]),
    )


class _ByIndex(nn.Module):
    """A relative position bias that is looked up in its table, so that its gradient is scattered."""

    def __init__(self, bias: RelativePositionBias) -> None:
        super().__init__()
        self.size, self.table = bias.size, bias.table
        height, width = bias.size
        row, column = torch.arange(height * width) // width, torch.arange(height * width) % width
        down, along = row - row[:, None] + height - 1, column - column[:, None] + width - 1  # key minus query
        self.register_buffer("places", down * (2 * width - 1) + along, persistent=False)

    def forward(self) -> Tensor:
        """(N, T, T)."""
        return self.table.flatten(1)[:, self.places]  # type: ignore[index]


def _stem_in_pytorch(job: Job) -> nn.Module:
    return _accelerated_without(Stem, job)


def _mbconv_in_pytorch(job: Job) -> nn.Module:
    return _accelerated_without(MBConv, job)


def _attention_in_pytorch(job: Job) -> nn.Module:
    return _accelerated_without(AttentionLayer, job)


def _accelerated_without(kind: type[nn.Module], job: Job) -> nn.Module:
    kept = {k: forward for k, forward in training.FORWARDS.items() if k is not kind}
    with mock.patch.object(training, "FORWARDS", kept):
        return maxvit.accelerate(plain(job))


def _memory_given_back(job: Job) -> nn.Module:
    with mock.patch.object(training, "keep_freed_memory"):
        return maxvit.accelerate(plain(job))


def training_table(title: str, options: argparse.Namespace) -> list[str]:
    """Training steps, each contender in a process of its own, as `maxvit benchmark` runs them."""
    undone = {
        "the stem in plain PyTorch": _stem_in_pytorch,
        "MBConv in plain PyTorch": _mbconv_in_pytorch,
        "attention layers in plain PyTorch": _attention_in_pytorch,
        "freed memory given back to the system": _memory_given_back,
        "everything in plain PyTorch": plain,
    }
    without = [
        Contender(name=n, label=n, open=make, weights=("official",), what=("training",)) for n, make in undone.items()
    ]
    plan = Plan(
        model=options.model,
        ours=find_ours(["accelerated"]),
        theirs=without,
        what=["training"],
        batches=[options.batch],
        sizes=[(options.side, options.side)],
        rounds=options.rounds,
    )
    (case,) = benchmark(plan, say=lambda sentence: print(sentence, file=sys.stderr, flush=True)).cases
    assert not case.not_measured, case.not_measured
    lines = [f"## {title}", "", "| | ms (20th to 80th percentile) | peak MB | times as long |", "|---|---:|---:|---:|"]
    ratios = ["", *(written(pair.ratio, 2) for pair in case.pairs)]
    for entry, ratio in zip(case.entries, ratios, strict=True):
        name = "all of it" if entry.ours else entry.label
        lines.append(f"| {name} | {written(entry.time_ms, 0)} | {(entry.peak_bytes or 0) / 1e6:.0f} | {ratio} |")
    return [*lines, ""]


def bias_runs() -> Iterator[tuple[str, Run]]:
    """A position bias and its gradient, of two heads as the first stage of MaxViT-T has them."""
    bias = RelativePositionBias(2, (7, 7), (13, 13))
    weights = torch.randn(bias().shape)

    def run(make: nn.Module) -> Run:
        return lambda: torch.autograd.grad(make(), bias.table, weights)[0]

    yield "a view of the table, the gradient a sum of shifted maps", run(bias)
    yield "looked up, the gradient scattered", run(_ByIndex(bias))


def gelu_runs(elements: int) -> Iterator[tuple[str, Run]]:
    """GELU alone, tanh formula."""
    x, act = torch.randn(elements), nn.GELU("tanh")
    y = torch.empty_like(x)

    def ours() -> Tensor:
        call("activation", x.numel(), activation_code(act), x, None, y)
        return y

    yield "x * sigmoid(2u), one exponential", ours
    yield "PyTorch's, with new memory for its output", lambda: act(x)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write OUT.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, required=True, help="where to write, without the ending")
    parser.add_argument("--model", default="maxvit_tiny", help="a variant")
    parser.add_argument("--side", type=int, default=224, help="of the images")
    parser.add_argument("--batch", type=int, default=8, help="images a run")
    parser.add_argument("--rounds", type=int, default=9, help="timed runs of each, two at least")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    model = create_model(options.model, image_size=options.side, drop_path_rate=0.0)
    fill(model)
    images = torch.randn(options.batch, 3, options.side, options.side)
    of = f"{options.model}, {options.batch} images of {options.side} x {options.side}"
    sections: list[str] = []

    def add(title: str, runs: Iterator[tuple[str, Run]]) -> None:
        print(title, file=sys.stderr, flush=True)
        sections.extend(table(title, dict(runs), options.rounds))

    with tempfile.TemporaryDirectory(prefix="maxvit-ablations-") as folder:
        model.eval()
        add(f"Inference of {of}: from the plain network on", pytorch_runs(model, images))
        add(
            f"Inference of {of}: the native kernels without one of their ideas",
            native_runs(model, images, Path(folder)),
        )
        add(f"ONNX Runtime, {of}", onnx_runs(model, images, Path(folder)))
        sections += training_table(f"A training step of {of}: without one part of accelerate", options)
        add("The position bias alone, forward and backward", bias_runs())
        add("GELU alone, 16 million numbers", gelu_runs(1 << 24))
    words = sys.argv[1:] if arguments is None else arguments
    write_note(options.out, __doc__ or "", sections, ["benchmarks/ablations.py", *words], ["onnxruntime"])


if __name__ == "__main__":
    main()
