"""What is black and what is white in a data set of more than 8 bits: measured over its images, never in one alone."""

from collections.abc import Sequence
from math import ceil

import numpy as np

from maxvit.config import Preprocessing
from maxvit.data.depth import Range, is_deep, read_deep
from maxvit.data.images import ImageLike, check_pixels, opened
from maxvit.errors import MaxViTError

SAMPLE = 1000  # files that are looked at; of those of 8 bits the header alone


def measure_range(sources: Sequence[ImageLike], spec: Preprocessing, spread: bool = True) -> tuple[Range, str] | None:
    """The smallest and the largest value of the images of more than 8 bits, and a sentence that says so.

    Args:
        sources: The images to learn from; of more than `SAMPLE` a sample is measured. Arrays are left out.
        spec: Whose `max_pixels` counts.
        spread: Take the sample evenly from all of them, and not from the first.

    Returns:
        None if the sample has no such image, or they all hold one value.

    Raises:
        MaxViTError: If some hold floats and others whole numbers, which no range fits together.
    """
    step = max(1, ceil(len(sources) / SAMPLE)) if spread else 1
    chosen = range(0, len(sources), step)[:SAMPLE]
    found = [values for index in chosen if (values := _extremes(sources[index], spec))]
    if not found:
        return None
    if len({floats for _, _, floats in found}) > 1:
        raise MaxViTError(
            "some images hold floats and others whole numbers of more than 8 bits, and one range is for all of them: "
            "convert them to one type, or set data.value_range"
        )
    low, high = min(least for least, _, _ in found), max(most for _, most, _ in found)
    if low == high:
        return None
    sample = "" if len(chosen) == len(sources) else f", measured in {len(chosen)} of {len(sources)} images"
    return (low, high), (
        f"images of more than 8 bits: {low:.10g} is black and {high:.10g} white{sample}; "
        "data.value_range=[BLACK,WHITE] sets others"
    )


def _extremes(source: ImageLike, spec: Preprocessing) -> tuple[float, float, bool] | None:
    """Least, most, and whether they are floats; None: of 8 bits, or it cannot be read, which is told in its turn."""
    if isinstance(source, np.ndarray):
        return None
    try:
        with opened(source) as image:
            if not is_deep(image):
                return None
            check_pixels(image, spec)
            values = read_deep(image).values
    except MaxViTError:
        return None
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return None  # refused as it is decoded
    return float(values.min()), float(values.max()), values.dtype.kind == "f"
