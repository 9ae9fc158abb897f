"""Make a small data set to try a task on: photographs with shapes and digits on them.

    pip install 'maxvit[train]' scikit-image
    python examples/scenes.py segmentation|detection|aesthetics|counting OUT [--images 600] [--size 128] [--seed 0]

Backgrounds are crops of the photographs that ship with scikit-learn and, where it is installed, scikit-image; digits
are scikit-learn's. Training, validation and test images share neither: each has photographs (or halves of one) and
digits of its own. As a network learns ten photographs by heart, half of the training images have a generated
background. The same seed gives the same files.
"""

import argparse
import csv
import importlib.util
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import cos, pi, sin
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from maxvit.data.images import decode

Pixels = npt.NDArray[np.uint8]
Random = np.random.Generator

SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}
SHAPES = ("disc", "square", "triangle", "ring", "star")
DIGITS = {"two": 2, "four": 4, "eight": 8}
CLASSES = (*SHAPES, *DIGITS)
# file, and the part of its width (from, to) that belongs to the split
PHOTOGRAPHS = {
    "train": {
        "china.jpg": (0, 1),
        "astronaut.png": (0, 1),
        "brick.png": (0, 1),
        "camera.png": (0, 1),
        "gravel.png": (0, 1),
        "ihc.png": (0, 1),
        "motorcycle_left.png": (0, 1),
        "page.png": (0, 1),
        "retina.jpg": (0, 1),
        "rocket.jpg": (0, 1),
    },
    "val": {"flower.jpg": (0, 0.5), "grass.png": (0, 1), "hubble_deep_field.jpg": (0, 1), "moon.png": (0, 1)},
    "test": {"flower.jpg": (0.5, 1), "chelsea.png": (0, 1), "coffee.png": (0, 1), "coins.png": (0, 1)},
}


@dataclass
class Scene:
    """A picture of which every pixel is accounted for.

    Attributes:
        image: (H, W, 3).
        background: (H, W, 3), the same without objects.
        owners: (H, W), 0: background; i + 1: object i is what one sees, by half of the pixel at least.
        touched: (H, W) bool, an object covers the pixel or a bit of it.
        kinds: Class of each object, an index into `CLASSES`.
        centres: (x, y) of each object as shares of width and height.
    """

    image: Pixels
    background: Pixels
    owners: Pixels
    touched: npt.NDArray[np.bool_]
    kinds: list[int]
    centres: list[tuple[float, float]]


class Stock:
    """Photographs and digits of one split."""

    def __init__(self, split: str) -> None:
        self.generated = 0.5 if split == "train" else 0.0
        from sklearn import datasets

        folders = [Path(datasets.__file__).parent / "images"]
        if found := importlib.util.find_spec("skimage"):
            folders.append(Path(str(found.origin)).parent / "data")
        self.photographs = []
        for name, (start, end) in PHOTOGRAPHS[split].items():
            for path in (folder / name for folder in folders if (folder / name).is_file()):
                whole = decode(path)
                self.photographs.append(whole.crop((int(start * whole.width), 0, int(end * whole.width), whole.height)))
        digits, part = datasets.load_digits(), list(SHARES).index(split)
        third = np.arange(len(digits.target)) % len(SHARES) == part
        self.digits = {d: digits.images[third & (digits.target == d)] for d in DIGITS.values()}

    def background(self, random: Random, height: int, width: int) -> Pixels:
        """A piece of a photograph, from 40 % of what fits up, perhaps mirrored; or a generated one."""
        if self.generated and random.random() < self.generated:
            return generated_background(random, height, width)
        photograph = self.photographs[random.integers(len(self.photographs))]
        scale = min(photograph.height / height, photograph.width / width) * random.uniform(0.4, 1)
        h, w = height * scale, width * scale
        left, top = random.uniform(0, photograph.width - w), random.uniform(0, photograph.height - h)
        piece = np.asarray(photograph.resize((width, height), Image.Resampling.BICUBIC, (left, top, left + w, top + h)))
        return np.array(piece[:, ::-1] if random.random() < 0.5 else piece)

    def outline(self, random: Random, kind: int, side: int) -> npt.NDArray[np.float64]:
        """How much of each pixel an object covers, (side, side), 0 to 1: drawn four times as large, then averaged."""
        name, big = CLASSES[kind], 4 * side
        turn = random.uniform(-pi / 8, pi / 8)
        drawn = Image.new("L", (big, big))
        draw, r = ImageDraw.Draw(drawn), big / 2 - 2
        if name in DIGITS:
            examples = self.digits[DIGITS[name]]
            grey = Image.fromarray((examples[random.integers(len(examples))] * 15).astype(np.uint8))
            drawn = grey.resize((big, big), Image.Resampling.BICUBIC).rotate(turn * 180 / pi, Image.Resampling.BICUBIC)
            drawn = drawn.point([0 if grey < 100 else 255 for grey in range(256)])
        elif name in ("disc", "ring"):
            draw.ellipse((big / 2 - r, big / 2 - r, big / 2 + r, big / 2 + r), 255)
            if name == "ring":
                draw.ellipse((big / 2 - r / 2, big / 2 - r / 2, big / 2 + r / 2, big / 2 + r / 2), 0)
        else:
            corners = {"square": 4, "triangle": 3, "star": 10}[name]
            radii = [r * (0.45 if name == "star" and i % 2 else 1) for i in range(corners)]
            angles = [
                turn - pi / 2 + (pi / 4 if name == "square" else 0) + 2 * pi * i / corners for i in range(corners)
            ]
            points = [(big / 2 + q * cos(a), big / 2 + q * sin(a)) for q, a in zip(radii, angles, strict=True)]
            draw.polygon(points, 255)
        return np.asarray(drawn, np.float64).reshape(side, 4, side, 4).mean((1, 3)) / 255


