"""What is made of an image once and asked for in every epoch: kept in memory, while there is room."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from PIL import Image
from torch import Tensor

from maxvit.data.bands import Bands

T = TypeVar("T")
_OVERHEAD = 500  # bytes of an object and its place, about


class Memory:
    """A bounded place for what is kept; what does not fit is made anew each time.

    Nothing makes room for something else: in an epoch every image comes once, so what was used last is not needed next.

    Args:
        limit: Bytes, of all that is kept.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self._items: dict[Hashable, Any] = {}

    def get(self, key: Hashable) -> Any:
        """What is kept under a key; None: nothing."""
        return self._items.get(key)

    def keep(self, key: Hashable, item: Any) -> None:
        """Keep this, if there is room. It must not be changed any more."""
        size = _bytes(item)
        if self.used + size <= self.limit:
            self._items[key] = item
            self.used += size


class Kept:
    """An image of which the steps without random numbers are computed once; see `once`.

    Args:
        sources: Where it is.
        index: Which of them.
        memory: For these sources alone.
    """

    def __init__(self, sources: Sequence[Any], index: int, memory: Memory) -> None:
        self.sources, self.index, self.memory = sources, index, memory

    def read(self) -> Any:
        """The image as it is stored."""
        return self.sources[self.index]

    def get(self, step: Hashable) -> Any:
        """What a step has made of it; None: nothing is kept."""
        return self.memory.get((self.index, step))

    def keep(self, step: Hashable, item: Any) -> None:
        """Keep what a step has made of it, if there is room."""
        self.memory.keep((self.index, step), item)


def once(source: Any, step: Hashable, make: Callable[[Any], T]) -> T:
    """What a step makes of an image; where it is `Kept`, of all times but the first what it made then.

    Args:
        source: The image.
        step: Names what is made, with all that it depends on but the image.
        make: Takes the image as it is stored. What it gives must not be changed any more.
    """
    if not isinstance(source, Kept):
        return make(source)
    found: T | None = source.get(step)
    if found is None:
        found = make(source.read())
        source.keep(step, found)
    return found


def _bytes(item: Any) -> int:
    """The memory that it takes, about."""
    if isinstance(item, Image.Image):
        return item.width * item.height * (4 if item.mode == "RGB" else len(item.getbands())) + _OVERHEAD
    if isinstance(item, Bands):
        return sum(map(_bytes, item.images))
    if isinstance(item, Tensor):
        return item.nbytes + _OVERHEAD
    if isinstance(item, bytes):
        return len(item) + _OVERHEAD
    if isinstance(item, dict):
        return sum(map(_bytes, item.values())) + _OVERHEAD
    return (sum(map(_bytes, item)) if isinstance(item, list | tuple) else 0) + _OVERHEAD
