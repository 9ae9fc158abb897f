"""DICOM: values are what they mean, in the window that the file names."""

import numpy as np
import pytest

from maxvit.config import Preprocessing
from maxvit.data.finding import find_images
from maxvit.data.images import decode, read_size
from maxvit.data.value_range import measure_range
from maxvit.errors import MaxViTError

pydicom = pytest.importorskip("pydicom")

STORED = np.arange(77, dtype=np.uint16).reshape(7, 11) * 50  # 0 to 3800, 12 bits
IN_HOUNSFIELD = STORED * 2.0 - 1024


def write(path, values=STORED, bits=12, **tags):
    """A file of a computed-tomography device, with tags of one's own; None: without this tag."""
    said = pydicom.Dataset()
    said.file_meta = pydicom.dataset.FileMetaDataset()
    said.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    said.file_meta.MediaStorageSOPClassUID = said.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    said.file_meta.MediaStorageSOPInstanceUID = said.SOPInstanceUID = "1.2.3"
    said.Rows, said.Columns = values.shape[:2]
    said.SamplesPerPixel = values.shape[2] if values.ndim == 3 else 1
    said.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
    if values.ndim == 3:
        said.PlanarConfiguration = 0
    said.BitsAllocated, said.BitsStored, said.HighBit = 8 * values.itemsize, bits, bits - 1
    said.PixelRepresentation = int(values.dtype.kind == "i")
    said.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    for name, value in tags.items():
        if value is None:
            delattr(said, name)
        else:
            setattr(said, name, value)
    said.save_as(path, enforce_file_format=True)
    return path


def grey(path, **values):
    found = np.asarray(decode(path, Preprocessing(**values)))
    assert (found[..., :1] == found).all()
    return found[..., 0]


def scaled(values, low, high):
    return np.rint(np.clip((values.astype(float) - low) * 255 / (high - low), 0, 255))


HOUNSFIELD = {"RescaleSlope": 2, "RescaleIntercept": -1024}


@pytest.mark.parametrize(
    ("tags", "low", "high"),
    [
        ({}, 0, 4095),  # what 12 bits can hold
        (HOUNSFIELD, -1024, 7166),
        ({"RescaleSlope": 0.5, "RescaleIntercept": 0.25}, 0.25, 2047.75),
        ({**HOUNSFIELD, "WindowCenter": 40, "WindowWidth": 401}, -160.5, 239.5),  # PS3.3, C.11.2.1.2.1
        ({**HOUNSFIELD, "WindowCenter": [40, 500], "WindowWidth": [401, 9]}, -160.5, 239.5),
        ({**HOUNSFIELD, "WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "LINEAR_EXACT"}, -160, 240),
    ],
)
@pytest.mark.parametrize("inverted", [False, True])
def test_slope_intercept_window_and_inversion_are_applied(tmp_path, tags, low, high, inverted):
    path = write(tmp_path / "a.dcm", **tags, PhotometricInterpretation=f"MONOCHROME{1 if inverted else 2}")
    means = STORED * float(tags.get("RescaleSlope", 1)) + tags.get("RescaleIntercept", 0)
    wanted = scaled(means, low, high)
    assert np.abs(grey(path) - (255 - wanted if inverted else wanted)).max() <= inverted  # a half is rounded once
    assert read_size(path) == (7, 11)


def test_a_range_that_is_set_counts_more_than_a_window_and_is_measured_where_there_is_none(tmp_path):
    windowed = write(tmp_path / "a.dcm", **HOUNSFIELD, WindowCenter=40, WindowWidth=401)
    assert measure_range([windowed], Preprocessing()) is None
    assert np.array_equal(grey(windowed, value_range=(-1024, 0)), scaled(IN_HOUNSFIELD, -1024, 0))
    plain = write(tmp_path / "b.dcm", **HOUNSFIELD)
    assert measure_range([windowed, plain], Preprocessing())[0] == (-1024, 3800 * 2 - 1024)


def test_signed_values_of_8_bits_and_colours(tmp_path):
    signed = (STORED.astype(np.int16) - 2000).astype(np.int16)
    assert np.array_equal(grey(write(tmp_path / "a.dcm", signed)), scaled(signed, -2048, 2047))
    bytes_ = (STORED % 251).astype(np.uint8)
    assert np.array_equal(grey(write(tmp_path / "b.dcm", bytes_, 8)), bytes_)
    colours = np.random.default_rng(0).integers(0, 256, (7, 11, 3)).astype(np.uint8)
    assert np.array_equal(np.asarray(decode(write(tmp_path / "c.dcm", colours, 8))), colours)


def test_a_file_without_an_ending_is_known_by_its_content(tmp_path):
    assert find_images(tmp_path).images == []
    assert [write(tmp_path / "IM000001")] == find_images(tmp_path).images


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"PixelData": None}, "is DICOM without pixels: copy it again"),
        ({"Rows": None, "PixelData": None}, "is DICOM without pixels, such as a report: leave it out"),
        ({"NumberOfFrames": 30}, "holds 30 frames, and an image is one: save those wanted as files of their own"),
    ],
)
def test_what_is_no_single_picture_is_refused_in_a_sentence(tmp_path, tags, said):
    path = write(tmp_path / "a.dcm", **tags)
    with pytest.raises(MaxViTError, match=f"^{path} {said}"):
        decode(path)


def test_without_pydicom_the_package_to_install_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("maxvit.data.dicom.WITH_DICOM", False)
    with pytest.raises(
        MaxViTError, match=r"is DICOM, which needs pydicom, which is not installed: pip install 'maxvit\[dicom\]'"
    ):
        decode(write(tmp_path / "a.dcm"))
