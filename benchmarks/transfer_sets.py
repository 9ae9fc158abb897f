"""Small sets of images to learn from, each made or fetched here: photograph crops, digits, clothes, clip art.

A set is drawn by (images of a class, seed) and is the same for whoever asks; no image, and no near copy of one, is in
two parts of it.
"""

import gzip
import runpy
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from maxvit import storage
from maxvit.data.dataset import LabelledImages
from maxvit.data.images import decode
from maxvit.errors import MaxViTError
from maxvit.tasks.classification.settings import Augmentation

EXAMPLES = Path(__file__).parent.parent / "examples"
Pixels = npt.NDArray[np.uint8]
SIDE = 96  # pixels of a photograph's crop and of clip art, which are learned from at less
CLOTHES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
NEAR = 6  # of the 64 bits of two images' hashes differ at most where they are near copies


@dataclass(frozen=True, slots=True)
class Images:
    """What can be drawn from; the parts share nothing.

    Attributes:
        train: Images to learn from, class by class, in an order that a seed shuffles.
        test: Images to be tested on, class by class.
        class_names: Names of the classes of both.
    """

    train: Sequence[Sequence[Pixels]]
    test: Sequence[Sequence[Pixels]]
    class_names: Sequence[str]


@dataclass(frozen=True, slots=True)
class TransferSet:
    """A row of the table.

    Attributes:
        source: Reads the images, from a folder of what was fetched, for a seed.
        per_class: Images of each class to learn from.
        augmentation: What training may do to an image: nobody mirrors a digit.
        side: Pixels of the images as our network learns from them.
    """

    source: Callable[[Path, int], Images]
    per_class: int
    augmentation: Augmentation = "photos"
    side: int = 32


def draw(chosen: TransferSet, work: Path, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """What to learn from and what to be tested on: the same for every method.

    Args:
        chosen: One of `SETS`.
        work: Where what is fetched is kept.
        seed: Chooses the images to learn from and, where a set has no test part of its own, those of the test.
    """
    images = chosen.source(work, seed)
    random = np.random.default_rng(seed)
    train = [[of_class[i] for i in random.permutation(len(of_class))[: chosen.per_class]] for of_class in images.train]
    return _labelled(train, images.class_names), _labelled(images.test, images.class_names)


def _labelled(images: Sequence[Sequence[Pixels]], class_names: Sequence[str]) -> LabelledImages:
    sources = [image for of_class in images for image in of_class]
    labels = [label for label, of_class in enumerate(images) for _ in of_class]
    return LabelledImages(sources, labels, list(class_names), [f"image {i}" for i in range(len(sources))])


def photographs(work: Path, seed: int) -> Images:
    """Crops of ten pictures: those to learn from are of the left two thirds, those of the test of the rest."""
    load_pictures = runpy.run_path(str(EXAMPLES / "sample_photos.py"))["load_pictures"]
    random = np.random.default_rng(seed)

    def crops(picture: Image.Image, left: int, right: int, number: int) -> list[Pixels]:
        corners = random.integers((left, 0), (right - SIDE, picture.height - SIDE), (number, 2))
        return [np.asarray(picture.crop((x, y, x + SIDE, y + SIDE))) for x, y in corners.tolist()]

    pictures = load_pictures()
    borders = {name: picture.width * 2 // 3 for name, picture in pictures.items()}
    return Images(
        [crops(picture, 0, borders[name], 32) for name, picture in pictures.items()],
        [crops(picture, borders[name], picture.width, 50) for name, picture in pictures.items()],
        list(pictures),
    )


def digits(work: Path, seed: int) -> Images:
    """Scikit-learn's 8 x 8 digits; 70 of each for the test."""
    from sklearn import datasets

    data = datasets.load_digits()
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8)
    by_class = [pixels[data.target == digit] for digit in range(10)]
    random = np.random.default_rng(seed)
    shuffled = [of_class[random.permutation(len(of_class))] for of_class in by_class]
    return Images([c[70:] for c in shuffled], [c[:70] for c in shuffled], [str(digit) for digit in range(10)])


def clothes(work: Path, seed: int) -> Images:
    """Fashion-MNIST, 28 x 28; 150 of each class of its own test part."""

    def read(part: str, limit: int) -> list[Pixels]:
        pixels, labels = read_clothes(work, part)
        return [pixels[labels == label][:limit] for label in range(10)]

    return Images(read("train", 1000), read("t10k", 150), CLOTHES)


def read_clothes(work: Path, part: str) -> tuple[Pixels, Pixels]:
    """Pictures (n, 28, 28) and labels (n,) of Fashion-MNIST's "train" or "t10k"."""
    folder = fetch("dataset-fashion-mnist", work) / "usr/share/datasets/fashion-mnist"
    labels = np.frombuffer(gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, -1, 8)
    pixels = np.frombuffer(gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes()), np.uint8, -1, 16)
    return pixels.reshape(-1, 28, 28), labels


