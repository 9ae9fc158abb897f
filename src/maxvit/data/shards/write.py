"""Write a data set as shards: tar files in WebDataset's layout, and an index for random access."""

import io
import os
import re
import tarfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from maxvit import storage
from maxvit.config import Preprocessing
from maxvit.data.dataset import LabelledImages, Splits
from maxvit.data.depth import is_deep
from maxvit.data.images import EXTENSIONS, PLAIN, ImageLike, bands_of, opened, upright
from maxvit.data.raw import Raw
from maxvit.data.shards.index import FILE, SPLITS, Index, Rows, write_index
from maxvit.data.shards.read import UNFINISHED
from maxvit.data.shards.scan import CLASSES
from maxvit.errors import MaxViTError

SHARD_BYTES = 256 * 2**20
_OURS = re.compile(r"(train|val|test)(-\d{6}\.tar|\.npz)|classes\.txt")
_BLOCK = 512  # of a tar file
_KEPT = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}
_KEPT_IF_DEEP = {  # their range and bands are the network's matter
    "TIFF": "tif",
    "PPM": "pgm",
    "JPEG2000": "jp2",
    "NPY": "npy",
    "DICOM": "dcm",
}
_ANY_RANGE = Preprocessing(value_range=(0, 1))  # to see whether they can be read


@dataclass(frozen=True, slots=True)
class Written:
    """Images and shards of each split, the bytes of all shards, and a sentence for each image that was left out."""

    images: dict[str, int]
    shards: dict[str, int]
    bytes: int
    skipped: list[str]


class _Sample(NamedTuple):
    key: str
    extension: str
    content: bytes
    label: int


def _all(order: Sequence[int], split: str) -> Iterable[int]:
    return order


def write_shards(
    splits: Splits,
    out: Path,
    shard_bytes: int = SHARD_BYTES,
    seed: int = 0,
    watch: Callable[[Sequence[int], str], Iterable[int]] = _all,
) -> Written:
    """Write shards and their index, the same bytes for the same images, classes and seed.

    JPEG, PNG and WebP files, and all of more than 8 bits, are copied as they are; arrays and other formats become PNG.
    Training images are in a random order, so that each shard holds a mixture of classes. An image that cannot be
    decoded is left out. If it is interrupted, the folder is known to be unfinished; the next call starts over in it.

    Args:
        splits: One class per image.
        out: A folder that is empty or does not exist, or one that was interrupted.
        shard_bytes: A shard is full when it has this many.
        seed: Seed of the order of the training images.
        watch: Gets the images of a split, in order, and its name, and passes the images on: for a progress bar.

    Raises:
        MaxViTError: If the folder holds something, cannot be written to, or a split has no image that can be read.
    """
    parts = {name: part for name in SPLITS if (part := getattr(splits, name)) is not None}
    class_names = splits.train.class_names
    if any(isinstance(part.labels, np.ndarray) for part in parts.values()):
        raise MaxViTError(
            "shards hold one class for each image, and these have several or soft labels: train from the list"
        )
    if broken := [name for name in class_names if name != name.strip() or len(name.splitlines()) != 1]:
        raise MaxViTError(f"class {broken[0]!r} begins or ends with a blank or holds a line break: rename it")
    if shard_bytes < 1:
        raise MaxViTError(f"a shard of {shard_bytes} bytes holds nothing: ask for a size of 1 or more")
    _prepare(out)
    tables, skipped = {}, []
    for name, part in parts.items():
        order = range(len(part)) if name != "train" else np.random.default_rng(seed).permutation(len(part)).tolist()
        rows, problems = _write_split(part, watch(order, name), out, name, shard_bytes)
        if not len(rows):
            raise MaxViTError(f"none of the {len(part)} {name} images can be read; the first: {(problems or ['-'])[0]}")
        tables[name] = rows.table()
        skipped += problems
    storage.write_text(out / CLASSES, "".join(f"{name}\n" for name in class_names))
    write_index(Index(class_names, tables), lambda name, content: storage.write_bytes(out / name, content))
    (out / UNFINISHED).unlink()
    return Written(
        {name: len(table.label) for name, table in tables.items()},
        {name: len(table.shards) for name, table in tables.items()},
        sum(shard.bytes for table in tables.values() for shard in table.shards),
        skipped,
    )


