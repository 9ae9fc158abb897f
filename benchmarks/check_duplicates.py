"""What `maxvit check` finds of what was planted: copies of images, and wrong labels.

Copies are added to distinct images, each of another image and each in another way. Found: the copy is paired with its
original. False: any other pair. Wrong labels: one image in twenty gets another class, drawn evenly; precision and
recall are those of the labels that are named. The thresholds were chosen on the training part of Fashion-MNIST and on
pieces of photographs. Here are its test part, and pieces that begin half a piece further. Copies are planted among
pieces with some detail, and not of skies: of those a new encoding leaves nothing to compare. Seconds are those of all
that the question takes, reading and features too, beside other work on the machine.

    python benchmarks/check_duplicates.py --work FOLDER --out benchmarks/results/check_duplicates_HARDWARE_YYYY-MM
"""

import argparse
import gzip
import io
import runpy
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean

import numpy as np
import numpy.typing as npt
import torch
from note import table, write_note
from PIL import Image
from transfer_sets import EXAMPLES, fetch

from maxvit.checking.check import COMPARED
from maxvit.checking.crops import with_crops
from maxvit.checking.duplicates import find_duplicates
from maxvit.checking.features import FrozenFeatures
from maxvit.checking.looks import look
from maxvit.checking.neighbours import nearest
from maxvit.checking.parts import Images
from maxvit.config import Preprocessing
from maxvit.data.images import decode
from maxvit.tasks.classification.linear import reduce
from maxvit.tasks.classification.suspicious_labels import find_suspicious

Pixels = npt.NDArray[np.uint8]
SEEDS = (0, 1, 2)
WRONG = 0.05
DETAIL = 2.0  # deviation of a piece's slopes at 16 pixels a side, at least


