"""Images a second that one core decodes and augments for training, in several ways.

Every way gets the same JPEGs and, from the same seed, the same random crops: area 0.08 to 1 of the picture, aspect 3/4
to 4/3, resized to 224 x 224; then flip, and RandAugment 2 x 15 and normalisation. "Reduced" draws the crop first, from
the size that the header says, and decodes at 1/2, 1/4 or 1/8 of the size (which JPEG can do before most of its work) if
the crop still has 224 pixels a side. In a round each way takes its turn over all pictures, in the opposite order every
second round; "times as fast" is the first row's time over that of a row, round by round. One thread.

    python benchmarks/decoding.py --out benchmarks/results/decoding_HARDWARE_YYYY-MM
"""

import argparse
import io
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from note import circumstances
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from maxvit.benchmark.page import written
from maxvit.benchmark.record import paired_ratio, spread
from maxvit.config import Preprocessing
from maxvit.data.images import decode
from maxvit.data.random_crop import RandomPiece, shrink_factor
from maxvit.data.transforms import normalise
from maxvit.storage import write_text

SIDE = 224
SPEC = Preprocessing()
SIZES = ((500, 375), (2000, 1500))  # (width, height) of the JPEGs
QUALITY, GRAIN = 90, 4.0  # of JPEG; deviation of the noise that enlarged pictures get
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")  # of scikit-image; scikit-learn has two more
STEPS = ("decode", "decode, crop, flip", "decode, crop, flip, RandAugment, normalise")
CROP = v2.RandomResizedCrop(SIDE, interpolation=InterpolationMode.BICUBIC, antialias=True)
PIECE = RandomPiece((SIDE, SIDE), (0.08, 1.0), (3 / 4, 4 / 3))
FLIP = v2.RandomHorizontalFlip()
RANDAUGMENT = v2.RandAugment(2, 15, interpolation=InterpolationMode.BILINEAR, fill=[128, 128, 128])
OURS = "Pillow, reduced; tensors, but for a crop of parts of pixels"
Picture = Image.Image | Tensor
Times = dict[str, list[float]]  # seconds of each way, round by round


@dataclass(frozen=True, slots=True)
class Way:
    """How a JPEG becomes a picture.

    Attributes:
        decode: From a file's bytes and the box (top, left, height, width) that is wanted to a picture; and the share
            of the file's width that it has.
        tensors: Whether crop, flip and RandAugment run on (3, H, W) uint8 tensors; or on PIL images.
        piece: Decodes and crops, in place of `decode` and what follows it.
    """

    decode: Callable[[bytes, tuple[int, int, int, int]], tuple[Picture, float]]
    tensors: bool
    piece: RandomPiece | None = None


def photographs(width: int, height: int) -> list[bytes]:
    """Those that ship with scikit-image and scikit-learn, cut and resized to one size, as JPEGs."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(0)
    files = []
    for array in [*(getattr(data, name)() for name in PHOTOGRAPHS), *load_sample_images().images]:
        whole = decode(np.asarray(array))
        scale = min(whole.width / width, whole.height / height)
        box = (0, 0, width * scale, height * scale)
        picture = whole.resize((width, height), Image.Resampling.BICUBIC, box)
        if scale < 1:
            noisy = np.asarray(picture) + random.normal(0, GRAIN, (height, width, 1))
            picture = Image.fromarray(np.rint(np.clip(noisy, 0, 255)).astype(np.uint8))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=QUALITY)
        files.append(buffer.getvalue())
    return files


def pil_whole(data: bytes, box: tuple[int, int, int, int]) -> tuple[Picture, float]:
    """As Pillow does by itself."""
    return Image.open(io.BytesIO(data)).convert("RGB"), 1.0


def pil_reduced(data: bytes, box: tuple[int, int, int, int]) -> tuple[Picture, float]:
    """As small as the crop allows."""
    image = Image.open(io.BytesIO(data))
    width = image.width
    scale = shrink_factor(box, (SIDE, SIDE))
    image.draft(None, (image.width // scale, image.height // scale))
    return image.convert("RGB"), image.width / width


def torchvision_whole(data: bytes, box: tuple[int, int, int, int]) -> tuple[Picture, float]:
    """As torchvision does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torchvision 0.29 recommends another package
        return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB), 1.0


