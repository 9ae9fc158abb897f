"""Classes coloured over the image, with outlines and a legend; masks as files."""

import colorsys
import functools
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from maxvit.config import Size
from maxvit.errors import MaxViTError
from maxvit.storage import write_text
from maxvit.tasks.segmentation.masks import IGNORED

BACKGROUND = "background"
LEGEND_FROM = 200  # pixels of the shorter side: below, names would cover what they name
_FILES = (".csv", ".json", ".jsonl", ".npy", ".parquet", ".png", ".txt", ".zip")


def draw(image: Image.Image, classes: Tensor, class_names: Sequence[str]) -> Image.Image:
    """The image, each class in its colour at half strength, its outlines in full.

    What is ignored (255), and a class named "background", stay as they are.

    Args:
        image: RGB.
        classes: (height, width) uint8.
        class_names: For the legend of the largest classes, as many as find room; small images have none.
    """
    prediction, pixels = classes.numpy(), np.asarray(image.convert("RGB"))
    colours = palette()[prediction]
    edge = np.zeros(prediction.shape, dtype=bool)
    edge[:-1] |= prediction[:-1] != prediction[1:]
    edge[:, :-1] |= prediction[:, :-1] != prediction[:, 1:]
    mixed = np.where(edge[..., None], colours, (pixels.astype(np.uint16) + colours) // 2)
    plain = prediction == IGNORED
    if BACKGROUND in class_names:
        plain |= (prediction == list(class_names).index(BACKGROUND)) & ~edge
    drawn = Image.fromarray(np.where(plain[..., None], pixels, mixed).astype(np.uint8))
    if min(drawn.size) >= LEGEND_FROM:
        _legend(drawn, list(shares(classes, class_names).items()), class_names)
    return drawn


def shares(classes: Tensor, class_names: Sequence[str]) -> dict[str, float]:
    """Share of the pixels of each class that is there, the largest first; 255 counts in no class."""
    counts = np.bincount(classes.numpy().ravel(), minlength=IGNORED + 1)[: len(class_names)]
    order = np.argsort(-counts, kind="stable")
    return {class_names[i]: float(counts[i] / classes.numel()) for i in order if counts[i]}


@functools.cache
def palette() -> npt.NDArray[np.uint8]:
    """A colour for each value of a mask, (256, 3): hues a golden section apart; 255 is white."""
    colours = [colorsys.hsv_to_rgb(i * 0.618034 % 1, 0.9 - 0.35 * (i // 3 % 2), 1 - 0.3 * (i % 2)) for i in range(255)]
    return np.rint(np.array([*colours, (1, 1, 1)]) * 255).astype(np.uint8)


def _legend(drawn: Image.Image, found: list[tuple[str, float]], class_names: Sequence[str]) -> None:
    """Names on their colours in the upper left corner."""
    size = max(9, min(drawn.size) // 30)
    font, line = ImageFont.load_default(size), size + 4
    pen = ImageDraw.Draw(drawn)
    for row, (name, share) in enumerate(found[: max(1, drawn.height // 2 // line)]):
        colour = palette()[list(class_names).index(name)]
        text = f"{name} {share:.0%}"
        top = 2 + row * line
        pen.rectangle((2, top, 6 + pen.textlength(text, font), top + line - 1), fill=tuple(int(c) for c in colour))
        dark = colour @ np.array([0.299, 0.587, 0.114]) < 128
        pen.text((4, top + 1), text, "white" if dark else "black", font)


def check_folder_of_masks(out: Path) -> None:
    """Refuse, by `MaxViTError`, what is a file or is named as one."""
    if out.suffix.lower() in _FILES or out.is_file():
        raise MaxViTError(
            f"{out} is a file, and masks are written to a folder: give one, such as {out.with_suffix('')}"
        )


def write_masks(predictions: Iterable[tuple[str, Size, Tensor]], out: Path, class_names: Sequence[str]) -> None:
    """A folder of palette PNGs whose values are the classes, which get there once all are made; last `classes.txt`.

    Args:
        predictions: Name of the image, its size, its classes (height, width) uint8.
        out: The folder, which must be new or empty.
        class_names: Class names of the network.

    Raises:
        MaxViTError: If the folder is not a folder, holds something, or cannot be written.
    """
    check_folder_of_masks(out)
    out = out.resolve()
    temporary = f".{out.name}."
    if out.is_dir() and not all(entry.name.startswith(temporary) for entry in out.iterdir()):  # of a killed call
        raise MaxViTError(f"folder {out} is not empty: choose a new one, or empty it")
    home = out if out.is_dir() else out.parent  # what is there may be another disk, and then cannot be replaced
    try:
        home.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=temporary, dir=home))
    except OSError as error:
        raise MaxViTError(f"cannot write {out}: {error.strerror}; choose a folder that can be written to") from error
    try:
        taken: set[Path] = set()
        for name, _, classes in predictions:
            file = folder / _free_name(name, taken)
            file.parent.mkdir(parents=True, exist_ok=True)
            mask = Image.fromarray(classes.numpy())
            mask.putpalette(palette().tobytes())  # from grey to a palette, values as they are
            mask.save(file, "PNG")
        out.mkdir(exist_ok=True)
        for entry in sorted(folder.iterdir()):
            os.replace(entry, out / entry.name)
        write_text(out / "classes.txt", "".join(f"{name}\n" for name in class_names))
    except OSError as error:
        raise MaxViTError(f"cannot write {out}: {error.strerror or error}; choose another folder") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_name(name: str, taken: set[Path]) -> Path:
    """The image's name as a PNG's, below the folder whatever the name; with its own suffix where two differ in that."""
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..")]
    plain = Path(*parts) if parts else Path("image")
    for file in (plain.with_suffix(".png"), plain.with_name(f"{plain.name}.png")):
        if file not in taken:
            taken.add(file)
            return file
    raise MaxViTError(f"two images have the name {name!r}: predict them apart")
