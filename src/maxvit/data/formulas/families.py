"""The families of formulas: how each draws a class, and an image of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from maxvit.data.formulas import atoms, cells, contours, fractals, strokes, waves
from maxvit.data.formulas.canvas import Ink, Random


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of formula.

    Attributes:
        number: Part of the seed; it stays when others come.
        sample: Draws a class.
        draw: Draws an image of a class, square, with so many pixels a side.
    """

    number: int
    sample: Callable[[Random], Any]
    draw: Callable[[Any, Random, int], Ink]


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "atoms": Family(0, atoms.sample, atoms.draw),
        "cells": Family(1, cells.sample, cells.draw),
        "contours": Family(2, contours.sample, contours.draw),
        "fractals": Family(3, fractals.sample, fractals.draw),
        "perturbed": Family(4, fractals.sample_perturbed, fractals.draw),
        "strokes": Family(5, strokes.sample, strokes.draw),
        "waves": Family(6, waves.sample, waves.draw),
    }
)
