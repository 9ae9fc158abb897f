"""What the shipped weights are worth: small sets learned from them, from random weights, and without a network.

Every method learns from the same images and is tested on the same others, three draws of each set (see
`transfer_sets.py`). The histogram is one of colours with one of oriented gradients, under a logistic regression whose
strength is chosen by cross-validation; frozen features are the network's maps under the same regression.
The three networks that are trained have one recipe, which was chosen for random weights. A cell that is measured is
not measured again.

    python benchmarks/transfer.py --weights FILE --work runs/transfer --out benchmarks/results/transfer_HARDWARE_YYYY-MM
"""

import argparse
import dataclasses
import hashlib
import itertools
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import numpy.typing as npt
import torch
from note import table, write_note
from torch import Tensor, nn
from transfer_sets import SETS, TransferSet, draw

from maxvit import MaxViT, accelerate
from maxvit.data.dataset import LabelledImages
from maxvit.data.images import decode
from maxvit.data.loading import evaluation_batches, training_batches
from maxvit.layers.inner_head import InnerHead, field_means
from maxvit.tasks import make_task
from maxvit.tasks.examples import TaskExamples
from maxvit.tasks.histograms import describe
from maxvit.training.distributed import Engine
from maxvit.training.learner import Learner
from maxvit.training.recipe import Recipe, load_recipe
from maxvit.training.setup import make_network

SIDE = 64  # pixels of images for all but our trained networks; at 32 the windows of timm's have one token
UPDATES = 200
FIELDS = 4  # a side
RECIPE = [
    "task.rand_augment=[0, 0]",
    "task.crop_area=[0.6,1]",
    "model.drop_path_rate=0",
    "model.batch_norm_momentum=0.1",
    "data.crop_pct=1",
    "data.batch_size=32",
    "optimization.learning_rate=1e-3",
    "optimization.warmup_epochs=10",  # of 100: the epochs count as shares of the updates
    "optimization.ema_decay=0.99",
]
Features = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class Drawn:
    """A set as one seed draws it."""

    train: LabelledImages
    test: LabelledImages
    chosen: TransferSet
    seed: int
    weights: Path


def histogram(of: Drawn) -> float:
    """Colours and oriented gradients."""
    return regression(of, describe_pixels(of.train), describe_pixels(of.test))


def frozen(of: Drawn) -> float:
    """The network as it is."""
    network = make_network(recipe_for(of, of.weights, side=SIDE), of.train.class_names)
    return regression(of, describe_maps(network, of.train), describe_maps(network, of.test))


def tuned(of: Drawn) -> float:
    """All of the network, from the weights."""
    recipe = recipe_for(of, of.weights)
    return accuracy(learn(recipe, make_network(recipe, of.train.class_names), of.train), of.test)


def scratch(of: Drawn) -> float:
    """The same network from random weights."""
    recipe = recipe_for(of)
    return accuracy(learn(recipe, make_network(recipe, of.train.class_names), of.train), of.test)


def theirs(of: Drawn) -> float:
    """timm's smallest MaxViT from random weights."""
    recipe = recipe_for(of, side=SIDE)
    return accuracy(learn(recipe, Peer(recipe, of.train.class_names), of.train), of.test)


@dataclasses.dataclass(frozen=True, slots=True)
class Method:
    """A column of the table: what gives an accuracy, and what that depends on besides the images."""

    measure: Callable[[Drawn], float]
    trained: bool = False
    from_weights: bool = False


HISTOGRAM, FROZEN, THEIRS = "histogram, regression", "frozen features, regression", "timm's test_maxvit, random"
RANDOM, TUNED = "maxvit_micro, random", "maxvit_micro, fine-tuned"
METHODS = {
    HISTOGRAM: Method(histogram),
    FROZEN: Method(frozen, from_weights=True),
    THEIRS: Method(theirs, trained=True),
    RANDOM: Method(scratch, trained=True),
    TUNED: Method(tuned, trained=True, from_weights=True),
}
GOALS = {(TUNED, RANDOM): "+5, aim +8; nowhere clearly below", (FROZEN, HISTOGRAM): "+5; ahead on every set but one"}


