"""Images of which one is a crop of the other, a little smaller: found among neighbours, by low frequencies alone.

The spectrum of a crop follows from that of the whole picture: both are sums of cosines. So no picture is cut; the
rectangle that fits best is searched, first from a few, then in smaller and smaller steps.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product

import numpy as np
import numpy.typing as npt

from maxvit.checking.duplicates import LEAST_DETAIL, Pair, correlations, without_smooth
from maxvit.checking.fingerprints import SIDE, Fingerprints, cosines
from maxvit.checking.looks import Looks

Floats = npt.NDArray[np.float32]

_UNIT = 1 / 320  # of an axis: what the ends of a rectangle are counted in
_MOST = 32  # units that a crop lacks of an axis
_ENDS = _MOST + 1
_STARTS = [cut for cut in product((0, _MOST // 2, _MOST), repeat=2) if sum(cut) <= _MOST]  # units before, units after
_STEPS = (8, 4, 2, 1)
_MOVES = [move for move in product((-1, 0, 1), repeat=2) if any(move)]
_DETAIL = 10  # frequencies along each axis that are compared, at the most: finer ones a crop mixes with those not kept
_PROMISING = 0.95  # least correlation after the first few
_ALIKE, _ALIKE_ROUGH = 0.9985, 0.97  # least correlations of the rectangle that fits best, see `duplicates`
_COLOUR = 12.0  # largest difference of the mean colours, of 255
_BLOCK = 4096  # pairs at once


def with_crops(
    pairs: Sequence[Pair], looks: Looks, readable: npt.NDArray[np.int64], neighbours: npt.NDArray[np.int64]
) -> list[Pair]:
    """Duplicates, and with them the images that are a crop of another one, or of which another one is a crop.

    Args:
        pairs: What `find_duplicates` gives.
        looks: What was seen of the images.
        readable: (n,), indices of the images that can be read.
        neighbours: (n, k), of each of these the most similar ones, as indices among them.
    """
    found = {pair.second: pair for pair in pairs}
    prints = Fingerprints(looks.fingerprints.spectra[readable], looks.fingerprints.colours[readable])
    fitting = find_crops(prints, looks.sizes[readable].min(1), neighbours)
    both = ((min(crop, whole), max(crop, whole), similarity) for crop, whole, similarity in fitting)
    for first, second, similarity in sorted(both):
        pair = Pair(int(readable[first]), int(readable[second]), "cropped", similarity)
        found.setdefault(pair.second, pair)
    return [found[second] for second in sorted(found)]


def find_crops(
    prints: Fingerprints, sides: npt.NDArray[np.int32], neighbours: npt.NDArray[np.int64]
) -> Iterator[tuple[int, int, float]]:
    """(crop, whole, similarity) where an image fits into one of its neighbours, which lacks a tenth of an axis at most.

    Args:
        prints: Fingerprints of n images.
        sides: (n,), pixels of the shorter side of each.
        neighbours: (n, k), those that each image is compared with.
    """
    crops = np.repeat(np.arange(len(neighbours)), neighbours.shape[1])
    wholes = neighbours.ravel()
    hue = np.abs(prints.colours[crops].mean((1, 2)) - prints.colours[wholes].mean((1, 2))).max(1) <= _COLOUR
    crops, wholes = crops[hue], wholes[hue]
    detail = np.clip(np.minimum(sides[crops], sides[wholes]) // 2, LEAST_DETAIL, _DETAIL)
    for start in range(0, len(crops), _BLOCK):
        for kept in np.unique(detail[start : start + _BLOCK]):
            chosen = start + np.flatnonzero(detail[start : start + _BLOCK] == kept)
            whole, crop = prints.spectra[wholes[chosen]], prints.spectra[crops[chosen], :kept, :kept]
            for i, similarity in _fit(whole, crop):
                yield int(crops[chosen[i]]), int(wholes[chosen[i]]), similarity


def _fit(whole: Floats, crop: Floats) -> Iterator[tuple[int, float]]:
    """Which crops (P, k, k) fit into which wholes (P, KEPT, KEPT), and how well."""
    cuts = _all_cuts(crop.shape[1])
    places = np.arange(len(whole))
    best = np.full(len(whole), -1, np.float32)
    axes = np.zeros((2, len(whole), 2), np.int64)  # rows and columns: units that are lacking before and after

    def cut(chosen: npt.NDArray[np.int64]) -> Floats:
        """(P, k, k), what the rectangles hold."""
        rows, columns = (cuts[axis[:, 0], axis[:, 1]] for axis in chosen)  # (P, k, KEPT)
        return rows @ whole @ columns.swapaxes(-1, -2)

    def attempt(tried: npt.NDArray[np.int64]) -> None:
        """Take over what fits better than the best until now."""
        nonlocal axes, best
        found = correlations(cut(tried), crop)
        better = (found > best) & (tried.sum(2) <= _MOST).all(0)
        axes, best = np.where(better[:, None], tried, axes), np.where(better, found, best)

    for start in product(_STARTS, repeat=2):
        attempt(np.broadcast_to(np.array(start)[:, None], axes.shape))
    promising = best >= _PROMISING
    places, whole, crop, best, axes = (
        places[promising],
        whole[promising],
        crop[promising],
        best[promising],
        axes[:, promising],
    )
    for step, move, axis in product(_STEPS, _MOVES, (0, 1)):
        tried = axes.copy()
        tried[axis] = np.clip(tried[axis] + step * np.array(move), 0, _MOST)
        attempt(tried)
    rough = correlations(without_smooth(cut(axes)), without_smooth(crop))
    for i in np.flatnonzero((best >= _ALIKE) & (rough >= _ALIKE_ROUGH)):
        yield int(places[i]), float(best[i])


@cache
def _all_cuts(kept: int) -> Floats:
    """(_ENDS, _ENDS, kept, KEPT): what makes of the coefficients along an axis the lowest of a part of it.

    The first two indices are the units that the part lacks, before and after.
    """
    centres = (np.arange(SIDE) + 0.5) / SIDE
    lacking = np.arange(_ENDS) * _UNIT
    before, after = lacking[:, None, None], lacking[None, :, None]
    at = before + (1 - before - after) * centres  # (_ENDS, _ENDS, SIDE)
    return np.asarray(cosines(centres)[:kept] @ cosines(at).swapaxes(-1, -2), np.float32)