def encode(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _halved(method: Image.Resampling) -> Callable[[Image.Image], bytes]:
    return lambda image: encode(image.resize((image.width // 2, image.height // 2), method))


def _cropped(image: Image.Image) -> bytes:
    """Without a twentieth of its width and of its height, at least a pixel, on the right and below."""
    width, height = (side - max(1, round(side / 20)) for side in image.size)
    return encode(image.crop((0, 0, width, height)))


WAYS: Mapping[str, Callable[[Image.Image], bytes]] = {
    "the same file": encode,
    "the same pixels (BMP)": lambda image: encode(image, "BMP"),
    "JPEG, quality 60": lambda image: encode(image, "JPEG", quality=60),
    "half size, Lanczos": _halved(Image.Resampling.LANCZOS),
    "half size, bicubic": _halved(Image.Resampling.BICUBIC),
    "half size, box": _halved(Image.Resampling.BOX),
    "mirrored": lambda image: encode(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    "cropped": _cropped,
}


def clothes(work: Path) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Fashion-MNIST's test part, (10000, 28, 28), and its labels."""
    folder = fetch("dataset-fashion-mnist", work) / "usr/share/datasets/fashion-mnist"
    pixels, labels = (
        np.frombuffer(gzip.decompress((folder / f"t10k-{name}-ubyte.gz").read_bytes()), np.uint8, -1, skipped)
        for name, skipped in (("images-idx3", 16), ("labels-idx1", 8))
    )
    return pixels.reshape(-1, 28, 28), labels.astype(np.int64)


def pieces(side: int, detail: float = 0.0) -> list[Pixels]:
    """Pieces of ten photographs side by side, those with so much detail."""
    found = []
    for picture in runpy.run_path(str(EXAMPLES / "sample_photos.py"))["load_pictures"]().values():
        for top in range(side // 2, picture.height - side + 1, side):
            for left in range(side // 2, picture.width - side + 1, side):
                piece = picture.crop((left, top, left + side, top + side))
                small = np.asarray(piece.convert("L").resize((16, 16)), np.float32)
                if np.diff(small, axis=1).std() >= detail:
                    found.append(np.asarray(piece))
    return found


def count(distinct: Sequence[Pixels], each: int, seed: int) -> dict[str, float]:
    """Share of the copies that are found in each way, false pairs, and seconds; `each` copies in each way."""
    sources = [encode(Image.fromarray(pixels)) for pixels in distinct]
    order = np.random.default_rng(seed).permutation(len(distinct)).tolist()
    planted: dict[int, tuple[int, str]] = {}
    for turn, (way, copy) in enumerate(WAYS.items()):
        for original in order[turn * each : (turn + 1) * each]:
            planted[len(sources)] = original, way
            sources.append(copy(Image.fromarray(distinct[original])))

    def same(first: int, second: int) -> bool:
        return np.array_equal(*(np.asarray(decode(sources[i])) for i in (first, second)))

    began = time.perf_counter()
    images = Images(sources, [str(i) for i in range(len(sources))], ["all"] * len(sources), None, [])
    looks = look(images, FrozenFeatures(torch.device("cpu")), Preprocessing(), 0, False)
    neighbours, _ = nearest(reduce(looks.features), COMPARED)
    pairs = with_crops(find_duplicates(looks, same), looks, np.arange(len(sources)), neighbours)
    seconds = time.perf_counter() - began
    right = [pair for pair in pairs if planted.get(pair.second, (None,))[0] == pair.first]
    found = Counter(planted[pair.second][1] for pair in right)
    shares = {way: found[way] / max(each, 1) for way in WAYS}
    return {**shares, "false": len(pairs) - len(right), "seconds": seconds, "images": len(sources)}


def mislabel(pixels: Sequence[Pixels], labels: npt.NDArray[np.int64], seed: int) -> dict[str, float]:
    """Precision and recall of the labels that are named as suspicious, how many, and seconds."""
    random = np.random.default_rng(seed)
    wrong = random.permutation(len(labels))[: round(WRONG * len(labels))]
    number = int(labels.max()) + 1
    given = labels.copy()
    given[wrong] = (labels[wrong] + random.integers(1, number, len(wrong))) % number
    began = time.perf_counter()
    names = [str(i) for i in range(len(labels))]
    images = Images(list(pixels), names, ["all"] * len(names), None, [])
    features = reduce(look(images, FrozenFeatures(torch.device("cpu")), Preprocessing(), 0, False).features)
    named = [one.image for one in find_suspicious(features, given.tolist())]
    hits = len(set(named) & set(wrong.tolist()))
    return {
        "precision": hits / max(len(named), 1),
        "recall": hits / len(wrong),
        "named": len(named),
        "seconds": time.perf_counter() - began,
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of what is fetched")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=2000, help="distinct images of Fashion-MNIST")
    parser.add_argument("--copies", type=int, default=200, help="copies in each way; of photographs half as many")
    parser.add_argument("--labels", type=int, default=5000, help="images of Fashion-MNIST with labels")
    options = parser.parse_args(arguments)
    pixels, labels = clothes(options.work)

    def drawn(number: int, seed: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng(seed).permutation(len(pixels))[:number]

    duplicates = {
        f"{options.images:,} of Fashion-MNIST, 28 x 28, {options.copies} copies each": [
            count(pixels[drawn(options.images, seed)], options.copies, seed) for seed in SEEDS
        ]
    }
    for side in (48, 64):
        found = pieces(side, DETAIL)
        each = min(options.copies // 2, len(found) // len(WAYS))
        name = f"{len(found):,} pieces of photographs, {side} x {side}, {each} copies each"
        duplicates[name] = [count(found, each, seed) for seed in SEEDS]
    alone = {
        f"{options.images:,} of Fashion-MNIST": [count(pixels[drawn(options.images, s)], 0, s) for s in SEEDS],
        "all 10,000 of its test part": [count(pixels, 0, 0)],
        **{
            f"{len(pieces(side)):,} pieces of {side} x {side}, skies too": [count(pieces(side), 0, 0)]
            for side in (48, 64)
        },
    }
    wrong = {}
    for number in (options.labels // 10, options.labels):
        chosen = [drawn(number, seed) for seed in SEEDS]
        wrong[number] = [mislabel(pixels[c], labels[c], seed) for seed, c in enumerate(chosen)]
    words = sys.argv[1:] if arguments is None else arguments
    body = page(duplicates, alone, wrong)
    write_note(options.out, __doc__ or "", body, ["benchmarks/check_duplicates.py", *words], ["scikit-learn", "pillow"])


Runs = Sequence[Mapping[str, float]]


def page(duplicates: Mapping[str, Runs], alone: Mapping[str, Runs], wrong: Mapping[int, Runs]) -> list[str]:
    """Three tables; where there are several draws, the means and in brackets each."""
    rows = [[way, *(_shares(run[way] for run in runs) for runs in duplicates.values())] for way in WAYS]
    rows.append(["false pairs", *(", ".join(f"{run['false']:.0f}" for run in runs) for runs in duplicates.values())])
    rows.append(["seconds", *(f"{mean(run['seconds'] for run in runs):.1f}" for runs in duplicates.values())])
    lines = ["Copies found, of those planted; means of three draws, and each:", ""]
    lines += table(["copy", *duplicates], rows)
    lines += ["", "Pairs among distinct images alone:", ""]
    lines += table(
        ["images", "pairs", "seconds"],
        [
            [name, ", ".join(f"{run['false']:.0f}" for run in runs), f"{mean(run['seconds'] for run in runs):.1f}"]
            for name, runs in alone.items()
        ],
    )
    lines += ["", f"Wrong labels, {WRONG:.0%} of Fashion-MNIST's:", ""]
    cells = [
        [
            f"{number:,}",
            *(_shares(run[what] for run in runs) for what in ("precision", "recall")),
            ", ".join(f"{run['named']:.0f}" for run in runs),
            f"{mean(run['seconds'] for run in runs):.1f}",
        ]
        for number, runs in wrong.items()
    ]
    return [*lines, *table(["images", "precision", "recall", "named", "seconds"], cells)]


def _shares(values: Iterable[float]) -> str:
    each = list(values)
    return f"{mean(each):.3f} ({', '.join(f'{value:.3f}' for value in each)})"


if __name__ == "__main__":
    main()