def simplejpeg_reduced(data: bytes, box: tuple[int, int, int, int]) -> tuple[Picture, float]:
    """As `pil_reduced`, by simplejpeg."""
    import simplejpeg

    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    scale = shrink_factor(box, (SIDE, SIDE))
    pixels = simplejpeg.decode_jpeg(data, min_height=height // scale, min_width=width // scale, min_factor=1)
    return torch.from_numpy(pixels).permute(2, 0, 1), pixels.shape[1] / width


def pil_as_tensor(data: bytes, box: tuple[int, int, int, int]) -> tuple[Picture, float]:
    """`pil_reduced`, then a tensor."""
    image, share = pil_reduced(data, box)
    return F.pil_to_tensor(image), share


def ways() -> dict[str, Way]:
    """The first is what others are compared with."""
    found = {
        "Pillow, whole; PIL images": Way(pil_whole, tensors=False),
        "torchvision decode_jpeg, whole; tensors": Way(torchvision_whole, tensors=True),
        "Pillow, reduced; PIL images": Way(pil_reduced, tensors=False),
        "Pillow, reduced; tensors": Way(pil_as_tensor, tensors=True),
        OURS: Way(pil_reduced, tensors=True, piece=PIECE),
    }
    if find_spec("simplejpeg"):
        found["simplejpeg, reduced; tensors"] = Way(simplejpeg_reduced, tensors=True)
    return found


def run(way: Way, data: bytes, seed: int, step: int) -> Picture:
    """One picture as far as STEPS[step]; all randomness from `seed`."""
    torch.manual_seed(seed)
    if way.piece is not None and step > 0:
        picture: Picture = way.piece(data)
    else:
        width, height = Image.open(io.BytesIO(data)).size  # reads the header
        drawn = CROP.make_params([torch.empty(1, height, width, device="meta")])
        box = (drawn["top"], drawn["left"], drawn["height"], drawn["width"])
        picture, share = way.decode(data, box)
        if step == 0:
            return picture
        picture = cropped(picture, [v * share for v in box])
    picture = FLIP(picture)
    if step == 1:
        return picture
    picture = RANDAUGMENT(picture)
    if isinstance(picture, Tensor):
        return F.normalize(picture.float() / 255, SPEC.mean, SPEC.std)
    return normalise(SPEC, np.asarray(picture))


def cropped(picture: Picture, box: list[float]) -> Picture:
    """The box (top, left, height, width), resized; of a tensor in whole pixels."""
    top, left, tall, wide = box
    if isinstance(picture, Tensor):
        whole = [round(top), round(left), max(1, round(tall)), max(1, round(wide))]
        return F.resized_crop(picture, *whole, [SIDE, SIDE], CROP.interpolation, antialias=True)
    edges = (left, top, min(left + wide, picture.width), min(top + tall, picture.height))
    return picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, edges)


def check(files: list[bytes]) -> dict[str, float]:
    """How far each way's crops are from the first's, mean over pixels in 0..255; refuses what is another picture."""
    crops = {
        name: torch.stack([F.to_image(run(way, data, i, 1)).float() for i, data in enumerate(files)])
        for name, way in ways().items()
    }
    truth = next(iter(crops.values()))
    found = {name: (crop - truth).abs().mean().item() for name, crop in crops.items()}
    for name, difference in found.items():
        assert difference < 6, f"{name}: crops differ by {difference:.1f} of 255 on average"
    return found


