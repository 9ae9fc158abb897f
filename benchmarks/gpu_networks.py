"""Whole networks, in inference and in training steps, beside timm's and torchvision's, in CUDA graphs.

All have the same weights (torchvision's network is another, and has its own). A training step is forward, cross entropy
and backward, in PyTorch's mixed precision; inference is in bfloat16 throughout, or in mixed precision where a name says
so. The answer that is compared is the logits, or the gradient of the first convolution, which all others go into.
"""

import atexit
import functools
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import torch
import torch.nn.functional as F
from gpu_setting import Cell, Setting
from gpu_timing import LONGEST_S, Answer, Run, Work, comparison
from torch import Tensor, nn

import maxvit
from maxvit.benchmark.job import Job
from maxvit.benchmark.ours import plain
from maxvit.benchmark.peers import PEERS
from maxvit.benchmark.weights import write_weights
from maxvit.model import MaxViT
from maxvit.summary import summarize

OURS, EAGER = "maxvit, Triton", "maxvit, PyTorch"
ITS_OWN_GRAPH, TUNED_GRAPH = "timm, compiled, its own CUDA graph", "timm, max-autotune, its own CUDA graph"
CLOSE, CLOSE_GRADIENTS = 0.1, 0.3  # of dozens of layers in bfloat16; the kernels' own tests judge them more strictly
LONGEST_TUNING_S = 240.0
_FOLDERS = ExitStack()  # of weights, which contenders read when their turn comes
atexit.register(_FOLDERS.close)
LAST = torch.channels_last
Make = Callable[[Job], nn.Module]


def _fast(job: Job) -> nn.Module:
    if job.what == "inference":
        return maxvit.optimize(plain(job).bfloat16() if job.precision == "bf16" else plain(job), backend="triton")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what it says where it does nothing
        return maxvit.accelerate(plain(job), backend="triton")


def _eager(job: Job) -> nn.Module:
    return _low(plain(job).to(memory_format=LAST), job)


def _peer(name: str, low: bool = False) -> Make:
    """A peer as the command `maxvit benchmark` has it; low: with parameters in bfloat16."""
    peer = next(peer for peer in PEERS if peer.name == name)
    return lambda job: _low(peer.open(job), job) if low else peer.open(job)  # type: ignore[arg-type, return-value]


def _low(network: nn.Module, job: Job) -> nn.Module:
    return network.bfloat16() if job.what == "inference" and job.precision == "bf16" else network


def _compiled(make: Make, mode: str | None = None) -> Make:
    return lambda job: torch.compile(make(job), mode=mode)  # type: ignore[return-value]


TIMM, TORCHVISION = _peer("timm-channels-last", low=True), _peer("torchvision-channels-last", low=True)
# By what they do; those with `torch.compile` are last, since they take a minute to be ready.
CONTENDERS: dict[str, dict[str, Make]] = {
    "inference": {
        OURS: _fast,
        EAGER: _eager,
        "timm": TIMM,
        "timm, mixed precision": _peer("timm-channels-last"),
        "timm, compiled": _compiled(TIMM),
        ITS_OWN_GRAPH: _compiled(TIMM, "reduce-overhead"),
    },
    "training": {
        OURS: _fast,
        EAGER: _eager,
        "timm": TIMM,
        "timm, compiled": _compiled(TIMM),
        ITS_OWN_GRAPH: _compiled(TIMM, "reduce-overhead"),
    },
}
AUTOTUNED: dict[str, Make] = {
    OURS: _fast,
    EAGER: _eager,
    TUNED_GRAPH: _compiled(TIMM, "max-autotune"),
}
OF_TORCHVISION: dict[str, Make] = {
    OURS: _fast,
    "torchvision": TORCHVISION,
    "torchvision, compiled": _compiled(TORCHVISION),
}


# The goals: variant, side, what, batch.
GOALS = (
    ("tiny", 224, "inference", 256),
    ("tiny", 224, "training", 128),
    ("base", 384, "inference", 64),
    ("tiny", 512, "inference", 64),
)


def goal_cells() -> Iterator[Cell]:
    """T at 224, its training, B at 384, T at 512."""
    for case in GOALS:
        yield _cell(*case)


