"""How many bands the images of a data set have: all of them the same number."""

from collections.abc import Iterator, Sequence

import numpy as np

from maxvit.config import MOST_BANDS, Preprocessing
from maxvit.data.images import ImageLike, bands_of, opened, pages_of
from maxvit.data.value_range import sample
from maxvit.errors import MaxViTError

PHOTOGRAPH = Preprocessing().channels


def count_bands(sources: Sequence[ImageLike], names: Sequence[str], spread: bool = True) -> int:
    """What a network for these images takes: 3 for photographs, also grey ones; else the number of bands.

    Args:
        sources: The images. Where the first that can be read is a photograph, no other is looked at: what does not fit
            is told in its turn. Else a thousand at most.
        names: What to call them.
        spread: Take them evenly from all, and not from the first.

    Raises:
        MaxViTError: If two have different numbers.
    """
    found = _counted(sources, spread)
    first, wanted = next(found, (0, PHOTOGRAPH))
    if wanted == PHOTOGRAPH:
        return wanted
    for index, number in found:
        if number != wanted:
            raise MaxViTError(
                f"{names[first]} has {wanted} bands, and {names[index]} has {number}: images of a data set have as "
                "many each; leave the others out, or make them alike"
            )
    return wanted


def first_count(sources: Sequence[ImageLike], spread: bool = True) -> int:
    """The same of the first image that can be read. Arguments are those of `count_bands`."""
    return next(_counted(sources, spread), (0, PHOTOGRAPH))[1]


def say_pages(source: ImageLike) -> str:
    """That the first page alone is read of a photograph, and how others can be; empty where there are none."""
    if isinstance(source, np.ndarray):
        return ""
    try:
        with opened(source) as image:
            pages = pages_of(image)
    except (MaxViTError, OSError):
        return ""
    if pages == 1:
        return ""
    bands = f"; if they are bands, take all of them with model.in_channels={pages}" if pages <= MOST_BANDS else ""
    return f"the first image is a TIFF of {pages} pages: of such files the first page is read{bands}"


def _counted(sources: Sequence[ImageLike], spread: bool) -> Iterator[tuple[int, int]]:
    """Indices and numbers of those that can be read."""
    for index in sample(sources, spread):
        source = sources[index]
        if isinstance(source, np.ndarray):
            yield index, source.shape[2] if source.ndim == 3 and source.shape[2] not in (1, 4) else PHOTOGRAPH
            continue
        try:
            with opened(source) as image:
                found = bands_of(image)
        except (MaxViTError, OSError):
            continue
        yield index, found
