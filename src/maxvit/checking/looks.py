"""Each image is read once: its size, digests of what it holds, a fingerprint, and features of a network."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from maxvit.checking.features import FrozenFeatures
from maxvit.checking.fingerprints import SIDE, Fingerprints, fingerprints
from maxvit.checking.parts import Images
from maxvit.config import Preprocessing, Size
from maxvit.data.bands import show
from maxvit.data.images import ImageLike, opened, shrink, shrink_factor, upright, upright_size
from maxvit.data.loading import evaluation_batches
from maxvit.inference.progress import counting

_BATCH = 64


@dataclass(frozen=True, slots=True)
class Looks:
    """What was seen of images.

    Attributes:
        sizes: (n, 2) int32, height and width as a person sees it; zeros where an image cannot be read.
        files: (n,) bytes, digests of the files.
        pixels: (n,) bytes, digests of size and squeezed pixels: another digest, other pixels in the same format.
        fingerprints: As `fingerprints` makes them.
        features: (n, F) float16, as `FrozenFeatures` makes them.
        unreadable: Why an image cannot be read, by its index.
    """

    sizes: npt.NDArray[np.int32]
    files: npt.NDArray[np.bytes_]
    pixels: npt.NDArray[np.bytes_]
    fingerprints: Fingerprints
    features: npt.NDArray[np.float16]
    unreadable: dict[int, str]


def look(images: Images, network: FrozenFeatures, spec: Preprocessing, workers: int, show_progress: bool) -> Looks:
    """Read every image once.

    Args:
        images: All of them.
        network: What makes features.
        spec: Whose `value_range` and `max_pixels` count.
        workers: Processes that decode.
        show_progress: Draw a bar on standard error.
    """
    number = len(images)
    sizes = np.zeros((number, 2), np.int32)
    files, pixels = np.zeros(number, "S32"), np.zeros(number, "S32")
    prints, features = Fingerprints.empty(number), np.zeros((number, network.width), np.float16)
    unreadable: dict[int, str] = {}
    done = 0
    with counting("reading", number, show_progress) as advance:
        for batch in evaluation_batches(_Squeezed(images, spec), _BATCH, workers):
            unreadable |= dict(zip(map(int, batch.skipped_indices), batch.skipped, strict=True))
            if len(batch.indices):
                places = batch.indices.numpy()
                sizes[places] = batch.sizes
                files[places], pixels[places] = np.array(batch.targets, "S32").T
                prints.put(places, fingerprints(batch.images.numpy()))
                features[places] = network(batch.images)
            done += len(batch.indices) + len(batch.skipped_indices)
            advance(done)
    return Looks(sizes, files, pixels, prints, features, unreadable)


@dataclass(frozen=True, slots=True)
class Squeezed:
    """What a fingerprint is made of.

    Attributes:
        pixels: (SIDE, SIDE, 3) uint8, as a person sees the image.
        size: (height, width) of the image.
        file: Digest of what it is stored as, 32 hexadecimal digits.
        seen: Digest of its size and of what it is squeezed to, the same.
    """

    pixels: npt.NDArray[np.uint8]
    size: Size
    file: str
    seen: str


def squeeze(source: ImageLike, spec: Preprocessing) -> Squeezed:
    """Read an image small. Raises `MaxViTError` if it cannot be read."""
    with opened(source) as stored:
        size = upright_size(stored)
        shrink(stored, shrink_factor((0, 0, *size), (2 * SIDE, 2 * SIDE)))
        small = upright(stored, spec).resize((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=4.0)
    seen = _digest([repr(size).encode(), np.array(small).tobytes()])
    return Squeezed(np.array(show(small, spec)), size, _digest(_content(source)), seen)


class _Squeezed:
    """See `maxvit.data.loading.EvaluationExamples`: an image is (SIDE, SIDE, 3) uint8, its target two digests."""

    def __init__(self, images: Images, spec: Preprocessing) -> None:
        self.sources, self.names, self.spec = images.sources, images.names, spec

    def sizes(self, training: bool) -> list[Size]:
        """All alike."""
        return [(SIDE, SIDE)] * len(self.names)

    def evaluation(self, index: int) -> tuple[list[Tensor], Size, tuple[str, str]]:
        """The image, its size, and the digests of its file and of its pixels."""
        squeezed = squeeze(self.sources[index], self.spec)
        return [torch.from_numpy(squeezed.pixels)], squeezed.size, (squeezed.file, squeezed.seen)


def _content(source: ImageLike) -> Iterator[bytes]:
    """What an image is stored as."""
    if isinstance(source, str | Path):
        yield Path(source).read_bytes()
    elif isinstance(source, bytes):
        yield source
    else:
        array = np.asarray(source)
        yield from (repr((array.shape, array.dtype)).encode(), array.tobytes())


def _digest(pieces: Iterator[bytes] | list[bytes]) -> str:
    found = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        found.update(piece)
    return found.hexdigest()
