"""Images of one size travel together: the bucket of each image. Batches are never padded.

Padding images to a common size would change grid attention, which spreads over the whole map.
"""

from collections.abc import Sequence

from maxvit.config import Preprocessing, Size
from maxvit.data.images import ImageLike, read_size
from maxvit.data.transforms import target_size
from maxvit.errors import MaxViTError


def find_buckets(spec: Preprocessing, sources: Sequence[ImageLike]) -> list[Size]:
    """The size that each image will have; of files only the header is read. One that cannot be read gets any."""
    if spec.fit != "aspect":
        return [spec.image_size] * len(sources)
    return [_bucket(spec, source) for source in sources]


def _bucket(spec: Preprocessing, source: ImageLike) -> Size:
    try:
        return target_size(spec, read_size(source))
    except MaxViTError:
        return spec.image_size  # it is reported when its turn comes
