"""Calls of the native kernels as a file: what each was given and what it gave, to be replayed on another processor.

A call is written as one piece of memory, in which the tensors and structs lie that it can see, with the places of the
pointers between them. See replay.cpp.
"""

import ctypes
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from maxvit.kernels.cpu import ctypes_calls, inference


class Recorder:
    """Stands between Python and the compiled kernels."""

    def __init__(self) -> None:
        self.tensors: dict[int, int] = {}  # bytes from an address on
        self.structs: dict[int, ctypes.Structure] = {}  # that are pointed to
        self.calls: list[bytes] = []
        self.names: set[str] = set()  # of the kernels that were called

    def library(self, real: ctypes.CDLL) -> Any:
        """What `load` gives, seen from here."""
        return _Library(self, real)


class _Library:
    def __init__(self, recorder: Recorder, real: ctypes.CDLL) -> None:
        self.recorder, self.real = recorder, real

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            image = _Image(self.recorder)
            words = [image.word(argument) for argument in arguments]
            before = bytes(image.memory)
            result = getattr(self.real, name)(*arguments)
            self.recorder.names.add(name)
            self.recorder.calls.append(image.written(name, words, before, result))
            return result

        return call


class _Image:
    """The memory that a call can see."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder, self.memory = recorder, bytearray()
        self.places: dict[int, int] = {}  # in the image, of an address
        self.pointers: list[int] = []  # places of pointers
        self.regions: list[tuple[int, int, int]] = []  # address, place, bytes: of tensors

    def word(self, argument: Any) -> tuple[int, int]:
        """(is a pointer, its place or -1), or (is not, the number)."""
        if isinstance(argument, ctypes.c_long):
            return 0, argument.value
        if isinstance(argument, ctypes.c_void_p):
            return 1, self._place(argument.value)
        return 1, self._put(argument._obj)  # of ctypes.byref

    def _place(self, address: int | None) -> int:
        """Where what is at an address lies in the image; -1 for a null pointer."""
        if not address:
            return -1
        if address not in self.places:
            if address in self.recorder.structs:
                self.places[address] = self._put(self.recorder.structs[address])
            else:
                size = self.recorder.tensors[address]
                self.places[address] = self._append(ctypes.string_at(address, size))
                self.regions.append((address, self.places[address], size))
        return self.places[address]

    def _append(self, data: bytes) -> int:
        self.memory.extend(bytes(-len(self.memory) % 64))
        self.memory.extend(data)
        return len(self.memory) - len(data)

    def _put(self, value: Any) -> int:
        """A struct or an array, with what it points to."""
        place = self._append(bytes(value))
        for used in getattr(value, "used", ()):
            self.recorder.structs[ctypes.addressof(used)] = used
        for offset, pointed in _pointers(value):
            found = self._put(pointed) if isinstance(pointed, ctypes.Array) else self._place(pointed)
            struct.pack_into("<q", self.memory, place + offset, found)
            self.pointers.append(place + offset)
        return place

    def written(self, name: str, words: list[tuple[int, int]], before: bytes, result: int) -> bytes:
        """As replay.cpp reads it."""
        out = [_numbers(len(name)), name.encode(), _numbers(len(words)), *(_numbers(*word) for word in words)]
        out += [_numbers(result if name.endswith(("blocks", "shares")) else 0), _numbers(len(before)), before]
        out += [_numbers(len(self.pointers), *self.pointers), _numbers(len(self.regions))]
        for address, place, size in self.regions:
            after = ctypes.string_at(address, size)
            out += [_numbers(place, size, after == before[place : place + size]), after]
        return b"".join(out)


def _pointers(value: Any, base: int = 0) -> Iterator[tuple[int, Any]]:
    """(offset, address or array) of each pointer in a struct or an array."""
    if isinstance(value, ctypes.Array):
        size = ctypes.sizeof(value._type_)
        for i, item in enumerate(value):
            if issubclass(value._type_, ctypes.c_void_p):
                yield base + i * size, item
            else:
                yield from _pointers(item, base + i * size)
        return
    for name, kind in value._fields_:
        offset, item = base + getattr(type(value), name).offset, getattr(value, name)
        if issubclass(kind, ctypes.c_void_p):
            yield offset, item
        elif issubclass(kind, ctypes._Pointer):
            number = value.blocks  # the only one: struct Network
            yield offset, ctypes.cast(item, ctypes.POINTER(kind._type_ * number)).contents
        elif issubclass(kind, ctypes.Structure | ctypes.Array):
            yield from _pointers(item, offset)


def _numbers(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


@contextmanager
def recorded(path: Path) -> Iterator[Recorder]:
    """Record all calls of the block into a file, by kernels for vectors of 4 floats, as ARM has."""
    recorder, real_load, real_pointer = Recorder(), ctypes_calls.load, torch.Tensor.data_ptr

    def data_ptr(tensor: torch.Tensor) -> int:
        address = real_pointer(tensor)
        rest = tensor.untyped_storage().nbytes() - tensor.storage_offset() * tensor.element_size()
        recorder.tensors[address] = rest
        return address

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
        patch.setattr(ctypes_calls, "load", lambda width: recorder.library(real_load(width)))
        patch.setattr(torch.Tensor, "data_ptr", data_ptr)
        inference.real_groups.cache_clear()  # so that all addresses are seen
        yield recorder
    path.write_bytes(_numbers(len(recorder.calls)) + b"".join(recorder.calls))