def clip_art(work: Path, seed: int) -> Images:
    """Open Clip Art by category, those with images enough; one image of each group of near copies."""
    random = np.random.default_rng(seed)
    shuffled = {name: random.permutation(images) for name, images in _distinct_clip_art(work).items()}
    return Images([c[TESTED:] for c in shuffled.values()], [c[:TESTED] for c in shuffled.values()], list(shuffled))


SETS = {
    "photograph crops, 32": TransferSet(photographs, 32, side=64),
    "digits, 10": TransferSet(digits, 10, "characters"),
    "digits, 100": TransferSet(digits, 100, "characters"),
    "clothes, 10": TransferSet(clothes, 10),
    "clothes, 50": TransferSet(clothes, 50),
    "clothes, 100": TransferSet(clothes, 100),
    "clip art, 20": TransferSet(clip_art, 20, side=64),
    "clip art, 100": TransferSet(clip_art, 100, side=64),
}


def fetch(package: str, work: Path) -> Path:
    """The root of a Debian package's files: fetched and unpacked once, not installed.

    Raises:
        subprocess.CalledProcessError: If apt-get cannot fetch it.
    """
    root = work / package
    if not root.is_dir():
        work.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", package], cwd=work, check=True, stdout=sys.stderr)
        (archive,) = work.glob(f"{package}_*.deb")
        partial = root.with_suffix(".partial")
        subprocess.run(["dpkg-deb", "--extract", archive, partial], check=True)
        partial.rename(root)
    return root


LEFT_OUT = ("unsorted",)  # no category
TESTED = 80  # of each category
ENOUGH = TESTED + 100  # images of a category that are not near copies of one another


def _distinct_clip_art(work: Path) -> dict[str, Pixels]:
    """By category (n, SIDE, SIDE, 3): one image of each group of near copies; kept in a file, as it takes minutes."""
    kept = work / "clip_art.npz"
    if not kept.is_file():
        folder = fetch("openclipart-png", work) / "usr/share/openclipart/png"
        paths = sorted(path for path in folder.glob("*/**/*.png") if _category(path, folder) not in LEFT_OUT)
        pictures, categories = [], []
        for path in paths:
            try:
                pictures.append(on_square(decode(path)))
                categories.append(_category(path, folder))
            except MaxViTError as error:  # of 16,000 pixels a side
                print(f"left out: {error}", file=sys.stderr)
        chosen = distinct(near_copies(pictures), categories)
        names = sorted(name for name, n in Counter(categories[i] for i in chosen).items() if n >= ENOUGH)
        by_class = {name: np.array([pictures[i] for i in chosen if categories[i] == name]) for name in names}
        storage.write_atomically(kept, lambda partial: np.savez_compressed(partial, **by_class))
    with np.load(kept) as file:
        return {name: file[name] for name in file.files}


def _category(path: Path, folder: Path) -> str:
    return path.relative_to(folder).parts[0]


def on_square(picture: Image.Image) -> Pixels:
    """In the middle of a white square."""
    return np.asarray(ImageOps.pad(picture, (SIDE, SIDE), Image.Resampling.LANCZOS, "white"))


def near_copies(pictures: Sequence[Pixels]) -> npt.NDArray[np.int32]:
    """A number for each picture, the same for those that are near copies, or near copies of near copies.

    Small differences do not count, and little of the colour does: two are near where the signs of their greys' low
    frequencies are, mirrored or not.
    """
    plain = np.array([_hash(picture) for picture in pictures])  # (n, 8) uint8
    mirrored = np.array([_hash(picture[:, ::-1]) for picture in pictures])
    pairs = []
    for i, bits in enumerate(plain):
        differing = [np.unpackbits(others ^ bits, axis=1).sum(1) for others in (plain[i:], mirrored[i:])]
        pairs += [(i, i + int(j)) for j in np.flatnonzero(np.minimum(*differing) <= NEAR)]
    rows, columns = np.array(pairs).T
    graph = coo_array((np.ones(len(rows)), (rows, columns)), (len(plain), len(plain)))
    return connected_components(graph, directed=False)[1]


def _hash(picture: Pixels) -> npt.NDArray[np.uint8]:
    """64 bits, (8,) uint8: which of the lowest frequencies are above their median."""
    grey = Image.fromarray(picture).convert("L").resize((32, 32), Image.Resampling.BOX)
    low = dctn(np.asarray(grey, np.float64), norm="ortho")[:8, :8].ravel()
    return np.packbits(low > np.median(low[1:]))


def distinct(groups: Sequence[int] | npt.NDArray[np.int32], categories: Sequence[str]) -> list[int]:
    """The first image of each group; none of a group that several categories share, for which is right?"""
    members: dict[int, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(int(group), []).append(i)
    return [own[0] for own in members.values() if len({categories[i] for i in own}) == 1]
