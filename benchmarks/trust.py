"""Whether a classifier's answers can be trusted: calibration, sets of classes, and images of none of the classes.

A network learns clothes (Fashion-MNIST) from the shipped weights, from 6,000 images, with and without smoothed labels;
2,000 others choose the epoch and all that is measured here, and its 10,000 test images are what is measured on. It is
shown scikit-learn's digits, and crops of photographs, which are none of its classes. AUROC is how often an image of a
class has a lower score than one of none.

    python benchmarks/trust.py --work runs/transfer --runs runs/trust --out benchmarks/results/trust_HARDWARE_YYYY-MM
"""

import argparse
import gzip
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from note import table, write_note
from PIL import Image
from torch import Tensor
from transfer_sets import digits, fetch, photographs

import maxvit
from maxvit import MaxViT, optimize
from maxvit.data.dataset import LabelledImages
from maxvit.data.loading import evaluation_batches
from maxvit.layers.novelty import pooled_maps
from maxvit.tasks import load, task_for
from maxvit.tasks.classification import calibration
from maxvit.tasks.classification.conformal import threshold_for
from maxvit.tasks.classification.novelty import fit_gaussians
from maxvit.tasks.examples import TaskExamples
from maxvit.training.files import read_recipe
from maxvit.training.setup import load_data

