"""What each part of a MaxViT block is for: small networks without it, on a task across the picture and on digits.

Eight variants of one network: with and without MBConv, block attention and grid attention. Attention that is off is
left out; MBConv that is off is its shortcut, which pools and projects where the stage halves the map and widens it.
All get the same steps, batches, learning rate and seeds; sizes differ, as the table says.

**Halves** (generated). A picture of 32 x 128 has 32 coloured squares in each half, four of each of eight colours, every
one at a random place of its cell, in noise. Label 1: both halves have the same colours in the same cells. Label 0: the
right half has them in another random order. Every half of every picture holds the same colours in an order that is
uniformly random, so no count, no square and no view of one half tells anything: chance is 50 %. Who answers must
compare places that are 64 pixels apart, which is the step of a grid of 2 x 2 tokens. Windows are 2 x 2 tokens too: none
reaches across the middle, and through the convolutions alone a place of the last map sees 67 pixels (with windows
between them, more). Global in every variant is the average that the head takes, and with MBConv squeeze-and-excitation:
what is learned without attention over a distance is learned by these.

**Digits**. Scikit-learn's handwritten digits at 32 x 32, 1,437 to learn from and 360 held out, no augmentation.

    python benchmarks/architecture.py --work runs/architecture --out benchmarks/results/architecture_HARDWARE_YYYY-MM

Each run is kept in the work folder as it ends; the same command goes on where it was stopped.
"""

import argparse
import copy
import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from note import circumstances
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn
from torch.utils.flop_counter import FlopCounterMode

from maxvit import MaxViT, accelerate
from maxvit.config import MaxViTConfig, Preprocessing
from maxvit.data.builtin import load_digits
from maxvit.data.dataset import LabelledImages
from maxvit.data.transforms import preprocess
from maxvit.kernels.accelerate import obstacle
from maxvit.storage import write_text
from maxvit.training.optim import learning_rate_factor, make_optimizer

PARTS = ("MBConv", "block attention", "grid attention")
VARIANTS = [(m, b, g) for m in (True, False) for b, g in ((True, True), (True, False), (False, True), (False, False))]
RATE, DECAY, CLIP = 1e-3, 0.05, 1.0
STATISTICS = 20  # training batches from which norms take their statistics in the end; their own average is too slow
CONFIG = MaxViTConfig(
    stem_channels=32,
    channels=(32, 32, 64, 64),
    depths=(1, 1, 1, 1),
    window_size=(2, 2),
    grid_size=(2, 2),
    expansion=2,
)
CELL, SQUARE, COLOURS, NOISE = 8, 6, 8, 0.1
Parts = tuple[bool, bool, bool]  # which of PARTS a variant has
Images = tuple[Tensor, Tensor]  # (B, 3, H, W) and labels (B,)
Result = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """What is learned, and for how long.

    Attributes:
        classes: How many; as many images of each.
        size: (height, width) of its images.
        steps: Steps of training.
        batch: Images of a step.
        tested: Images held out.
        load: From the numbers of images to learn from and to test on to batches without end, and the test images.
    """

    classes: int
    size: tuple[int, int]
    steps: int
    batch: int
    tested: int
    load: Callable[["Task", int], tuple[Callable[[], Images], Images]]