def autotuned_cells() -> Iterator[Cell]:
    """The goals beside timm's networks as the compiler tunes them, which takes minutes."""
    for case in GOALS:
        yield _cell(*case, tuned=True)


def network_cells() -> Iterator[Cell]:
    """All other networks, and torchvision's dialect."""
    yield _cell("tiny", 224, "inference", 1)
    sizes = [(n, s) for s in (224, 384, 512) for n in ("tiny", "small", "base", "large")]
    batches = {224: (128, 64), 384: (64, 32), 512: (32, 16)}
    known = {goal[:3] for goal in GOALS}
    for what in ("inference", "training"):
        for name, side in sizes:
            if (name, side, what) not in known:
                yield _cell(name, side, what, batches[side][what == "training"])
    for what, batch in (("inference", 256), ("training", 128)):
        yield _cell("tiny", 224, what, batch, "torchvision")


def _cell(variant: str, side: int, what: str, batch: int, weights: str = "official", tuned: bool = False) -> Cell:
    of = "" if weights == "official" else f", {weights}'s"
    name = f"network {variant} {side}{of}, {what}, batch {batch}" + ", autotuned" * tuned
    makes = AUTOTUNED if tuned else OF_TORCHVISION if weights == "torchvision" else CONTENDERS[what]
    work = functools.partial(work_of, makes, variant, side, what, batch, weights)
    return comparison(name, work, budget_s=3.0, ready_s=LONGEST_TUNING_S if tuned else 20.0)


def _job(variant: str, side: int, what: str, batch: int, weights: str, setting: Setting, folder: Path) -> Job:
    config = setting.config(f"maxvit_{variant}", side)
    write_weights(folder, config, config.image_size, weights)  # type: ignore[arg-type]
    return Job(
        what=what,  # type: ignore[arg-type]
        weights=weights,  # type: ignore[arg-type]
        config=config,
        image_size=config.image_size,
        batch=setting.batch(batch),
        precision="fp32" if setting.dry else "bf16",
        drop_path=False,
        device=setting.device.type,
        threads=torch.get_num_threads(),
        folder=folder,
        file=folder / "nothing is exported",
    )


def work_of(
    makes: dict[str, Make], variant: str, side: int, what: str, batch: int, weights: str, setting: Setting
) -> Work:
    """What some contenders do with one batch: answers of inference, or a step of training."""
    folder = Path(_FOLDERS.enter_context(tempfile.TemporaryDirectory()))
    job = _job(variant, side, what, batch, weights, setting, folder)
    random = torch.Generator().manual_seed(0)
    images = torch.randn(job.batch, 3, *job.image_size, generator=random).to(setting.device, memory_format=LAST)
    labels = torch.randint(job.config.num_classes, (job.batch,), generator=random).to(setting.device)

    def ready(name: str, make: Make) -> Run:
        network = make(job)
        if what == "training":
            return _step(network, images, labels, setting)
        mixed = "mixed" in name
        given = images if mixed else images.to(setting.dtype)

        @torch.inference_mode()
        def forward() -> Answer:
            with setting.autocast(mixed):
                return network(given)

        return forward

    outline = MaxViT.outline(plain(job).config)
    return Work(
        contenders={
            name: functools.partial(ready, name, make)
            for name, make in makes.items()
            if setting.compiles or not re.search("compiled|autotune", name)
        },
        close=CLOSE_GRADIENTS if what == "training" else CLOSE,
        flops=2.0 * summarize(outline).multiply_adds * job.batch * (3 if what == "training" else 1),
        bytes=None,
        images=job.batch,
        graphs=frozenset([ITS_OWN_GRAPH, TUNED_GRAPH]),
        longest_s=LONGEST_TUNING_S if TUNED_GRAPH in makes else LONGEST_S,
    )


def _step(network: nn.Module, images: Tensor, labels: Tensor, setting: Setting) -> Run:
    first = next(network.parameters())

    def step() -> Answer:
        network.zero_grad(set_to_none=True)
        with setting.autocast():
            loss = F.cross_entropy(network(images).float(), labels)
        loss.backward()
        assert first.grad is not None
        return first.grad

    return step