def measure(files: list[bytes], step: int, rounds: int) -> Times:
    """Time every way, after one round that warms up."""
    found: Times = {name: [] for name in ways()}
    for done in range(rounds + 1):
        order = list(ways().items())
        for name, way in order if done % 2 else reversed(order):
            start = time.perf_counter()
            for i, data in enumerate(files):
                run(way, data, done * len(files) + i, step)
            found[name].append(time.perf_counter() - start)
    return {name: values[1:] for name, values in found.items()}


def table(found: Times, pictures: int) -> list[str]:
    """Table of one step, as Markdown."""
    first = next(iter(found.values()))
    rows = ["| | images/s (20th to 80th percentile) | times as fast |", "|---|---:|---:|"]
    for name, seconds in found.items():
        rate = written(spread([pictures / s for s in seconds]), 0)
        rows.append(f"| {name} | {rate} | {written(paired_ratio(seconds, first), 2)} |")
    return [*rows, ""]


def verdict(size: str, found: Times) -> str:
    """Which is best, and what `maxvit train` gains, in two sentences."""
    base, first = next(iter(found.items()))
    gains = {name: paired_ratio(seconds, first).median for name, seconds in found.items()}
    best = max(gains, key=lambda name: gains[name])
    fastest = (
        f"{best!r} is the fastest: {gains[best]:.2f} times {base!r}" if best != base else f"{base!r} is the fastest"
    )
    ours = f"What `maxvit train` does, {OURS!r}, is {gains[OURS]:.2f} times {base!r}"
    return f"At {size}, all steps together, {fastest}. {ours}."


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write OUT.md and OUT.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, required=True, help="where to write, without the ending")
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds, two at least")
    parser.add_argument("--quick", action="store_true", help="small pictures and two rounds: a trial")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    rounds = 2 if options.quick else options.rounds
    sections: list[str] = []
    sentences: list[str] = []
    record: list[dict[str, Any]] = []
    for width, height in ((64, 48), (500, 375)) if options.quick else SIZES:
        size, files = f"{width} x {height}", photographs(width, height)
        differences = check(files)
        bits = 8 * sum(map(len, files)) / len(files) / width / height
        sections += [f"## JPEGs of {size}, {bits:.1f} bits a pixel", ""]
        for step, name in enumerate(STEPS):
            found = measure(files, step, rounds)
            sections += [f"{name[0].upper()}{name[1:]}:", "", *table(found, len(files))]
            record.append({"size": size, "step": name, "pictures": len(files), "seconds": found})
            print("\n".join(sections[-2 - len(found) :]), file=sys.stderr, flush=True)
        sentences.append(verdict(size, found))
        apart = "; ".join(f"{name}: {value:.1f}" for name, value in differences.items())
        sections += [f"Crops differ from the first row's by, mean of 255 a pixel: {apart}.", ""]
    words = sys.argv[1:] if arguments is None else arguments
    facts = {
        "pictures": f"{', '.join(PHOTOGRAPHS)} (scikit-image), china and flower (scikit-learn), resized, encoded "
        f"as JPEG of quality {QUALITY}; what is enlarged gets grain of deviation {GRAIN:g}, as it has no detail itself",
        "load": f"{load:.1f} processes wanted a core before, {os.getloadavg()[0]:.1f} after",
        **circumstances(
            ["benchmarks/decoding.py", *words],
            ["torchvision", "pillow", "simplejpeg", "scikit-image", "scikit-learn"],
            threads=1,
        ),
    }
    title, about = (__doc__ or "").split("    python", maxsplit=1)[0].strip().split("\n", maxsplit=1)
    bullets = [f"- {key}: {value}" for key, value in facts.items()]
    page = [f"# {title}", about, "", *sections, "\n".join(sentences), "", *bullets, ""]
    write_text(options.out.with_name(f"{options.out.name}.md"), "\n".join(page))
    numbers = json.dumps({"about": facts, "records": record}, indent=1)
    write_text(options.out.with_name(f"{options.out.name}.json"), f"{numbers}\n")
    print("\n".join(sentences))


if __name__ == "__main__":
    main()
