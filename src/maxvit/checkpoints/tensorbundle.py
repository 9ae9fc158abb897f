"""Read TensorFlow checkpoints without TensorFlow: a table of contents, and raw tensors.

`<prefix>.index` is a sorted string table (LevelDB's file format) of tensor name to a small protocol buffer that says
type, shape, file, offset and size; `<prefix>.data-?????-of-?????` hold the little-endian values.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maxvit.errors import MaxViTError

_MAGIC = 0xDB4775248B80FB57  # last 8 bytes of a table file
_FOOTER = 48
_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}  # TensorFlow's DataType numbers


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one tensor is."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int


class TensorBundle:
    """One TensorFlow checkpoint, opened for reading.

    Args:
        prefix: Path without `.index`, for example `model.ckpt-93600`.

    Raises:
        MaxViTError: If the index is missing, damaged or compressed.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        index = prefix.with_name(prefix.name + ".index")
        try:
            table = dict(_read_table(index.read_bytes()))
            header = dict(_fields(table.pop(b"", b"")))
            self.shards = int(header.get(1, 1))
            self.entries = {name.decode(): _entry(value) for name, value in table.items()}
        except OSError as error:
            raise MaxViTError(f"{index} cannot be read: {error.strerror}") from error
        except (ValueError, IndexError, struct.error, TypeError) as error:
            raise MaxViTError(f"{index} is not a TensorFlow checkpoint index ({error}); it may be truncated") from error

    def read(self, name: str) -> npt.NDArray[np.generic]:
        """The values of one tensor.

        Raises:
            MaxViTError: If its type is not a plain number, or the data file is missing or too short.
        """
        entry = self.entries[name]
        if entry.dtype not in _DTYPES:
            raise MaxViTError(
                f"{name} in {self.prefix} has TensorFlow type {entry.dtype}, which is not a plain number: save it as "
                "float32"
            )
        dtype = np.dtype(_DTYPES[entry.dtype])
        count = math.prod(entry.shape)
        path = self.prefix.with_name(f"{self.prefix.name}.data-{entry.shard:05d}-of-{self.shards:05d}")
        if entry.size != count * dtype.itemsize:
            raise MaxViTError(
                f"{self.prefix}.index gives {name} {entry.size} bytes for shape {entry.shape}: copy it again"
            )
        try:
            length = path.stat().st_size
            with path.open("rb") as file:
                file.seek(min(entry.offset, length))
                raw = file.read(min(entry.size, length))  # no more than there is, whatever the index says
        except OSError as error:
            raise MaxViTError(f"{path} cannot be read: {error.strerror}; both files are needed") from error
        if len(raw) != entry.size:
            raise MaxViTError(f"{path} ends before {name} does: it is truncated, copy it again")
        try:
            return np.frombuffer(raw, dtype).reshape(entry.shape)
        except ValueError as error:  # one side is 0, and another beyond what arrays have
            raise MaxViTError(
                f"{name} in {self.prefix} has the impossible shape {entry.shape}: copy it again"
            ) from error


def _read_table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Every (key, value) of a sorted string table."""
    if len(data) < _FOOTER or struct.unpack("<Q", data[-8:])[0] != _MAGIC:
        raise ValueError("the closing mark is missing")
    footer = data[-_FOOTER:]
    _, at = _varint(footer, 0)  # the meta index, which is empty
    _, at = _varint(footer, at)
    offset, at = _varint(footer, at)
    size, _ = _varint(footer, at)
    for _, handle in _read_block(data, offset, size):
        offset, at = _varint(handle, 0)
        size, _ = _varint(handle, at)
        yield from _read_block(data, offset, size)


def _read_block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys share a prefix with the one before: (shared, new, value length), new bytes, value."""
    if offset + size + 5 > len(data):
        raise ValueError("a block is beyond the end")
    if data[offset + size] != 0:
        raise ValueError("its blocks are compressed, which TensorFlow does not do")
    block = data[offset : offset + size]
    (restarts,) = struct.unpack("<I", block[-4:])
    end, at, key = size - 4 - 4 * restarts, 0, b""
    while at < end:
        shared, at = _varint(block, at)
        new, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + new]
        yield key, block[at + new : at + new + length]
        at += new + length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number is too long")


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a protocol buffer message."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        value: int | bytes
        if kind == 0:
            value, at = _varint(message, at)
        elif kind == 2:
            length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
        elif kind in (1, 5):
            width = 8 if kind == 1 else 4
            value, at = message[at : at + width], at + width
        else:
            raise ValueError(f"a field has the unknown kind {kind}")
        yield tag >> 3, value


def _entry(message: bytes) -> Entry:
    """BundleEntryProto: 1 type, 2 shape, 3 shard, 4 offset, 5 size, 7 slices."""
    values: dict[int, int] = {}
    shape: tuple[int, ...] = ()
    for number, value in _fields(message):
        if number == 7:
            raise ValueError("a tensor is stored in slices, which is not a plain number: save it as float32")
        if number == 2 and isinstance(value, bytes):
            dims = [dict(_fields(dim)) for n, dim in _fields(value) if n == 2 and isinstance(dim, bytes)]
            shape = tuple(int(dim.get(1, 0)) for dim in dims)
        elif isinstance(value, int):
            values[number] = value
    return Entry(values.get(1, 0), shape, values.get(3, 0), values.get(4, 0), values.get(5, 0))
