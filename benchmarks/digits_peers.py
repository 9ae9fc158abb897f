"""The same recipe with our network and with timm's of the same shape: accuracy on held-out digits, seed by seed.

Both go through `maxvit train`'s own loop, in plain PyTorch, each initialised by its own package: the same images in the
same order, augmentation, optimiser, average of weights. Windows are 2 tokens a side, since timm computes no map that
its windows do not divide. Batch norms follow with timm's momentum of 0.1: with the official 0.01, their statistics are
not yet those of the data after so few updates, and ours named 21 % of the digits (mean of five seeds). A run that is
finished is not run again.

    python benchmarks/digits_peers.py --work runs/peers --out benchmarks/results/digits_peers_HARDWARE_YYYY-MM
"""

import argparse
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any
from unittest import mock

import torch
from note import table, write_note
from torch import Tensor, nn

from maxvit import MaxViT, MaxViTConfig, Preprocessing, load_model, storage
from maxvit.benchmark.peers import timm_network
from maxvit.data.builtin import load_digits
from maxvit.inference.evaluate import evaluate
from maxvit.storage import BEST
from maxvit.training import run as runs
from maxvit.training.recipe import Recipe, load_recipe

SIDE = 64
CONFIG = MaxViTConfig(
    stem_channels=32,
    channels=(32, 32, 64, 96),
    depths=(1, 1, 1, 1),
    window_size=(2, 2),
    grid_size=(2, 2),
    drop_path_rate=0.1,
    num_classes=10,
    image_size=(SIDE, SIDE),
)


class Peer(nn.Module):
    """timm's network with what our loop and evaluation ask of one."""

    def __init__(self, preprocessing: Preprocessing, class_names: list[str]) -> None:
        super().__init__()
        self.network = timm_network(CONFIG, (SIDE, SIDE), CONFIG.drop_path_rate)
        self.config, self.preprocessing, self.class_names = CONFIG, preprocessing, class_names
        self.name, self.provenance = "timm", {}

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.network(images)

    def no_weight_decay(self) -> set[str]:
        """Biases, norms and bias tables, as ours."""
        return {n for n, p in self.named_parameters() if p.ndim < 2 or "relative_position_bias_table" in n}

    def save(self, path: Path) -> None:
        """Weights, and their names."""
        storage.save(path, self.state_dict(), {})


def make_ours(recipe: Recipe, class_names: list[str]) -> MaxViT:
    """Our network, initialised from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    network = MaxViT(CONFIG, expected(recipe), class_names)
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 0.1
    return network


def make_theirs(recipe: Recipe, class_names: list[str]) -> Peer:
    """timm's, likewise."""
    torch.manual_seed(recipe.seed)
    return Peer(expected(recipe), class_names)


def expected(recipe: Recipe) -> Preprocessing:
    """What the recipe says of images."""
    data = recipe.data
    assert data.mean
    assert data.std
    return Preprocessing(image_size=(SIDE, SIDE), crop_pct=1.0, mean=data.mean, std=data.std)


def accuracy(make: Any, recipe: Recipe, run: Path) -> float:
    """Accuracy on the 360 test digits: the best epoch's averaged weights, of a run that may have begun or finished."""
    with mock.patch.object(runs, "make_network", make):
        runs.train_or_resume(recipe, run, show_progress=True)
    test = load_digits().test
    assert test is not None
    if make is make_ours:
        return evaluate(load_model(run / BEST), test).metrics["accuracy"]
    peer = make_theirs(recipe, test.class_names)
    peer.load_state_dict(storage.load(run / BEST)[0])
    peer.eval()

    class Answers(Peer):
        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.__dict__.update(peer.__dict__)

        @torch.inference_mode()
        def forward(self, images: Tensor) -> Tensor:
            return peer.network(images)

    return evaluate(Answers(), test).metrics["accuracy"]


def main(arguments: list[str] | None = None) -> None:
    """Train both with each seed, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args(arguments)
    found: dict[str, list[float]] = {"maxvit": [], "timm": []}
    for seed in range(options.seeds):
        settings = [
            f"seed={seed}",
            f"data.image_size={SIDE}",
            f"optimization.epochs={options.epochs}",
            "optimization.warmup_epochs=1",
            "optimization.ema_decay=0.98",
            "model.kernels=none",
        ]
        recipe = load_recipe("digits", settings)
        for name, make in (("maxvit", make_ours), ("timm", make_theirs)):
            print(f"{name}, seed {seed}", file=sys.stderr)
            found[name].append(accuracy(make, recipe, options.work / f"{name}-{seed}"))
    rows = [
        [name, *(f"{a:.2%}" for a in values), f"{mean(values):.2%}", f"{stdev(values):.2%}" if len(values) > 1 else ""]
        for name, values in found.items()
    ]
    head = ["accuracy on 360 digits", *(f"seed {s}" for s in range(options.seeds)), "mean", "deviation"]
    words = sys.argv[1:] if arguments is None else arguments
    shape = f"{CONFIG.channels} channels, {CONFIG.depths} blocks, images of {SIDE} x {SIDE}, {options.epochs} epochs"
    command = ["benchmarks/digits_peers.py", *words]
    write_note(options.out, __doc__ or "", table(head, rows), command, ["timm"], {"network": shape})


if __name__ == "__main__":
    main()