def describe_pixels(images: LabelledImages) -> Features:
    """Features (n, F): those of the baseline that `maxvit train` prints."""
    return np.array([describe(decode(source)) for source in images.sources], np.float64)


@torch.inference_mode()
def describe_maps(network: MaxViT, images: LabelledImages) -> Features:
    """Features (n, F): the second and the third stage's maps in 4 x 4 fields."""
    network.eval()
    batches = evaluation_batches(
        TaskExamples(make_task({"name": "classification"}), images, network.preprocessing), 100
    )
    return (
        torch.cat([field_means(network.forward_pyramid(batch.images, InnerHead.strides), FIELDS) for batch in batches])
        .double()
        .numpy()
    )


def regression(of: Drawn, train: Features, test: Features) -> float:
    """Accuracy of a logistic regression on normed features; its strength is chosen by cross-validation."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = LogisticRegressionCV(Cs=np.logspace(-4, 1, 6), cv=5, max_iter=300)
    classifier = make_pipeline(StandardScaler(), model)
    classifier.fit(train, list(of.train.labels))
    return float(classifier.score(test, list(of.test.labels)))


class Peer(nn.Module):
    """timm's network with what our learner asks of one."""

    def __init__(self, recipe: Recipe, class_names: list[str]) -> None:
        super().__init__()
        import timm

        torch.manual_seed(recipe.seed)
        self.network = timm.create_model("test_maxvit", img_size=SIDE, num_classes=len(class_names))
        ours = make_network(recipe, class_names)
        self.config, self.preprocessing, self.class_names = ours.config, ours.preprocessing, class_names

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.network(images)

    def no_weight_decay(self) -> set[str]:
        """Biases, norms and bias tables, as ours."""
        return {n for n, p in self.named_parameters() if p.ndim < 2 or "relative_position_bias_table" in n}


def recipe_for(of: Drawn, weights: Path | None = None, side: int | None = None) -> Recipe:
    """The one recipe, from weights or from random ones."""
    settings = [f"seed={of.seed}", f"task.augmentation={of.chosen.augmentation}"]
    settings += [f"data.image_size={side or of.chosen.side}", f"model.pretrained={weights or 'null'}"]
    return load_recipe("folder", [*RECIPE, *settings])


def learn(recipe: Recipe, network: MaxViT | Peer, images: LabelledImages, updates: int = UPDATES) -> MaxViT | Peer:
    """Train for so many updates. Returns the averaged weights' network, as `maxvit train` does."""
    task = make_task(recipe.task)
    examples = TaskExamples(task, images, network.preprocessing)
    batches = training_batches(examples, recipe.data.batch_size, 0, recipe.seed)
    fast = accelerate(network) if isinstance(network, MaxViT) else None
    learner = Learner(network, task, images, recipe, Engine(recipe.engine, "cpu"), updates, fast)
    learner.train()
    for epoch in itertools.count():
        batches.sampler.set_epoch(epoch)
        for batch in batches:
            learner.step(batch, turn=0, accumulate=1)
            learner.update()
            if learner.updates == updates:
                return learner.result()


@torch.inference_mode()
def accuracy(network: MaxViT | Peer, images: LabelledImages) -> float:
    """Share of images whose most probable class is theirs."""
    batches = evaluation_batches(
        TaskExamples(make_task({"name": "classification"}), images, network.preprocessing), 100
    )
    right = sum(int((network(batch.images).argmax(1) == batch.targets).sum()) for batch in batches)
    return right / len(images)