def generated_background(random: Random, height: int, width: int) -> Pixels:
    """Clouds of a random roughness in two colours, and up to ten straight borders behind which lie others."""

    def clouds() -> npt.NDArray[np.float64]:
        """Noise whose amplitudes fall with a power of the frequency, (height, width, 3)."""
        frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
        frequency[0, 0] = 1
        wave = np.fft.rfft2(random.normal(size=(height, width))) * frequency ** -random.uniform(0.3, 2.5)
        wave[0, 0] = 0
        noise = np.fft.irfft2(wave, (height, width))
        share = (0.5 + noise / (4 * noise.std() + 1e-9)).clip(0, 1)[..., None] * random.uniform(0.1, 1)
        one, other = random.uniform(0, 255, (2, 3))
        return np.asarray(one + (other - one) * share)

    pixels, (ys, xs) = clouds(), np.mgrid[:height, :width]
    for _ in range(random.integers(11)):
        angle, x, y = random.uniform(0, 2 * pi), random.uniform(0, width), random.uniform(0, height)
        beyond = (xs - x) * cos(angle) + (ys - y) * sin(angle)  # pixels behind the border
        behind = (0.5 + beyond / random.uniform(1, 6)).clip(0, 1)[..., None]
        if random.random() < 0.5:  # a band
            behind *= beyond[..., None] < random.uniform(2, 0.3 * max(width, height))
        pixels = pixels * (1 - behind) + clouds() * behind
    return np.asarray(pixels.round().clip(0, 255), np.uint8)


def make_scene(random: Random, stock: Stock, size: tuple[int, int], sides: list[float]) -> Scene:
    """Objects on a photograph, each later one over the earlier ones, of which at least 60 % can be seen.

    Args:
        random: It is drawn from.
        stock: Photographs and digits.
        size: (height, width).
        sides: How large each object is, as a share of the shorter side; one that finds no place is left out.
    """
    height, width = size
    background = stock.background(random, height, width)
    scene = Scene(background.copy(), background, np.zeros(size, np.uint8), np.zeros(size, bool), [], [])
    areas: list[int] = []
    for share in sides:
        kind, side = int(random.integers(len(CLASSES))), round(share * min(size))
        cover = stock.outline(random, kind, side)
        for _ in range(20):
            left, top = int(random.integers(width - side + 1)), int(random.integers(height - side + 1))
            spot = np.s_[top : top + side, left : left + side]
            owners = scene.owners.copy()
            owners[spot][cover >= 0.5] = len(areas) + 1
            seen = np.bincount(owners.ravel(), minlength=len(areas) + 2)[1:]
            if all(seen[i] >= 0.6 * area for i, area in enumerate(areas)):
                break
        else:
            continue
        colour = _colour(random, scene.image[spot][cover > 0].mean(0))
        shaded = colour * np.linspace(1.15, 0.85, side)[:, None, None]
        blended = scene.image[spot] * (1 - cover[..., None]) + shaded * cover[..., None]
        scene.image[spot] = np.where(cover[..., None] > 0, blended.round().clip(0, 255), scene.image[spot])
        scene.touched[spot] |= cover > 0
        scene.owners = owners
        scene.kinds.append(kind)
        scene.centres.append(((left + side / 2) / width, (top + side / 2) / height))
        areas.append(int(seen[-1]))
    return scene


