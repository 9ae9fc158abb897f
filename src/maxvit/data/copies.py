"""Held-out images that are also in training, with the same bytes: found by reading as few of them as that takes."""

import hashlib
import os
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import NamedTuple

from maxvit.data.dataset import LabelledImages, Splits

MOST = 20_000  # files that are looked at
_PIECE = 1 << 14  # bytes


class Copy(NamedTuple):
    """A held-out image and the first of training with the same bytes, by their names."""

    held_out: str
    train: str


class _File(NamedTuple):
    path: str | Path
    name: str


def find_copies(data: Splits) -> list[Copy]:
    """The validation and test images whose file has the same bytes as one of training.

    Sizes are compared first, then a piece from the middle of files of one size, then all of those that still agree. Of
    images that are not files of their own none is looked at, nor any of more than 20,000.
    """
    train = _files(data.train)
    held_out = [file for part in (data.val, data.test) if part is not None for file in _files(part)]
    if len(train) + len(held_out) > MOST:
        return []
    for look in (os.path.getsize, _middle):
        own, theirs = [_try(look, file) for file in train], [_try(look, file) for file in held_out]
        both = (set(own) & set(theirs)) - {None}
        train = [file for file, seen in zip(train, own, strict=True) if seen in both]
        held_out = [file for file, seen in zip(held_out, theirs, strict=True) if seen in both]
    first: dict[Hashable, str] = {}
    for file in train:
        first.setdefault(_try(_digest, file), file.name)
    first.pop(None, None)
    digests = [_try(_digest, file) for file in held_out]
    return [Copy(file.name, first[seen]) for file, seen in zip(held_out, digests, strict=True) if seen in first]


def _files(images: LabelledImages) -> list[_File]:
    """Those that are files; what is made when it is asked for, such as an image of a shard, is not."""
    if not isinstance(images.sources, list):
        return []
    pairs = zip(images.sources, images.names, strict=True)
    return [_File(source, name) for source, name in pairs if isinstance(source, str | Path)]


def _try(look: Callable[[str | Path], Hashable], file: _File) -> Hashable:
    """None of a file that cannot be read: whoever decodes it says so."""
    try:
        return look(file.path)
    except OSError:
        return None


def _middle(path: str | Path) -> bytes:
    """A piece, as files of one size often begin alike."""
    with open(path, "rb") as file:
        file.seek(os.fstat(file.fileno()).st_size // 2)
        return hashlib.blake2b(file.read(_PIECE), digest_size=16).digest()


def _digest(path: str | Path) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()
