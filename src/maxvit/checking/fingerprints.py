"""What of an image survives another encoding and another size: its low frequencies and its coarse colours."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

SIDE = 64  # pixels that each image is squeezed into
KEPT = 24  # frequencies along each axis
FIELDS = 8  # a side, whose mean colour is kept
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_MIRROR = (-1.0) ** np.arange(KEPT, dtype=np.float32)  # what mirroring does to a cosine


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """Fingerprints of n images.

    Attributes:
        spectra: (n, KEPT, KEPT) float32, coefficients of the cosine transform of the grey picture, rows and columns.
        colours: (n, FIELDS, FIELDS, 3) uint8, mean colours.
    """

    spectra: npt.NDArray[np.float32]
    colours: npt.NDArray[np.uint8]

    @classmethod
    def empty(cls, number: int) -> Self:
        """Room for so many."""
        return cls(np.zeros((number, KEPT, KEPT), np.float32), np.zeros((number, FIELDS, FIELDS, 3), np.uint8))

    def put(self, places: npt.NDArray[np.int64], others: "Fingerprints") -> None:
        """Take over others at these places."""
        self.spectra[places], self.colours[places] = others.spectra, others.colours

    def mirrored(self) -> "Fingerprints":
        """Those of the mirror images, left and right exchanged."""
        return Fingerprints(self.spectra * _MIRROR, self.colours[:, :, ::-1])


def fingerprints(pixels: npt.NDArray[np.uint8]) -> Fingerprints:
    """Fingerprints of pictures (n, SIDE, SIDE, 3) uint8."""
    number, each = len(pixels), SIDE // FIELDS
    rows = cosines((np.arange(SIDE) + 0.5) / SIDE)
    spectra = rows @ (pixels @ _GREY) @ rows.T  # (n, KEPT, KEPT)
    fields = pixels.reshape(number, FIELDS, each, FIELDS, each, 3).mean((2, 4))
    return Fingerprints(spectra.astype(np.float32), fields.round().astype(np.uint8))


def cosines(at: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """The lowest rows of the orthonormal cosine transform, (..., KEPT, n), at places of an axis, (..., n), 0 to 1."""
    frequency = np.arange(KEPT)[:, None]
    rows = np.cos(np.pi * frequency * at[..., None, :]) * np.where(frequency, np.sqrt(2 / SIDE), np.sqrt(1 / SIDE))
    found: npt.NDArray[np.float32] = rows.astype(np.float32)
    return found