def _colour(random: Random, behind: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The one of a few bright and dark colours that stands out most."""
    colours = random.uniform(0, 255, (6, 3))
    return np.asarray(colours[np.linalg.norm(colours - behind, axis=1).argmax()])


def usual_scene(random: Random, stock: Stock, size: int, empty: float) -> Scene:
    """A square scene with 1 to 5 objects of 1/8 to 7/16 of its side; a share of them has none."""
    number = 0 if random.random() < empty else int(random.integers(1, 6))
    return make_scene(random, stock, (size, size), list(random.uniform(1 / 8, 7 / 16, number)))


def each_scene(images: int, seed: int, make: Callable[[Random, Stock], Scene]) -> Iterator[tuple[str, str, Scene]]:
    """Split, name and scene of every image; a scene depends on the seed and its number in the split alone."""
    for part, (split, share) in enumerate(SHARES.items()):
        stock = Stock(split)
        for i in range(max(2, round(share * images))):
            yield split, f"{i:05d}", make(np.random.default_rng((seed, part, i)), stock)


def write_segmentation(out: Path, images: int, size: int, seed: int) -> None:
    """OUT/{train,val,test}/{images,masks}/NAME; a mask's values are lines of OUT/classes.txt, from 0: background."""
    for split, name, scene in each_scene(images, seed, lambda random, stock: usual_scene(random, stock, size, 0.0)):
        values = np.array([0, *(kind + 1 for kind in scene.kinds)], np.uint8)
        save(out / split / "images" / f"{name}.jpg", scene.image)
        save(out / split / "masks" / f"{name}.png", values[scene.owners])
    (out / "classes.txt").write_text("\n".join(["background", *CLASSES]) + "\n")


def write_detection(out: Path, images: int, size: int, seed: int) -> None:
    """OUT/{train,val,test}/NAME and OUT/annotations/instances_{train,val,test}.json, as COCO has them."""
    categories = [{"id": i, "name": name, "supercategory": "object"} for i, name in enumerate(CLASSES, 1)]
    files = {split: {"images": [], "annotations": [], "categories": categories} for split in SHARES}
    for split, name, scene in each_scene(images, seed, lambda random, stock: usual_scene(random, stock, size, 0.1)):
        content, image_id = files[split], len(files[split]["images"]) + 1
        save(out / split / f"{name}.jpg", scene.image)
        content["images"].append({"id": image_id, "file_name": f"{name}.jpg", "height": size, "width": size})
        for i, kind in enumerate(scene.kinds):
            seen = {"id": len(content["annotations"]) + 1, "image_id": image_id, "category_id": kind + 1}
            content["annotations"].append(seen | coco_shape(scene.owners == i + 1))
    (out / "annotations").mkdir(parents=True, exist_ok=True)
    for split, content in files.items():
        (out / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def coco_shape(mask: npt.NDArray[np.bool_]) -> dict[str, object]:
    """Box, area and runs (column by column, the first of what is not the object) of a mask (H, W)."""
    ys, xs = np.nonzero(mask)
    flat = mask.ravel("F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *([0] if flat[0] else []), *changes, flat.size]).tolist()
    left, top = int(xs.min()), int(ys.min())
    box = [left, top, int(xs.max()) + 1 - left, int(ys.max()) + 1 - top]
    return {"bbox": box, "area": len(xs), "iscrowd": 0, "segmentation": {"size": list(mask.shape), "counts": counts}}


def write_aesthetics(out: Path, images: int, size: int, seed: int) -> None:
    """OUT/images/NAME and OUT/scores.csv with 200 votes an image, which follow from what it shows.

    Mean 4.8 + 1.4 sharpness + 1.2 colour + 1.2 thirds, each from -1 to 1: how little it was blurred (0 to 3 pixels of
    128), how colourful it is (Hasler and Suesstrunk's measure), and how near its main object, the largest, lies to a
    third of width and height, where its middle counts as far. Deviation 0.8 + 0.25 for each other object.
    """
    rows: list[list[object]] = [["image", *range(1, 11), "split"]]
    makers = np.random.default_rng((seed, 3))
    for split, name, scene in each_scene(images, seed, lambda random, stock: _composed(random, stock, size)):
        image, sharpness = _developed(makers, scene.image, size)
        x, y = scene.centres[0]
        away = min(np.hypot(x - a / 3, y - b / 3) for a in (1, 2) for b in (1, 2)) / (2**0.5 / 6)
        mean = 4.8 + 1.4 * sharpness + 1.2 * (2 * colourfulness(image) - 1) + 1.2 * (1 - 2 * min(away, 1.0))
        votes = makers.multinomial(200, _bell(mean, 0.8 + 0.25 * (len(scene.kinds) - 1)))
        save(out / "images" / f"{split}_{name}.jpg", image)
        rows.append([f"{split}_{name}.jpg", *votes.tolist(), split])
    write_table(out / "scores.csv", rows)


def write_counting(out: Path, images: int, size: int, seed: int) -> None:
    """OUT/images/NAME and OUT/counts.csv: how many objects each image has."""
    rows: list[list[object]] = [["image", "count", "split"]]
    for split, name, scene in each_scene(images, seed, lambda random, stock: usual_scene(random, stock, size, 0.1)):
        save(out / "images" / f"{split}_{name}.jpg", scene.image)
        rows.append([f"{split}_{name}.jpg", len(scene.kinds), split])
    write_table(out / "counts.csv", rows)


def _composed(random: Random, stock: Stock, size: int) -> Scene:
    """A scene of any shape with a large object, and up to four small ones in front of it or beside it."""
    ratio = (3 / 5) ** random.uniform(-0.5, 0.5)
    shape = (round(size * ratio), round(size / ratio))
    clutter = list(random.uniform(1 / 8, 1 / 5, int(random.integers(5))))
    return make_scene(random, stock, shape, [random.uniform(0.3, 0.4), *clutter])


def _developed(random: Random, image: Pixels, size: int) -> tuple[Pixels, float]:
    """The image with more or less colour and, half of them, blurred; and how sharp it is, -1 to 1."""
    blur = random.uniform(0, 3) if random.random() < 0.5 else 0.0
    coloured = ImageEnhance.Color(Image.fromarray(image)).enhance(random.uniform(0, 1.8))
    return np.asarray(coloured.filter(ImageFilter.GaussianBlur(blur * size / 128))), 1 - 2 * blur / 3


def colourfulness(image: Pixels) -> float:
    """Hasler and Suesstrunk's measure, 0 (grey) to 1 (100 of theirs, or more)."""
    red, green, blue = np.moveaxis(image.astype(np.float64), 2, 0)
    a, b = red - green, (red + green) / 2 - blue
    return min(1.0, float(np.hypot(a.std(), b.std()) + 0.3 * np.hypot(a.mean(), b.mean())) / 100)


def _bell(mean: float, deviation: float) -> npt.NDArray[np.float64]:
    weights = np.exp(-(((np.arange(1, 11) - mean) / deviation) ** 2) / 2)
    return np.asarray(weights / weights.sum())


def save(path: Path, pixels: Pixels) -> None:
    """One image as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)


def write_table(path: Path, rows: list[list[object]]) -> None:
    """A CSV file."""
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


WRITERS = {
    "segmentation": write_segmentation,
    "detection": write_detection,
    "aesthetics": write_aesthetics,
    "counting": write_counting,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=WRITERS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--size", type=int, default=128, help="of a side in pixels; of aesthetics about that")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.images < 20 or given.size < 32:
        parser.error(f"--images {given.images} --size {given.size}: 20 images and 32 pixels are the least")
    if given.out.exists() and (not given.out.is_dir() or any(given.out.iterdir())):
        parser.error(f"{given.out} is there already: remove it, or choose another name")
    WRITERS[given.task](given.out, given.images, given.size, given.seed)
