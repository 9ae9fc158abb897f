"""DICOM: pictures of medical devices, by pydicom."""

from importlib.util import find_spec
from typing import IO, Any

import numpy as np

from maxvit.data.depth import Deep, Unfit
from maxvit.data.raw import Raw
from maxvit.errors import say_missing

WITH_DICOM = find_spec("pydicom") is not None  # the extra `dicom`
MARK, AT = b"DICM", 128  # of a file, and where it stands


def open_dicom(file: IO[bytes]) -> Raw:
    """A single picture, grey or in colours; values are what they mean: its slope, intercept or table is applied.

    Raises:
        Unfit: If pydicom (an optional dependency) is missing, or the file holds no pixels, or several pictures.
    """
    if not WITH_DICOM:
        raise Unfit(f"is DICOM, which needs {say_missing('pydicom')}")
    import pydicom

    file.seek(0)
    said: Any = pydicom.dcmread(file, stop_before_pixels=True)
    if "Rows" not in said or "Columns" not in said:
        raise Unfit("is DICOM without pixels, such as a report: leave it out")
    if int(said.get("NumberOfFrames") or 1) > 1:
        raise Unfit(f"holds {said.NumberOfFrames} frames, and an image is one: save those wanted as files of their own")
    bands = 3 if said.get("PhotometricInterpretation") == "PALETTE COLOR" else int(said.get("SamplesPerPixel", 1))
    if bands not in (1, 3):
        raise Unfit(f"has {bands} samples a pixel: DICOM has 1 or 3")

    def read() -> Deep:
        file.seek(0)
        return _read(pydicom.dcmread(file))

    return Raw("DICOM", int(said.Columns), int(said.Rows), bands, bands == 1, read)


def _read(said: Any) -> Deep:
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

    if not any(name in said for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise Unfit("is DICOM without pixels: copy it again")
    stored = said.pixel_array
    if said.PhotometricInterpretation == "PALETTE COLOR":
        colours = apply_color_lut(stored, said)
        return Deep(_upper_byte(colours, 8 * colours.itemsize), None, (0.0, 255.0))
    if stored.ndim == 3:
        return Deep(_upper_byte(stored, int(said.BitsStored)), None, (0.0, 255.0))
    bits = int(said.get("BitsStored", 16))
    ends = [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if said.get("PixelRepresentation") else [0, 2**bits - 1]
    window = _window(said)
    plain = (said.get("RescaleSlope", 1), said.get("RescaleIntercept", 0)) == (1, 0)
    values = stored if plain and "ModalityLUTSequence" not in said else apply_modality_lut(stored, said)
    if window and values.dtype == np.uint8:
        values = values.astype(np.int32)  # else they would be taken as they are
    if "RescaleSlope" in said:
        ends = [end * float(said.RescaleSlope) + float(said.RescaleIntercept) for end in ends]
    elif "ModalityLUTSequence" in said:
        ends = [0, 2.0 ** int(said.ModalityLUTSequence[0].LUTDescriptor[2]) - 1]
    whole = values.dtype.kind == "f" and all(float(end).is_integer() for end in ends)
    values = values.astype(np.int32) if whole and (values == np.rint(values)).all() else values
    low, high = sorted(map(float, window or ends))
    inverted = said.PhotometricInterpretation == "MONOCHROME1"
    return Deep(values, None, (low, high), inverted, windowed=window is not None)


def _window(said: Any) -> tuple[float, float] | None:
    """The values that are black and white to a radiologist, where the file says so, along a line between them."""
    centre, width = said.get("WindowCenter"), said.get("WindowWidth")
    shape = said.get("VOILUTFunction") or "LINEAR"
    if centre in (None, "") or width in (None, "") or shape not in ("LINEAR", "LINEAR_EXACT"):
        return None
    # of several the first
    middle, wide = (float(value if isinstance(value, int | float) else value[0]) for value in (centre, width))
    if shape == "LINEAR":  # PS3.3, C.11.2.1.2.1
        middle, wide = middle - 0.5, wide - 1
    return (middle - wide / 2, middle + wide / 2) if wide > 0 else None


def _upper_byte(values: Any, bits: int) -> Any:
    return values if values.dtype == np.uint8 else (values >> max(0, bits - 8)).astype(np.uint8)