def _prepare(out: Path) -> None:
    """An empty folder with the mark of an unfinished one."""
    if out.exists() and not out.is_dir():
        raise MaxViTError(f"{out} is a file: choose another folder to write")
    found = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if found and (UNFINISHED not in found or FILE in found):
        raise MaxViTError(f"{out} holds {found[0]} already: choose a folder that is empty or does not exist")
    if found:
        storage.remove_leftovers(out)
    storage.write_text(out / UNFINISHED, "maxvit shard has not finished here; the same command starts over\n")
    for name in found:
        if _OURS.fullmatch(name):
            (out / name).unlink()


def _write_split(
    images: LabelledImages, order: Iterable[int], out: Path, split: str, shard_bytes: int
) -> tuple[Rows, list[str]]:
    rows, skipped = Rows(), list[str]()
    samples = _read_all(images, order, skipped)
    for first in samples:
        path = out / f"{split}-{len(rows.shards):06}.tar"
        fill = partial(_fill, samples=chain([first], samples), rows=rows, shard_bytes=shard_bytes)
        storage.write_atomically(path, fill)
        rows.end_shard(path.name, path.stat().st_size)
    return rows, skipped


def _fill(path: Path, samples: Iterable[_Sample], rows: Rows, shard_bytes: int) -> None:
    """Write samples until the shard is full."""
    with path.open("wb") as file:
        for sample in samples:
            name = f"{sample.key}.{sample.extension}"
            start = _add(file, name, sample.content)
            _add(file, f"{sample.key}.cls", str(sample.label).encode())
            rows.add(start, len(sample.content), sample.label, name)
            if file.tell() >= shard_bytes:
                break
        file.write(bytes(2 * _BLOCK))  # the end of an archive


def _add(file: BinaryIO, name: str, content: bytes) -> int:
    """One file of the archive, of nobody and of no time; where its bytes begin."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    file.write(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "replace"))
    start = file.tell()
    file.write(content + bytes(-len(content) % _BLOCK))
    return start


def _read_all(images: LabelledImages, order: Iterable[int], skipped: list[str]) -> Iterator[_Sample]:
    """The samples in order; several threads decode ahead. Adds a sentence to `skipped` for each that is broken."""
    keys = unique_keys(images.names)
    threads = os.cpu_count() or 1

    def read(i: int) -> tuple[int, str, bytes] | str:
        try:
            return i, *_read(images.sources[i])
        except MaxViTError as error:
            return f"{error}" if images.names[i] in str(error) else f"{images.names[i]}: {error}"

    with ThreadPoolExecutor(threads) as pool:
        remaining = iter(order)
        ahead = deque(pool.submit(read, i) for i in islice(remaining, 4 * threads))
        while ahead:
            answer = ahead.popleft().result()
            ahead.extend(pool.submit(read, i) for i in islice(remaining, 1))
            if isinstance(answer, str):
                skipped.append(answer)
            else:
                i, extension, content = answer
                yield _Sample(keys[i], extension, content, int(images.labels[i]))


def _read(source: ImageLike) -> tuple[str, bytes]:
    """Extension and bytes of an image file. Raises `MaxViTError` if it cannot be decoded."""
    with opened(source) as stored:
        kind, bands = stored.format or "", bands_of(stored)
        deep = isinstance(stored, Raw) or bands != PLAIN.channels or is_deep(stored)
        image = upright(stored, (_ANY_RANGE if deep else PLAIN).for_channels(bands))
    if isinstance(source, str | Path | bytes) and (kind in _KEPT or deep):
        try:
            return (_KEPT | _KEPT_IF_DEEP)[kind], source if isinstance(source, bytes) else Path(source).read_bytes()
        except OSError as error:
            raise MaxViTError(f"{source!s} cannot be read: {error.strerror}") from error
    buffer = io.BytesIO()
    assert isinstance(image, Image.Image)
    image.save(buffer, "PNG")
    return "png", buffer.getvalue()


def unique_keys(names: Sequence[str]) -> list[str]:
    """A WebDataset key for each image: its name without extension and dots, numbered where two would be alike."""
    keys: list[str] = []
    taken: set[str] = set()
    counts: Counter[str] = Counter()
    for name in names:
        path = PurePosixPath(name)
        stem = str(path.with_suffix("")) if path.suffix.lower() in EXTENSIONS else str(path)
        plain = re.sub(r"[.\\\x00-\x1f\x7f\ud800-\udfff]", "_", stem).lstrip("/_") or "image"
        key = plain
        while key in taken:
            counts[plain] += 1
            key = f"{plain}-{counts[plain] + 1}"
        taken.add(key)
        keys.append(key)
    return keys