class Cells:
    """Accuracies that are measured already, a line of JSON for each.

    Args:
        path: The file of the lines, which are added to it.
        weights: Whose digest says which cells were measured with them.
    """

    def __init__(self, path: Path, weights: Path) -> None:
        self.path, self.weights = path, weights
        self.digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
        lines = path.read_text().splitlines() if path.exists() else []
        self.known = [json.loads(line) for line in lines]

    def key(self, set_name: str, method_name: str, seed: int) -> dict[str, object]:
        """What a cell's accuracy depends on."""
        method, of = METHODS[method_name], SETS[set_name]
        key = {"set": set_name, "images": of.per_class, "method": method_name, "seed": seed}
        key |= {"recipe": RECIPE, "updates": UPDATES, "side": of.side} if method.trained else {}
        return key | ({"weights": self.digest} if method.from_weights else {})

    def measure(self, set_name: str, method_name: str, seed: int, work: Path) -> dict[str, float]:
        """Accuracy and seconds of a cell, which is measured if it is not known."""
        key = self.key(set_name, method_name, seed)
        for cell in self.known:
            if all(cell.get(name) == value for name, value in key.items()):
                return cell
        chosen = SETS[set_name]
        drawn = Drawn(*draw(chosen, work, seed), chosen, seed, self.weights)
        began = time.perf_counter()
        found = METHODS[method_name].measure(drawn)
        cell = {**key, "accuracy": found, "seconds": round(time.perf_counter() - began, 1)}
        print(f"{set_name}; {method_name}; seed {seed}: {found:.1%} in {cell['seconds']} s", file=sys.stderr)
        with self.path.open("a") as file:
            file.write(json.dumps(cell) + "\n")
        self.known.append(cell)
        return cell


def main(arguments: list[str] | None = None) -> None:
    """Measure what is not measured yet, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of what is fetched and measured")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    cells = Cells(options.work / "cells.jsonl", options.weights)
    found = {
        name: {
            method: [cells.measure(name, method, seed, options.work)["accuracy"] for seed in range(options.seeds)]
            for method in METHODS
        }
        for name in options.sets
    }
    words = sys.argv[1:] if arguments is None else arguments
    facts = {"weights": f"{options.weights.name}, SHA-256 {cells.digest}...", "recipe": schedule()}
    command = ["benchmarks/transfer.py", *words]
    write_note(options.out, __doc__ or "", page(found), command, ["timm", "scikit-learn"], facts)


Found = Mapping[str, Mapping[str, Sequence[float]]]  # set, method: an accuracy for each seed


def page(found: Found) -> list[str]:
    """The table, and what was gained."""
    lines = table(["accuracy, %", *METHODS], [[name, *map(spread, of_set.values())] for name, of_set in found.items()])
    means = [f"{100 * mean(mean(of_set[method]) for of_set in found.values()):.1f}" for method in METHODS]
    lines += [f"| mean | {' | '.join(means)} |", "", "Gains in points, each seed's against the same seed's:", ""]
    gains = {pair: {name: gain(of_set, *pair) for name, of_set in found.items()} for pair in GOALS}
    rows = [[name, *(spread(gains[pair][name], "+") for pair in GOALS)] for name in found]
    rows.append(["mean", *(f"{100 * mean(map(mean, gains[pair].values())):+.1f}" for pair in GOALS)])
    rows.append(["goal for the mean", *GOALS.values()])
    return [*lines, *table(["", *(f"{better}, over {other}" for better, other in GOALS)], rows)]


def gain(of_set: Mapping[str, Sequence[float]], better: str, other: str) -> list[float]:
    """What one method has over another, seed by seed."""
    return [a - b for a, b in zip(of_set[better], of_set[other], strict=True)]


def spread(values: Sequence[float], sign: str = "") -> str:
    """Mean and deviation in per cent."""
    deviation = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values):{sign}.1f}{deviation}"


def schedule() -> str:
    """The recipe in words."""
    return f"{UPDATES} updates, `folder` with {', '.join(RECIPE)}"


if __name__ == "__main__":
    main()