def halves(count: int, size: tuple[int, int], random: np.random.Generator) -> Images:
    """Pictures of the first task."""
    rows, columns = size[0] // CELL, size[1] // CELL
    cells = rows * columns // 2  # of a half
    labels = random.integers(0, 2, count)
    left = random.permuted(np.tile(np.arange(cells) % COLOURS, (count, 1)), axis=1)  # (n, cells)
    right = left.copy()
    while (wrong := (labels == 0) & ((left == right).mean(1) > 0.25)).any():
        right[wrong] = random.permuted(right[wrong], axis=1)
    order = np.concatenate([a.reshape(count, rows, columns // 2) for a in (left, right)], 2)  # (n, rows, columns)
    move = random.integers(0, CELL - SQUARE + 1, (2, *order.shape))
    top = np.arange(rows)[:, None] * CELL + move[0]
    start = np.arange(columns) * CELL + move[1]
    y, x = (place[..., None] + np.arange(SQUARE) for place in (top, start))  # (n, rows, columns, SQUARE)
    angles = 2 * np.pi * np.arange(COLOURS) / COLOURS
    palette = np.cos(angles[:, None] + 2 * np.pi / 3 * np.arange(3))  # eight hues of one brightness
    pictures = random.normal(0, NOISE, (count, *size, 3))
    n = np.arange(count)[:, None, None, None, None]
    pictures[n, y[..., :, None], x[..., None, :]] = palette[order][..., None, None, :]
    images = torch.from_numpy(pictures).float().permute(0, 3, 1, 2)
    return images.contiguous(memory_format=torch.channels_last), torch.from_numpy(labels)


def load_halves(task: Task, seed: int) -> tuple[Callable[[], Images], Images]:
    """New pictures in every batch; the test images are the same for all seeds."""
    random = np.random.default_rng((1, seed))
    test = halves(task.tested, task.size, np.random.default_rng(0))
    return lambda: halves(task.batch, task.size, random), test


def load_digit_images(task: Task, seed: int) -> tuple[Callable[[], Images], Images]:
    """Random batches of the digits that are not held out."""
    images, labels, test = _digits(task.size)
    generator = torch.Generator().manual_seed(seed)

    def batch() -> Images:
        chosen = torch.randint(len(labels), (task.batch,), generator=generator)
        return images[chosen], labels[chosen]

    return batch, (test[0][: task.tested], test[1][: task.tested])


@functools.cache
def _digits(size: tuple[int, int]) -> tuple[Tensor, Tensor, Images]:
    """Images and labels to learn from, and those held out."""
    splits = load_digits()
    assert splits.test is not None
    train, val, test = (_tensors(part, size) for part in (splits.train, splits.val, splits.test))
    images, labels = (torch.cat(both) for both in zip(train, val, strict=True))
    return images, labels, test


def _tensors(part: LabelledImages, size: tuple[int, int]) -> Images:
    spec = Preprocessing(image_size=size, fit="squash", interpolation="bicubic")
    return torch.stack([preprocess(spec, source) for source in part.sources]), torch.tensor(part.labels)


TASKS = {
    "halves": Task(classes=2, size=(32, 128), steps=500, batch=32, tested=2000, load=load_halves),
    "digits": Task(classes=10, size=(32, 32), steps=300, batch=64, tested=360, load=load_digit_images),
}


def build(task: Task, parts: Parts, seed: int) -> MaxViT:
    """A variant, its parts taken out from outside."""
    torch.manual_seed(seed)
    network = MaxViT(dataclasses.replace(CONFIG, num_classes=task.classes, image_size=task.size))
    mbconv, block, grid = parts
    for stage in network.stages:
        for layer in stage.children():
            layer.mbconv = layer.mbconv if mbconv else layer.mbconv.shortcut
            layer.block_attention = layer.block_attention if block else nn.Identity()
            layer.grid_attention = layer.grid_attention if grid else nn.Identity()
    return network


def multiply_adds(network: MaxViT) -> int:
    """Multiply-adds of one image, counted on shapes alone."""
    height, width = network.config.image_size
    outline = copy.deepcopy(network).to("meta").eval()
    with FlopCounterMode(display=False) as counter:
        outline(torch.empty(1, 3, height, width, device="meta"))
    return counter.get_total_flops() // 2


def train(task: Task, parts: Parts, seed: int) -> Result:
    """One run."""
    network = build(task, parts, seed).train()
    reason = obstacle(network)
    fast = network if reason else accelerate(network)
    batch, test = task.load(task, seed)
    optimizer = make_optimizer(network, RATE, DECAY)
    start, losses = time.perf_counter(), []
    for step in range(task.steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * learning_rate_factor(step, task.steps, task.steps // 20, 0.01)
        images, labels = batch()
        loss = F.cross_entropy(fast(images), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        losses.append(loss.item())
    seconds = time.perf_counter() - start
    with torch.no_grad():
        update_bn([batch()[0] for _ in range(STATISTICS)], network)
    return {
        "accuracy": accuracy(network.eval(), test),
        "last_losses": losses[-20:],
        "seconds": seconds,
        "parameters": sum(p.numel() for p in network.parameters()),
        "multiply_adds": multiply_adds(network),
        "computed by": f"plain PyTorch: {reason}" if reason else "native kernels",
    }


@torch.inference_mode()
def accuracy(network: MaxViT, test: Images) -> float:
    """Share of right answers."""
    answers = torch.cat([network(images).argmax(1) for images in test[0].split(100)])
    return (answers == test[1]).float().mean().item()


def run(name: str, task: Task, parts: Parts, seed: int, work: Path) -> Result:
    """The result of one run: as the work folder has it, or trained now and kept there."""
    switches = "".join(letter if on else "-" for letter, on in zip("mbg", parts, strict=True))
    path = work / f"{name}_{switches}_{seed}.json"
    about = {"task": name, "parts": list(parts), "seed": seed, "steps": task.steps, "batch": task.batch}
    about["tested"] = task.tested
    if path.exists():
        kept = json.loads(path.read_text())
        if kept.items() >= about.items():
            return kept
    result = {**about, **train(task, parts, seed)}
    write_text(path, json.dumps(result, indent=1) + "\n")
    print(f"{path.stem}: {result['accuracy']:.1%} after {result['seconds']:.0f} s", file=sys.stderr, flush=True)
    return result


def named(parts: Parts) -> str:
    """For people."""
    return " + ".join(name for name, on in zip(PARTS, parts, strict=True) if on) or "none of them"


def of(results: list[Result], task: str, parts: Parts) -> list[Result]:
    """One variant's runs, in order of seed."""
    return [r for r in results if (r["task"], tuple(r["parts"])) == (task, parts)]


def mean_accuracy(runs: list[Result]) -> float:
    """Over the seeds."""
    return sum(r["accuracy"] for r in runs) / len(runs)


def section(name: str, task: Task, results: list[Result]) -> str:
    """One task's table, and what it says in a sentence."""
    rows, means = [], {}
    for parts in VARIANTS:
        runs = of(results, name, parts)
        means[parts] = mean_accuracy(runs)
        seeds = ", ".join(f"{r['accuracy']:.1%}" for r in runs)
        longest = max(r["seconds"] for r in runs)
        size = f"{runs[0]['parameters']:,} | {runs[0]['multiply_adds'] / 1e6:.1f} | {longest:.0f}"
        ticks = " | ".join("yes" if on else "" for on in parts)
        rows.append(f"| {ticks} | {means[parts]:.1%} | {seeds} | {size} |")
    best, chance = max(means, key=lambda parts: means[parts]), 1 / task.classes
    blind = [named(p) for p, m in means.items() if m < chance + 0.05]
    verdict = f"Best: {named(best)}, {means[best]:.1%}. Less than five points above chance ({chance:.0%}): "
    head = f"| {' | '.join(PARTS)} | accuracy, mean | each seed | parameters | M multiply-adds | s, longest run |"
    lines = [f"## {name.capitalize()}", "", head, "|---|---|---|---:|---|---:|---:|---:|", *rows, ""]
    budget = f"{task.steps} steps of {task.batch} images; tested on {task.tested:,}."
    return "\n".join([*lines, f"{verdict}{'; '.join(blind) or 'none'}. {budget}", ""])


def figure(results: list[Result], names: list[str]) -> Figure:
    """A dot a run, a bar at the mean."""
    drawing = Figure(figsize=(9.5, 3.6), layout="constrained", facecolor="white")
    for panel, name in zip(drawing.subplots(1, len(names), sharey=True, squeeze=False)[0], names, strict=True):
        for row, parts in enumerate(reversed(VARIANTS)):
            runs = of(results, name, parts)
            colour = "#0b6e4f" if all(parts) else "#7a8791"
            panel.plot([100 * r["accuracy"] for r in runs], [row] * len(runs), "o", color=colour, alpha=0.7)
            panel.plot(100 * mean_accuracy(runs), row, "|", color=colour, markersize=16, markeredgewidth=2)
        chance = 100 / TASKS[name].classes
        panel.axvline(chance, color="#d1495b", linewidth=1, linestyle="--")
        panel.text(chance, len(VARIANTS) - 0.4, " chance", color="#d1495b", fontsize=8, va="bottom")
        panel.set(title=name.capitalize(), xlabel="accuracy on held-out images, %", ylim=(-0.6, len(VARIANTS)))
        panel.set_yticks(range(len(VARIANTS)), [named(p) for p in reversed(VARIANTS)], fontsize=8)
        panel.grid(True, axis="x", color="#e4e4e4", linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    return drawing


def main(arguments: list[str] | None = None) -> None:
    """Run what is not there yet, and write OUT.md, OUT.json and OUT.png."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps each run")
    parser.add_argument("--out", type=Path, required=True, help="where to write, without the ending")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each variant")
    parser.add_argument("--quick", action="store_true", help="two steps and one seed: a trial that learns nothing")
    options = parser.parse_args(arguments)
    tasks, seeds = TASKS, options.seeds
    if options.quick:
        tasks = {n: dataclasses.replace(t, steps=2, batch=4, tested=20) for n, t in TASKS.items()}
        seeds = 1
    every = [(n, t, parts, seed) for seed in range(seeds) for n, t in tasks.items() for parts in VARIANTS]
    results = [run(*one, options.work) for one in every]
    words = sys.argv[1:] if arguments is None else arguments
    facts = {
        "network": f"stem {CONFIG.stem_channels}, channels {CONFIG.channels}, one block a stage, expansion "
        f"{CONFIG.expansion}, windows and grids of 2 x 2",
        "training": f"AdamW, rate {RATE:g} with 5 % warm-up and cosine, decay {DECAY:g}, clipped at {CLIP:g}, "
        f"then the norms' statistics anew from {STATISTICS} batches",
        "computed by": "; ".join(sorted({r["computed by"] for r in results})),
        **circumstances(["benchmarks/architecture.py", *words], ["numpy", "scikit-learn"]),
    }
    names = {ending: options.out.with_name(f"{options.out.name}.{ending}") for ending in ("md", "json", "png")}
    title, about = (__doc__ or "").split("    python", maxsplit=1)[0].strip().split("\n", maxsplit=1)
    page = [f"# {title}", about, "", f"![Accuracy of every run]({names['png'].name})", ""]
    page += [section(name, task, results) for name, task in tasks.items()]
    page += [*(f"- {key}: {value}" for key, value in facts.items()), ""]
    write_text(names["json"], json.dumps({"about": facts, "runs": results}, indent=1) + "\n")
    write_text(names["md"], "\n".join(page))
    figure(results, list(tasks)).savefig(names["png"], dpi=110)
    print(f"wrote {', '.join(map(str, names.values()))}")


if __name__ == "__main__":
    main()
