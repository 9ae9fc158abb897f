"""Odd files are seen as they were meant, or refused in a sentence; damaged ones too, within bounds."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from odd_images import READ, REFUSED
from PIL import EpsImagePlugin, PngImagePlugin

from maxvit.data.formats import quiet_pillow
from maxvit.data.images import decode, read_size
from maxvit.errors import MaxViTError

pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\b")  # as our processes do, see quiet_pillow
LOSSY = ("JPEG,", "AVIF", "BMP, 15 bits")


def test_there_are_many_kinds():
    assert len(READ) + len(REFUSED) >= 120


@pytest.mark.parametrize("kind", READ)
def test_an_odd_image_is_seen_as_it_was_meant(kind):
    data, wanted = READ[kind]
    found = np.asarray(decode(data))
    assert found.shape == wanted.shape
    assert read_size(data) == wanted.shape[:2]
    exact = not ("alpha" in kind or kind.startswith(LOSSY))  # else Pillow rounds otherwise, or the format loses some
    assert np.abs(found.astype(int) - wanted).max() <= (0 if exact else 2)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_image_is_refused_in_a_sentence(kind):
    data, sentence = REFUSED[kind]
    with pytest.raises(MaxViTError, match=f"^the data ({sentence})") as caught:
        decode(data)
    assert "\n" not in str(caught.value)


def test_libtiff_prints_nothing(capfd):
    with pytest.raises(MaxViTError, match="is damaged"):
        decode(REFUSED["TIFF, deflated badly"][0])
    assert capfd.readouterr().err == ""


def test_pillow_s_warnings_are_kept_back_and_no_others():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quiet_pillow()
        for module in ("PIL.TiffImagePlugin", "numpy"):
            warnings.warn_explicit("odd", UserWarning, "file.py", 1, module)
    assert [str(warning.category.__name__) for warning in caught] == ["UserWarning"]


def test_ghostscript_is_never_started(monkeypatch, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(REFUSED["EPS"][0])
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("it was started"))
    for read in (decode, read_size):
        with pytest.raises(MaxViTError, match=r"photo\.jpg is not an image that can be read"):
            read(path)


@pytest.mark.parametrize("raised", [AssertionError(), OverflowError("too large\n to be"), ZeroDivisionError("x")])
def test_whatever_pillow_raises_concerns_the_one_file(monkeypatch, raised):
    def load(image):
        raise raised

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    reason = {"": "", "x": ": x"}.get(str(raised), ": too large to be")
    with pytest.raises(MaxViTError, match=f"^the data is damaged{reason}$"):
        decode(READ["PNG, RGB"][0])


def test_memory_that_is_short_is_no_fault_of_a_file(monkeypatch):
    def load(image):
        raise MemoryError

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    with pytest.raises(MemoryError):
        decode(READ["PNG, RGB"][0])


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="what a process has in use is read from /proc")
@pytest.mark.parametrize("seed", range(4))
def test_a_mutated_image_is_an_image_or_a_sentence_within_5_s_and_1_gb(seed):
    script = Path(__file__).with_name("mutate_images.py")
    done = subprocess.run([sys.executable, script, str(seed), "5000"], capture_output=True, text=True, check=False)
    last = done.stdout.strip().rpartition("\n")[2]
    assert (done.returncode, done.stderr) == (0, ""), f"at {last}: {done.stderr[-3000:]}"
    assert int(last.split()[0]) > 500
