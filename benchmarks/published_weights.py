"""Every published MaxViT: a file of its layout with random weights, loaded by its name and compared with its own code.

For each name: timm's (or torchvision's) network with random weights of which every one counts, saved as their file,
and read by `create_model(name, pretrained=True)`, with the configuration found in the file, strictly. `difference` is
the largest of the logits of one image at the network's own size, over their deviation. `step`: a training step at 64
pixels leaves no parameter without a gradient that is finite, and a finite loss. Times are the processor time of one
thread for one image, the median of rounds in which each contender computes once, so that other programs on the machine
matter little; ratios are of the same round.

    python benchmarks/published_weights.py benchmarks/results/published_weights_CPU_YYYY-MM [NAME...]

What was measured before stays in OUT.json; names, if given, are measured again.
"""

import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from note import write_note
from safetensors.torch import save_file
from torch import Tensor, nn

from maxvit import MaxViT, create_model, optimize
from maxvit.benchmark.weights import fill
from maxvit.checkpoints.published import PUBLISHED, PublishedWeights, find_by_their_name

ROUNDS = ((20e6, 9), (80e6, 5), (1e9, 2))  # up to so many parameters: so many rounds
COLUMNS = (
    "name",
    "ours",
    "million parameters",
    "difference",
    "step",
    "ms",
    "optimised, ms",
    "theirs, ms",
    "theirs / ours",
)


def theirs_of(row: PublishedWeights) -> nn.Module:
    """Their network, with random weights."""
    if row.is_on_hub:
        import timm

        network = timm.create_model(row.their_name, pretrained=False)
    else:
        import torchvision

        network = torchvision.models.get_model(row.their_name)
    fill(network)
    return network.eval()


def ours_of(row: PublishedWeights, theirs: nn.Module, folder: Path) -> MaxViT:
    """Ours, as its name loads it from their file."""
    from maxvit.checkpoints import sources

    state = {name: tensor.contiguous() for name, tensor in theirs.state_dict().items()}
    path = folder / row.filename
    save_file(state, path) if row.is_on_hub else torch.save(state, path)
    sources.fetch = lambda _: path  # instead of a download
    model = create_model(row.their_name, pretrained=True)
    path.unlink()
    assert (model.config, model.preprocessing) == (row.config, row.preprocessing)
    return model


def training_step(model: MaxViT) -> bool:
    """Whether one step finds a gradient of every parameter."""
    model.set_image_size(64)
    model.train()
    loss = F.cross_entropy(model(torch.randn(2, 3, 64, 64)), torch.tensor([0, 1]))
    loss.backward()
    gradients = [p.grad for p in model.parameters()]
    return bool(loss.isfinite()) and all(g is not None and bool(g.isfinite().all()) for g in gradients)


def rounds_of(contenders: dict[str, nn.Module], images: Tensor, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each contender in each round, after one that does not count."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, network in contenders.items():
            start = time.process_time()
            network(images)
            found[name].append((time.process_time() - start) * 1e3)
    return {name: values[1:] for name, values in found.items()}


def measure(name: str) -> dict[str, Any]:
    """One row."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    row = find_by_their_name(name)
    theirs = theirs_of(row)
    with tempfile.TemporaryDirectory() as folder:
        model = ours_of(row, theirs, Path(folder))
    parameters = sum(p.numel() for p in model.parameters())
    images = torch.randn(1, 3, row.resolution, row.resolution)
    with torch.inference_mode():
        expected = theirs(images)
        off = float((model(images) - expected).abs().max() / expected.std(correction=0))
        fast = optimize(model)
        rounds = next(n for most, n in ROUNDS if parameters < most)
        times = rounds_of({"ours": model, "optimised": fast, "theirs": theirs}, images, rounds)
    ratios = [a / b for a, b in zip(times["theirs"], times["optimised"], strict=True)]
    del theirs, fast
    return {
        "name": row.their_name,
        "ours": f"{row.variant}, {row.tag}",
        "parameters": parameters,
        "difference": off,
        "step": training_step(model),
        "ms": {who: statistics.median(values) for who, values in times.items()},
        "ratio": statistics.median(ratios),
    }


def line(r: dict[str, Any]) -> str:
    """A row of the table."""
    ms = r["ms"]
    cells = (
        r["name"],
        r["ours"],
        f"{r['parameters'] / 1e6:.1f}",
        f"{r['difference']:.1e}",
        "yes" if r["step"] else "NO",
    )
    cells += (f"{ms['ours']:,.0f}", f"{ms['optimised']:,.0f}", f"{ms['theirs']:,.0f}", f"{r['ratio']:.2f}")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    out, names = Path(sys.argv[1]), sys.argv[2:]
    file = out.with_name(f"{out.name}.json")
    found = {r["name"]: r for r in json.loads(file.read_text())} if file.exists() else {}
    everything = [row.their_name for row in PUBLISHED if not row.is_shipped]
    for name in names or everything:  # each in a process of its own, whose memory ends with it
        done = subprocess.run([sys.executable, __file__, "--one", name], capture_output=True, text=True, check=False)
        if done.returncode:
            print(name, done.stderr.strip().splitlines()[-1:], file=sys.stderr)
            continue
        found[name] = json.loads(done.stdout.splitlines()[-1])
        print(line(found[name]), flush=True)
        rows = [found[n] for n in everything if n in found]
        file.write_text(json.dumps(rows, indent=1) + "\n")
    body = ["| " + " | ".join(COLUMNS) + " |", "|---|---|" + "---:|" * (len(COLUMNS) - 2), *map(line, rows)]
    write_note(out, str(__doc__), body, ["benchmarks/published_weights.py", *sys.argv[1:]], ["timm", "torchvision"])


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        print(json.dumps(measure(sys.argv[2])))
    else:
        main()
