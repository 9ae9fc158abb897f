"""How many bands the images of a data set have: all of them the same number."""

from collections.abc import Sequence

import numpy as np

from maxvit.config import Preprocessing
from maxvit.data.images import ImageLike, bands_of, opened
from maxvit.data.value_range import sample
from maxvit.errors import MaxViTError


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
    first: tuple[int, str] | None = None
    for index in sample(sources, spread):
        found = _bands(sources[index])
        if found is None:
            continue
        if first is None:
            first = found, names[index]
        if found != first[0]:
            raise MaxViTError(
                f"{first[1]} has {first[0]} bands, and {names[index]} has {found}: images of a data set have as many "
                "each; leave the others out, or make them alike"
            )
        if found == Preprocessing().channels:
            break
    return Preprocessing().channels if first is None else first[0]


def _bands(source: ImageLike) -> int | None:
    """None: it cannot be read."""
    if isinstance(source, np.ndarray):
        return source.shape[2] if source.ndim == 3 and source.shape[2] not in (1, 4) else 3
    try:
        with opened(source) as image:
            return bands_of(image)
    except (MaxViTError, OSError):
        return None
