"""What an index knows of pictures: a row for each, in files of some hundreds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from maxvit import storage
from maxvit.checking.fingerprints import Fingerprints
from maxvit.checking.looks import Looks
from maxvit.errors import MaxViTError

State = tuple[int, int]  # bytes of a file, and when it was changed, in nanoseconds
Embeddings = npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Rows:
    """What is known of n pictures.

    Attributes:
        names: Paths relative to the folder of the photos, with "/".
        states: (n, 2) int64, a `State` each.
        embeddings: (n, F) float16, each of length 1.
        looks: For duplicates; without features.
    """

    names: list[str]
    states: npt.NDArray[np.int64]
    embeddings: Embeddings
    looks: Looks

    def __len__(self) -> int:
        return len(self.names)

    def take(self, places: npt.NDArray[np.int64]) -> "Rows":
        """Some of them."""
        names = [self.names[i] for i in places]
        return Rows(names, self.states[places], self.embeddings[places], _take(self.looks, places))

    @classmethod
    def joined(cls, several: Sequence["Rows"]) -> Self:
        """All of them, one after another."""
        return cls(
            [name for rows in several for name in rows.names],
            np.concatenate([rows.states for rows in several]),
            np.concatenate([rows.embeddings for rows in several]),
            join_looks([rows.looks for rows in several]),
        )

    def pieces(self, size: int) -> Iterator["Rows"]:
        """All of them, so many at a time."""
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self))))

    def write(self, path: Path) -> None:
        """Write one file in one step. Raises `MaxViTError` if it cannot be written."""
        looks = self.looks
        arrays: dict[str, npt.NDArray[Any]] = {
            "states": self.states,
            "embeddings": self.embeddings,
            "sizes": looks.sizes,
            "files": looks.files.view(np.uint8).reshape(-1, 32),
            "pixels": looks.pixels.view(np.uint8).reshape(-1, 32),
            "spectra": looks.fingerprints.spectra,
            "colours": looks.fingerprints.colours,
        }
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        storage.save(path, tensors, {"names": self.names})

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote. Raises `MaxViTError` if it is missing or damaged."""
        names, (states, embeddings) = _read(path, "states", "embeddings")
        return cls(names, states, embeddings, read_looks(path))


def read_states(path: Path) -> tuple[list[str], list[State]]:
    """Names and states alone. Raises as `Rows.read`."""
    names, (states,) = _read(path, "states")
    return names, [(int(size), int(changed)) for size, changed in states]


def read_embeddings(path: Path) -> Embeddings:
    """Embeddings alone. Raises as `Rows.read`."""
    return _read(path, "embeddings")[1][0]


def read_looks(path: Path) -> Looks:
    """Only what duplicates are found by. Raises as `Rows.read`."""
    _, (sizes, files, pixels, spectra, colours) = _read(path, "sizes", "files", "pixels", "spectra", "colours")
    return make_looks(sizes, files.view("S32")[:, 0], pixels.view("S32")[:, 0], Fingerprints(spectra, colours))


def make_looks(
    sizes: npt.NDArray[np.int32], files: npt.NDArray[np.bytes_], pixels: npt.NDArray[np.bytes_], prints: Fingerprints
) -> Looks:
    """Looks at pictures that can all be read, without features."""
    return Looks(sizes, files, pixels, prints, np.zeros((len(sizes), 0), np.float16), {})


def join_looks(several: Sequence[Looks]) -> Looks:
    """All of them, one after another."""
    return make_looks(
        np.concatenate([looks.sizes for looks in several]),
        np.concatenate([looks.files for looks in several]),
        np.concatenate([looks.pixels for looks in several]),
        Fingerprints(
            np.concatenate([looks.fingerprints.spectra for looks in several]),
            np.concatenate([looks.fingerprints.colours for looks in several]),
        ),
    )


def _take(looks: Looks, places: npt.NDArray[np.int64]) -> Looks:
    prints = looks.fingerprints
    kept = Fingerprints(prints.spectra[places], prints.colours[places])
    return make_looks(looks.sizes[places], looks.files[places], looks.pixels[places], kept)


def _read(path: Path, *names: str) -> tuple[list[str], list[npt.NDArray[Any]]]:
    """The names of the pictures, and some arrays of equal length."""
    tensors, said = storage.load_some(path, names)
    pictures = said.get("names")
    arrays = [tensors[name].numpy() for name in names]
    if not isinstance(pictures, list) or any(len(array) != len(pictures) for array in arrays):
        raise MaxViTError(f"{path} is not a part of an index, or damaged: build the index anew")
    return pictures, arrays