NAMES = ["T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
TRAINING = 8_000  # images, of which a quarter are held out for validation
SETTINGS = [
    "data.val_fraction=0.25",
    "data.crop_pct=1",
    "task.crop_area=[0.6,1]",
    "model.drop_path_rate=0",
    "optimization.warmup_epochs=1",
]
EPOCHS, RATE = 10, 1e-3
COVERAGES = (0.8, 0.9, 0.95, 0.99)
GOALS = {"calibration": 0.015, "coverage": 0.01, "AUROC": 0.97}
REPEATS = 200  # draws of images for thresholds that chose nothing else
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a network gives for images.

    Attributes:
        logits: (n, classes).
        maps: Pooled maps of each stage (n, channels), by its stride.
        last: What the classifier sees (n, channels).
        novelty: (n,), the network's own score.
        labels: (n,).
    """

    logits: Floats
    maps: Mapping[int, Floats]
    last: Floats
    novelty: Floats
    labels: npt.NDArray[np.int64]


def write_clothes(work: Path, folder: Path) -> None:
    """FOLDER/PART/CLASS/*.png, once."""
    source = fetch("dataset-fashion-mnist", work) / "usr/share/datasets/fashion-mnist"
    for theirs, part, limit in (("train", "train", TRAINING), ("t10k", "test", 10_000)):
        read = [
            gzip.decompress((source / f"{theirs}-{name}-ubyte.gz").read_bytes())
            for name in ("labels-idx1", "images-idx3")
        ]
        labels = np.frombuffer(read[0], np.uint8, limit, 8)
        pixels = np.frombuffer(read[1], np.uint8, limit * 28 * 28, 16).reshape(-1, 28, 28)
        for name in NAMES:
            (folder / part / name).mkdir(parents=True, exist_ok=True)
        for i, (label, image) in enumerate(zip(labels.tolist(), pixels, strict=True)):
            Image.fromarray(image).save(folder / part / NAMES[label] / f"{i:05d}.png")


def unknown(images: Sequence[Sequence[npt.NDArray[np.uint8]]]) -> LabelledImages:
    """Images whose labels mean nothing here."""
    sources = [image for of_class in images for image in of_class]
    return LabelledImages(sources, [0] * len(sources), NAMES, [f"image {i}" for i in range(len(sources))])


@torch.inference_mode()
def see(network: MaxViT, images: LabelledImages) -> Seen:
    """What the network gives, in fp32."""
    fast = optimize(network)
    rows: list[tuple[Tensor, ...]] = []
    for batch in evaluation_batches(TaskExamples(task_for(network), images, network.preprocessing), 100):
        maps = fast.forward_pyramid(batch.images)
        last = fast.forward_head(maps[-1], pre_logits=True)
        novelty = network.novelty(pooled_maps(maps))
        rows.append((*(one.mean((2, 3)) for one in maps), last, fast.head.classifier(last), novelty))
    *maps, last, logits, novelty = (torch.cat(column).double().numpy() for column in zip(*rows, strict=True))
    return Seen(
        logits, dict(zip((4, 8, 16, 32), maps, strict=True)), last, novelty, np.asarray(images.labels, np.int64)
    )


def softmax(logits: Floats) -> Floats:
    """(n, classes)."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def calibration_error(seen: Seen, temperature: float) -> float:
    """Over 15 bins, as `maxvit evaluate` has it."""
    probabilities = softmax(seen.logits / temperature)
    return calibration.calibration_error(probabilities.max(1), probabilities.argmax(1) == seen.labels)


Members = Callable[[Floats, float], npt.NDArray[np.bool_]]  # probabilities and a limit: which classes are in the set


def likely(probabilities: Floats) -> Floats:
    """Least ambiguous sets: how improbable a class is."""
    return 1 - probabilities


def adaptive(probabilities: Floats) -> Floats:
    """APS, without random ties: the probability of all classes down to this one."""
    order = np.argsort(-probabilities, 1)
    sums = np.take_along_axis(probabilities, order, 1).cumsum(1)
    return np.take_along_axis(sums, np.argsort(order, 1), 1)


def regularised(probabilities: Floats, weight: float = 0.05, free: int = 2) -> Floats:
    """RAPS: the same, and a price for each class beyond some."""
    ranks = np.argsort(np.argsort(-probabilities, 1), 1)
    return adaptive(probabilities) + weight * np.maximum(0, ranks + 1 - free)


SETS = {"least ambiguous": likely, "APS": adaptive, "RAPS": regularised}


def set_limit(scores: Floats, coverage: float) -> float:
    """The score that so many of n images and one more do not exceed."""
    return float(np.sort(scores)[ceil((len(scores) + 1) * coverage - 1e-9) - 1])


def judge_sets(members: npt.NDArray[np.bool_], labels: npt.NDArray[np.int64]) -> tuple[float, float, float]:
    """Share of the sets with the true class, mean size, share of empty ones."""
    sizes = members.sum(1)
    return float(members[np.arange(len(labels)), labels].mean()), float(sizes.mean()), float((sizes == 0).mean())


def coverage_rows(network: MaxViT, val: Seen, test: Seen) -> list[list[str]]:
    """What the checkpoint's thresholds reach on the test images; other scores; thresholds that chose nothing else."""
    temperature = network.config.temperature
    on_val, on_test = (softmax(seen.logits / temperature) for seen in (val, test))
    random = np.random.default_rng(0)
    rows = []
    for coverage in COVERAGES:
        ours = on_test >= threshold_for(network.config.set_thresholds, coverage)
        held, size, empty = judge_sets(ours, test.labels)
        cells = [f"{coverage:.0%}", f"{held:.2%}", f"{size:.2f}", f"{empty:.1%}"]
        for score in (adaptive, regularised):
            limit = set_limit(score(on_val)[np.arange(len(val.labels)), val.labels], coverage)
            others = judge_sets(score(on_test) <= limit, test.labels)
            cells.append(f"{others[0]:.2%}, {others[1]:.2f}")
        fresh = []
        for _ in range(REPEATS):
            chosen, rest = np.split(random.permutation(len(test.labels)), [len(val.labels)])
            limit = set_limit(likely(on_test)[chosen, test.labels[chosen]], coverage)
            fresh.append(judge_sets(likely(on_test)[rest] <= limit, test.labels[rest])[0])
        cells.append(f"{np.mean(fresh):.2%} ± {np.std(fresh):.2%}")
        rows.append(cells)
    return rows


Score = Callable[[Seen], Floats]  # higher: less like the classes


def mahalanobis(train: Seen, features: Callable[[Seen], Floats], relative: bool = False) -> Score:
    """The distance to the nearest class mean; relative: less that to the mean of all, with the covariance of all."""
    mean, whitening, centres = fit_gaussians(features(train), train.labels, len(NAMES))
    overall = fit_gaussians(features(train), None, 1)

    def score(seen: Seen) -> Floats:
        x = (features(seen) - mean) @ whitening
        distances = np.array([((x - centre) ** 2).sum(1) for centre in centres]).min(0)
        if not relative:
            return distances
        return distances - (((features(seen) - overall[0]) @ overall[1]) ** 2).sum(1)

    return score


def neighbours(train: Seen, features: Callable[[Seen], Floats], k: int = 10) -> Score:
    """The distance to the k-th nearest training image, all features of length 1."""

    def unit(seen: Seen) -> Floats:
        return features(seen) / np.linalg.norm(features(seen), axis=1, keepdims=True)

    known = unit(train)

    def score(seen: Seen) -> Floats:
        return np.concatenate(
            [np.partition(2 - 2 * part @ known.T, k - 1, 1)[:, k - 1] for part in np.array_split(unit(seen), 20)]
        )

    return score


def all_maps(seen: Seen) -> Floats:
    """Maps of all stages, side by side."""
    return np.concatenate(list(seen.maps.values()), 1)


def scores(train: Seen) -> dict[str, tuple[Score, int]]:
    """By name, and how many numbers each keeps."""
    classes, last, wide = len(NAMES), train.last.shape[1], all_maps(train).shape[1]

    def gaussians(width: int, times: int = 1) -> int:
        return times * (width * width + width) + classes * width

    found: dict[str, tuple[Score, int]] = {
        "highest probability": (lambda seen: -softmax(seen.logits).max(1), 0),
        "largest logit": (lambda seen: -seen.logits.max(1), 0),
        "energy": (lambda seen: -np.logaddexp.reduce(seen.logits, 1), 0),
        "neighbours, classifier's input": (neighbours(train, lambda seen: seen.last), train.last.size),
        "neighbours, maps of all stages": (neighbours(train, all_maps), all_maps(train).size),
        "Mahalanobis, classifier's input": (mahalanobis(train, lambda seen: seen.last), gaussians(last)),
        "relative Mahalanobis, classifier's input": (
            mahalanobis(train, lambda seen: seen.last, relative=True),
            gaussians(last, 2),
        ),
        "Mahalanobis, maps of all stages": (mahalanobis(train, all_maps), gaussians(wide)),
        "relative Mahalanobis, maps of all stages": (mahalanobis(train, all_maps, relative=True), gaussians(wide, 2)),
    }
    for stride in train.maps:
        width = train.maps[stride].shape[1]
        of_stage = mahalanobis(train, lambda seen, stride=stride: seen.maps[stride])
        found[f"Mahalanobis, maps of stride {stride}"] = (of_stage, gaussians(width))
    return {"**in the checkpoint**": (lambda seen: seen.novelty, gaussians(wide)), **found}


def auroc(known: Floats, others: Floats) -> float:
    """How often one of `known` is below one of `others`; ties count half."""
    ordered = np.sort(known)
    below, up_to = np.searchsorted(ordered, others, "left"), np.searchsorted(ordered, others, "right")
    return float((below + up_to).mean() / (2 * len(known)))


def novelty_rows(train: Seen, val: Seen, test: Seen, others: Sequence[Seen]) -> list[list[str]]:
    """AUROC, and what is refused where 5 % of validation are."""
    rows = []
    for name, (score, numbers) in scores(train).items():
        limit, known = set_limit(score(val), 0.95), score(test)
        found = [score(seen) for seen in others]
        cells = [f"{auroc(known, s):.4f}" for s in found] + [f"{np.mean(s > limit):.1%}" for s in (known, *found)]
        rows.append([name, *cells, f"{numbers:,}"])
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Train what is not trained yet, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of what is fetched")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the images as files, and of the runs")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--smoothing", type=float, nargs="+", default=[0.0, 0.1])
    options = parser.parse_args(arguments)
    clothes = options.runs / "clothes"
    if not clothes.is_dir():
        write_clothes(options.work, clothes)
    unlike = [
        unknown([*images.train, *images.test]) for images in (digits(options.work, 0), photographs(options.work, 0))
    ]
    calibrated, body = [], list[str]()
    for smoothing in options.smoothing:
        run = options.runs / f"smoothing-{smoothing:g}"
        settings = [*SETTINGS, f"task.label_smoothing={smoothing:g}"]
        maxvit.train(clothes, out=run, epochs=EPOCHS, learning_rate=RATE, image_size=32, settings=settings)
        network, data = load(run), load_data(read_recipe(run))
        train, val, test, *others = (see(network, images) for images in (data.train, data.val, data.test, *unlike))
        temperature = network.config.temperature
        right = float((test.logits.argmax(1) == test.labels).mean())
        errors = [f"{calibration_error(test, t):.2%}" for t in (1.0, temperature)]
        calibrated.append([f"{smoothing:g}", f"{right:.2%}", f"{temperature:.3f}", *errors])
        body += ["", f"## Label smoothing {smoothing:g}", "", *closely(network, train, val, test, others)]
    head = ["label smoothing", "accuracy", "temperature", "calibration error at 1", "at the temperature"]
    goal = f"Goal: at most {GOALS['calibration']:.1%} at the temperature."
    body = [*table(head, calibrated), "", goal, *body]
    words = sys.argv[1:] if arguments is None else arguments
    facts = {"recipe": f"`folder`, {EPOCHS} epochs, rate {RATE:g}, 32 pixels, {', '.join(SETTINGS)}"}
    write_note(options.out, __doc__ or "", body, ["benchmarks/trust.py", *words], ["scikit-learn"], facts)


def closely(network: MaxViT, train: Seen, val: Seen, test: Seen, others: Sequence[Seen]) -> list[str]:
    """The tables of sets and of novelty."""
    asked = ["coverage asked", "reached", "mean size", "empty", "APS: reached, size", "RAPS: reached, size"]
    drawn = f"reached with thresholds of {len(val.labels):,} test images"
    heads = ["AUROC digits", "AUROC crops", "refused: test", "refused: digits", "refused: crops", "numbers kept"]
    return [
        *table([*asked, drawn], coverage_rows(network, val, test)),
        "",
        f"Goal: within {GOALS['coverage']:.0%} of what was asked. The last column has thresholds that chose nothing "
        f"else, on the other test images, {REPEATS} draws: what is between it and the second column is due to the "
        "choice of epoch and temperature on the same images, and to validation and test images that differ.",
        "",
        *table(["score", *heads], novelty_rows(train, val, test, others)),
        "",
        f"Goal: AUROC at least {GOALS['AUROC']}. The limit of each is that which 5 % of the validation images exceed.",
    ]


if __name__ == "__main__":
    main()
