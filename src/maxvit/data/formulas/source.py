"""Formulas as a data set: an address says which, and an image is drawn when it is asked for."""

from dataclasses import dataclass, fields

import numpy as np

from maxvit.config import SMALLEST_SIDE, check_known
from maxvit.data.dataset import LabelledImages, Lazy, Splits
from maxvit.data.formulas.canvas import Palette, Pixels, Random, draw_palette, paint, vary
from maxvit.data.formulas.families import FAMILIES, Family
from maxvit.errors import MaxViTError

FORMULAS = "formulas"  # in place of a path
MIXED = ("atoms", "cells", "contours", "fractals", "strokes", "waves")
_EXAMPLE = "formulas:classes=1000,images=200,size=64,families=contours+waves"


@dataclass(frozen=True, kw_only=True, slots=True)
class Formulas:
    """Which images there are.

    Attributes:
        classes: How many, the families in turn.
        images: How many of each class, those that are held out among them.
        size: Pixels a side.
        families: Names of `maxvit.data.formulas.families`.
        seed: From which classes and images are drawn.

    Raises:
        MaxViTError: If a value is out of range, or a family unknown.
    """

    classes: int = 200
    images: int = 100
    size: int = 64
    families: tuple[str, ...] = MIXED
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("classes", 1), ("images", 2), ("size", SMALLEST_SIDE), ("seed", 0)):
            value = getattr(self, name)
            if value < least:
                raise MaxViTError(f"{FORMULAS}: {name} is {value}, and at least {least} are needed: {_EXAMPLE}")
        if not self.families:
            raise MaxViTError(f"{FORMULAS}: no family is named; known are {', '.join(FAMILIES)}")
        check_known("family of formulas", self.families, FAMILIES)
        if len(set(self.families)) < len(self.families):
            raise MaxViTError(f"{FORMULAS}: families are {'+'.join(self.families)}, one of them twice: name each once")


def is_formulas(place: str) -> bool:
    """Whether this stands for images drawn from formulas, and not for a path."""
    return place.partition(":")[0] == FORMULAS


def read_address(place: str) -> Formulas:
    """What "formulas", or "formulas:classes=200,images=100,size=64,families=contours+waves", asks for.

    Raises:
        MaxViTError: If a setting is unknown, or its value not allowed.
    """
    settings: dict[str, int | tuple[str, ...]] = {}
    text = place.partition(":")[2]
    for setting in text.split(",") if text else []:
        name, _, value = setting.partition("=")
        check_known("setting of formulas", [name], [field.name for field in fields(Formulas)])
        if name == "families":
            settings[name] = tuple(family for family in value.split("+") if family)
        elif value.isdecimal():
            settings[name] = int(value)
        else:
            raise MaxViTError(f"{FORMULAS}: {name} is {value!r}, and a whole number is wanted: {_EXAMPLE}")
    return Formulas(**settings)  # type: ignore[arg-type]


def load_all(place: str) -> LabelledImages:
    """All images. Raises `MaxViTError` as `read_address`."""
    formulas = read_address(place)
    return _images(formulas, range(formulas.images), "all")


def load_formulas(place: str, val_fraction: float) -> Splits:
    """Training and validation images; of each class the last ones are held out.

    Args:
        place: As `read_address` takes it.
        val_fraction: Share that is held out; of each class at least one image, and one stays.

    Raises:
        MaxViTError: As `read_address`.
    """
    formulas = read_address(place)
    held_out = min(max(1, round(val_fraction * formulas.images)), formulas.images - 1)
    kept = formulas.images - held_out
    return Splits(_images(formulas, range(kept), "train"), _images(formulas, range(kept, formulas.images), "val"))


def _images(formulas: Formulas, indices: range, part: str) -> LabelledImages:
    """The images with these indices, class by class."""
    drawings = Drawings(formulas, indices)
    labels = [number for number in range(formulas.classes) for _ in indices]
    names = _Names(drawings)
    return LabelledImages(drawings, labels, [drawings.class_name(i) for i in range(formulas.classes)], names, part=part)


class Drawings(Lazy[Pixels]):
    """Images (size, size, 3) that are functions of (seed, class, index) alone.

    Args:
        formulas: Which classes there are.
        indices: Which images of each class.
    """

    def __init__(self, formulas: Formulas, indices: range) -> None:
        self.formulas, self.indices = formulas, indices
        self._classes: dict[int, tuple[object, Palette | None]] = {}  # those that were wanted

    def __len__(self) -> int:
        return self.formulas.classes * len(self.indices)

    def class_name(self, number: int) -> str:
        """The family, and which of its classes it is."""
        families = self.formulas.families
        return f"{families[number % len(families)]} {number // len(families)}"

    def item(self, index: int) -> Pixels:
        """Draw one."""
        number, place = divmod(index, len(self.indices))
        return self.draw(number, self.indices[place])

    def draw(self, number: int, index: int) -> Pixels:
        """Draw image `index` of class `number`."""
        family, nth = self._family(number)
        seed = (self.formulas.seed, family.number, nth)
        if number not in self._classes:
            self._classes[number] = _sample(family, np.random.default_rng((*seed, 0)))
        formula, palette = self._classes[number]
        random = np.random.default_rng((*seed, index + 1))
        ink = family.draw(formula, random, self.formulas.size)
        return paint(ink, draw_palette(random) if palette is None else vary(palette, random), random)

    def _family(self, number: int) -> tuple[Family, int]:
        """The families take turns."""
        families = self.formulas.families
        return FAMILIES[families[number % len(families)]], number // len(families)


def _sample(family: Family, random: Random) -> tuple[object, Palette | None]:
    """A formula, and for every second class its colours; None: each of its images has others."""
    formula = family.sample(random)
    return formula, draw_palette(random) if random.random() < 0.5 else None


class _Names(Lazy[str]):
    """ "contours 17, 3": class and index."""

    def __init__(self, drawings: Drawings) -> None:
        self.drawings = drawings

    def __len__(self) -> int:
        return len(self.drawings)

    def item(self, index: int) -> str:
        number, place = divmod(index, len(self.drawings.indices))
        return f"{self.drawings.class_name(number)}, {self.drawings.indices[place]}"
