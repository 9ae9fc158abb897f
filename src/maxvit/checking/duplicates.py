"""Images that are in a data set twice: the same file, the same pixels, or nearly so, mirrored too.

Each pair of images is compared by the lowest frequencies of both, by matrix products; those that agree are compared in
as much detail as the smaller of the two has, and in their colours.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from maxvit.checking.fingerprints import SIDE, Fingerprints
from maxvit.checking.looks import Looks

Kind = Literal["same file", "same pixels", "near copy", "mirrored", "cropped"]
KINDS: tuple[Kind, ...] = ("same file", "same pixels", "near copy", "mirrored", "cropped")
_EQUAL = ("same file", "same pixels")
Numbers = npt.NDArray[np.int64]

_COARSE = 8  # frequencies along each axis by which candidates are found
_CANDIDATE = 0.98  # least correlation of these
LEAST_DETAIL, _MOST_DETAIL = 6, 16  # frequencies along each axis by which a pair is judged
_SMOOTH = 3  # frequencies along each axis that any two skies share
_FAINT = 0.3  # grey levels that a picture deviates from its smooth part by, at least: less is rounding
# a pair correlates in its detail, and without what is smooth, at least so much; similar clothes have 0.996 and 0.99
_ALIKE, _ALIKE_ROUGH = 0.9965, 0.95
# or it differs by no more grey levels than encoding does; neighbouring pieces of a sky have 0.99 and 0.7
_NOISE, _ALIKE_IN_NOISE, _ROUGH_IN_NOISE = 2.0, 0.97, 0.93
_COLOUR = 12.0  # largest mean difference of the colours, of 255
_BLOCK = 1024  # images that are compared with all others at once
_PAIRS = 16_384  # pairs that are judged at once


RULE = (
    f"near copies: grey pictures that correlate by {_ALIKE} in the detail that both have and by {_ALIKE_ROUGH} without "
    f"what is smooth, or differ by at most {_NOISE:g} grey levels; colours differ by at most {_COLOUR:g} of 255"
)


@dataclass(frozen=True, slots=True)
class Pair:
    """An image that an earlier one repeats.

    Attributes:
        first: Index of the earlier image.
        second: Index of the later one.
        kind: What they share.
        similarity: Correlation of their grey pictures in the detail that both have, up to 1.
    """

    first: int
    second: int
    kind: Kind
    similarity: float


def find_duplicates(
    looks: Looks,
    same_pixels: Callable[[int, int], bool],
    track: Callable[[range], Iterator[int]] = iter,
) -> list[Pair]:
    """Every image that repeats an earlier one, with the first that it repeats.

    Args:
        looks: What was seen of the images.
        same_pixels: Decodes two images and compares them; it is asked of those of one size that look alike.
        track: Passes the steps of the search on, and may draw them.
    """
    readable = looks.sizes[:, 0] > 0
    found: dict[int, Pair] = {}
    for kind, first, second in [*_repeated(looks.files, readable, "same file"), *_candidates_by_pixels(looks)]:
        if second not in found and (kind == "same file" or same_pixels(first, second)):
            found[second] = Pair(first, second, kind, 1.0)
    rest = np.array([i for i in np.flatnonzero(readable).tolist() if i not in found], np.int64)
    for mirrored in (False, True):
        for first, second, similarity in _near(looks, rest, mirrored, track):
            kind = "mirrored" if mirrored else "near copy"
            known = found.get(second)
            if known is not None and known.first <= first:
                continue
            if not mirrored and (looks.sizes[first] == looks.sizes[second]).all() and same_pixels(first, second):
                kind = "same pixels"
            found[second] = Pair(first, second, kind, similarity)
    for second in sorted(found):  # what equals a copy is as near to the original
        pair = found[second]
        if pair.first in found and pair.kind in _EQUAL:
            found[second] = replace(found[pair.first], second=second)
    return [found[second] for second in sorted(found)]


def _repeated(
    digests: npt.NDArray[np.bytes_], readable: npt.NDArray[np.bool_], kind: Kind
) -> list[tuple[Kind, int, int]]:
    """Each index whose digest was there before, with the first of that digest."""
    first: dict[bytes, int] = {}
    places = np.flatnonzero(readable).tolist()
    return [(kind, first[d], i) for i in places if first.setdefault(d := bytes(digests[i]), i) != i]


def _candidates_by_pixels(looks: Looks) -> list[tuple[Kind, int, int]]:
    """Those of one size that are squeezed to the same pixels, flat ones among them."""
    return _repeated(looks.pixels, looks.sizes[:, 0] > 0, "same pixels")


def _near(
    looks: Looks, places: Numbers, mirrored: bool, track: Callable[[range], Iterator[int]]
) -> list[tuple[int, int, float]]:
    """(earlier, later, similarity) of each image that nearly agrees with an earlier one, and the first of these."""
    prints = Fingerprints(looks.fingerprints.spectra[places], looks.fingerprints.colours[places])
    others = prints.mirrored() if mirrored else prints
    detailed = _deviation(prints.spectra) >= _FAINT
    plain, turned = (_directions(p.spectra[:, :_COARSE, :_COARSE]) for p in (prints, others))
    plain[~detailed] = 0
    sides = looks.sizes[places].min(1)
    found = []
    is_open = np.ones(len(places), np.bool_)  # as a later one: of a film each picture would agree with each
    for start in track(range(0, len(places), _BLOCK)):
        similar = plain[start : start + _BLOCK] @ turned[start:].T  # (block, those from there on)
        rows, columns = np.nonzero(similar >= _CANDIDATE)
        rows, columns = rows[columns > rows] + start, columns[columns > rows] + start
        for some in range(0, len(rows), _PAIRS):
            chosen = some + np.flatnonzero(is_open[columns[some : some + _PAIRS]])
            for i, similarity in _judge(prints, others, sides, rows[chosen], columns[chosen]):
                first, second = int(rows[chosen[i]]), int(columns[chosen[i]])
                if is_open[second]:
                    found.append((int(places[first]), int(places[second]), similarity))
                    is_open[second] = False
    return found


def _judge(
    prints: Fingerprints, others: Fingerprints, sides: npt.NDArray[np.int32], rows: Numbers, columns: Numbers
) -> list[tuple[int, float]]:
    """Which of the pairs agree in the detail that both have, and by how much."""
    detail = np.clip(np.minimum(sides[rows], sides[columns]) // 2, LEAST_DETAIL, _MOST_DETAIL)
    found: list[tuple[int, float]] = []
    for kept in np.unique(detail):
        chosen = np.flatnonzero(detail == kept)
        a, b = (p.spectra[i[chosen], :kept, :kept] for p, i in ((prints, rows), (others, columns)))
        alike, rough = correlations(a, b), correlations(without_smooth(a), without_smooth(b))
        colours = [p.colours[i[chosen]].astype(np.float32) for p, i in ((prints, rows), (others, columns))]
        near = np.abs(colours[0] - colours[1]).mean((1, 2, 3)) <= _COLOUR
        noise = np.linalg.norm((a - b).reshape(len(a), -1)[:, 1:], axis=1) / SIDE  # root mean square
        good = (alike >= _ALIKE) & (rough >= _ALIKE_ROUGH)
        good |= (noise <= _NOISE) & (alike >= _ALIKE_IN_NOISE) & (rough >= _ROUGH_IN_NOISE)
        found += [(int(chosen[i]), float(alike[i])) for i in np.flatnonzero(near & good)]
    return sorted(found)


def _deviation(spectra: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """In grey levels, from the smooth part: the root of the mean square over a picture of `SIDE` pixels a side."""
    return np.linalg.norm(without_smooth(spectra).reshape(len(spectra), -1), axis=1) / SIDE


def without_smooth(spectra: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Spectra without their lowest frequencies."""
    rest = spectra.copy()
    rest[:, :_SMOOTH, :_SMOOTH] = 0
    return rest


def _directions(spectra: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Without the mean, and of length 1: (n, F). What is flat stays 0."""
    flat = spectra.reshape(len(spectra), spectra.shape[1] * spectra.shape[2]).copy()
    flat[:, 0] = 0
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def correlations(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Correlations of spectra (n, k, k) with others, one by one: (n,)."""
    return np.einsum("nf,nf->n", _directions(a), _directions(b))
