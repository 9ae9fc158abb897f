"""What is black and what is white in a data set of more than 8 bits: measured over its images, never in one alone."""

from collections.abc import Sequence
from math import ceil

import numpy as np
import numpy.typing as npt

from maxvit.config import Preprocessing, Range
from maxvit.data.depth import is_deep, read_deep
from maxvit.data.images import ImageLike, as_raw, check_pixels, opened
from maxvit.data.raw import Raw
from maxvit.errors import MaxViTError

SAMPLE = 1000  # files that are looked at; of those of 8 bits the header alone
_Ends = npt.NDArray[np.float64]  # (2, channels): least and most; a single channel is that of all


def measure_range(
    sources: Sequence[ImageLike], spec: Preprocessing, spread: bool = True
) -> tuple[Range | tuple[Range, ...], str] | None:
    """The smallest and the largest value of the images of more than 8 bits, and a sentence that says so.

    Args:
        sources: The images to learn from; of more than `SAMPLE` a sample is measured. Arrays are left out, and what a
            file says itself, as a window of DICOM does.
        spec: Whose channels and `max_pixels` count. Each band is measured.
        spread: Take the sample evenly from all of them, and not from the first.

    Returns:
        None if the sample has no such image, or they all hold one value.

    Raises:
        MaxViTError: If some hold floats and others whole numbers, which no range fits together.
    """
    chosen = sample(sources, spread)
    found = [values for index in chosen if (values := _extremes(sources[index], spec))]
    if not found:
        return None
    if len({floats for _, floats in found}) > 1:
        raise MaxViTError(
            "some images hold floats and others whole numbers of more than 8 bits, and one range is for all of them: "
            "convert them to one type, or set data.value_range"
        )
    ends = np.stack([ends for ends, _ in found])
    lowest, highest = ends[:, 0].min(0).tolist(), ends[:, 1].max(0).tolist()
    if lowest == highest:
        return None
    share = "" if len(chosen) == len(sources) else f", measured in {len(chosen)} of {len(sources)} images"
    if not spec.takes_bands:
        low, high = lowest[0], highest[0]
        return (low, high), (
            f"images of more than 8 bits: {low:.10g} is black and {high:.10g} white{share}; "
            "data.value_range=[BLACK,WHITE] sets others"
        )
    # a band with a single value is black
    pairs = tuple((low, high if high > low else low + 1) for low, high in zip(lowest, highest, strict=True))
    return pairs, (
        f"bands of more than 8 bits: from black to white, {say_ranges(pairs)}{share}; "
        "data.value_range=[[BLACK,WHITE],...] sets others"
    )


def say_ranges(pairs: Sequence[Range]) -> str:
    """Such as "0 to 4095 and 3 to 900"."""
    said = [f"{low:.10g} to {high:.10g}" for low, high in pairs]
    return " and ".join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said)


def sample(sources: Sequence[ImageLike], spread: bool = True) -> range:
    """Indices of `SAMPLE` images at most: evenly from all, or the first."""
    step = max(1, ceil(len(sources) / SAMPLE)) if spread else 1
    return range(0, len(sources), step)[:SAMPLE]


def _extremes(source: ImageLike, spec: Preprocessing) -> tuple[_Ends, bool] | None:
    """Least and most, and whether they are floats; None: of 8 bits, or it cannot be read, which is told in its turn."""
    if isinstance(source, np.ndarray):
        return None
    try:
        with opened(source) as image:
            check_pixels(image, spec)
            stored = as_raw(image, spec.channels) if spec.takes_bands else image
            if not (stored.is_deep if isinstance(stored, Raw) else is_deep(stored)):
                return None
            if isinstance(stored, Raw) and spec.takes_bands and stored.bands != spec.channels:
                return None
            deep = stored.read() if isinstance(stored, Raw) else read_deep(stored)
    except MaxViTError:
        return None
    values = deep.values
    if values.dtype == np.uint8 or deep.windowed or (values.dtype.kind == "f" and not np.isfinite(values).all()):
        return None  # what is not finite is refused as it is decoded
    each = values if spec.takes_bands and values.ndim == 3 else values.reshape(-1, 1, 1)
    ends = np.stack([each.min((0, 1)), each.max((0, 1))]).astype(np.float64)
    return ends, values.dtype.kind == "f"
