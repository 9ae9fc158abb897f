"""Black and white above 8 bits belong to a data set, and not to one image."""

import io

import numpy as np
import pytest
import tifffile
from odd_images import png
from PIL import Image

from maxvit.config import Preprocessing
from maxvit.data import value_range
from maxvit.data.depth import scale
from maxvit.data.images import decode
from maxvit.data.value_range import measure_range
from maxvit.errors import MaxViTError
from maxvit.tasks.classification.augment import training_transform
from maxvit.tasks.pieces import random_piece

SPEC = Preprocessing()


def write(folder, *arrays, kind="png"):
    paths = [folder / f"{i}.{kind}" for i in range(len(arrays))]
    for path, array in zip(paths, arrays, strict=True):
        Image.fromarray(array).save(path)
    return paths


def flat(value, dtype=np.uint16):
    return np.full((5, 7), value, dtype)


def test_the_range_is_that_of_all_images_above_8_bits(tmp_path):
    paths = write(tmp_path, flat(700), flat(4000), flat(1500), flat(255, np.uint8))
    (tmp_path / "broken.png").write_bytes(paths[0].read_bytes()[:60])
    found, sentence = measure_range([*paths, tmp_path / "broken.png"], SPEC)
    assert found == (700, 4000)
    assert sentence.startswith("images of more than 8 bits: 700 is black and 4000 white; data.value_range=[BLACK")


def test_a_value_means_the_same_in_each_image_of_a_data_set(tmp_path):
    """12 bits in a 16-bit file: a dark frame stays dark beside a bright one, each with 256 levels of its own."""
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    bright, dark = write(tmp_path, ramp, np.minimum(ramp, 1000))
    found, _ = measure_range([bright, dark], SPEC)
    spec = Preprocessing(value_range=found)
    seen, dim = np.asarray(decode(bright, spec)), np.asarray(decode(dark, spec))
    assert np.array_equal(seen[..., 0], np.rint(ramp * (255 / 4095)).astype(np.uint8))
    assert len(np.unique(seen)) == 256
    assert dim.max() == 62  # 1000 * 255 / 4095
    assert np.array_equal(dim[:15], seen[:15])


def test_negative_values_keep_their_order(tmp_path):
    path = tmp_path / "ct.tif"
    tifffile.imwrite(path, np.array([[-1000, 0, 40, 3000]] * 2, np.int16), photometric="minisblack")
    found, _ = measure_range([path], SPEC)
    assert found == (-1000, 3000)
    grey = np.asarray(decode(path, Preprocessing(value_range=found)))[0, :, 0]
    assert grey.tolist() == [0, 64, 66, 255]  # 1000 / 4000 and 1040 / 4000 of 255


def test_large_images_are_scaled_as_small_ones():
    random = np.random.default_rng(0)
    for dtype in (np.uint16, np.int16, ">u2"):
        values = random.integers(0, 2**16, (260, 270)).astype(np.uint16).view(dtype)
        wanted = np.rint(np.clip((values.astype(float) - 1000) * 255 / 3000, 0, 255))
        assert np.array_equal(scale(values, (1000, 4000)), wanted)


def test_8_bits_have_no_range_to_measure(tmp_path):
    assert measure_range(write(tmp_path, flat(3, np.uint8)), SPEC) is None
    assert measure_range([flat(300)], SPEC) is None  # an array: its type says it


@pytest.mark.parametrize(("spread", "seen"), [(True, (0, 9)), (False, (0, 3))])
def test_of_many_images_a_sample_is_measured_and_said_so(tmp_path, monkeypatch, spread, seen):
    monkeypatch.setattr(value_range, "SAMPLE", 4)
    paths = write(tmp_path, *(flat(value) for value in range(12)))
    found, sentence = measure_range(paths, SPEC, spread)
    assert found == seen
    assert "white, measured in 4 of 12 images; data.value_range" in sentence


def test_floats_and_whole_numbers_have_no_common_range(tmp_path):
    paths = write(tmp_path, flat(0.5, np.float32), kind="tif") + write(tmp_path, flat(500))
    with pytest.raises(MaxViTError, match=r"some images hold floats and others whole numbers .* set data.value_range"):
        measure_range(paths, SPEC)


@pytest.mark.parametrize("given", [(1, 0), (0, 0), (1, 2, 3), "ab", (0, float("nan"))])
def test_what_is_no_range_is_refused(given):
    with pytest.raises(MaxViTError, match=r"^value_range is"):
        Preprocessing(value_range=given)


def test_a_range_travels_with_the_preprocessing():
    spec = Preprocessing(value_range=(-1000, 3000), max_pixels=5)
    assert Preprocessing.from_dict(spec.to_dict()) == spec
    assert Preprocessing.from_dict({**spec.to_dict(), "value_range": [-1000, 3000]}) == spec


def test_arrays_are_scaled_by_a_range_too():
    spec = Preprocessing(value_range=(-100, 100))
    for dtype in (np.int16, np.int64, np.float32):
        assert np.asarray(decode(np.array([[-100, 0, 100, 300]], dtype), spec))[0, :, 0].tolist() == [0, 128, 255, 255]
    assert np.asarray(decode(np.array([[7]], np.uint8), spec)).max() == 7


def test_16_bit_colours_keep_their_lower_byte():
    """12 bits in each channel of a 16-bit file; Pillow alone keeps 16 of 4096 levels."""
    levels = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    colours = np.dstack([levels, levels[::-1], levels.T])
    wanted = np.rint(colours * (255 / 4095)).astype(np.uint8)
    for options in ({"planarconfig": "contig"}, {"planarconfig": "contig", "byteorder": ">"}, {"compression": "zlib"}):
        data = io.BytesIO()
        tifffile.imwrite(data, colours, photometric="rgb", metadata=None, **options)
        assert np.array_equal(np.asarray(decode(data.getvalue(), Preprocessing(value_range=(0, 4095)))), wanted)
    with_alpha = np.dstack([colours, np.full((64, 64), 65535, np.uint16)])
    for values, kind in ((colours, 2), (with_alpha, 6)):
        found = np.asarray(decode(png(values, 16, kind), Preprocessing(value_range=(0, 4095))))
        assert np.array_equal(found, wanted)
    grey = np.asarray(decode(png(with_alpha[..., [0, 3]], 16, 4), Preprocessing(value_range=(0, 4095))))
    assert np.array_equal(grey, np.repeat(wanted[..., :1], 3, -1))


@pytest.mark.parametrize("augmentation", ["none", "characters", "photos"])
def test_training_sees_the_values_that_evaluation_sees(tmp_path, augmentation):
    (path,) = write(tmp_path, np.full((40, 50), 2000, np.uint16))
    spec = Preprocessing(value_range=(0, 4000))
    picture = training_transform((32, 32), augmentation, (0, 0), spec=spec)(path)
    assert picture[:, 12:20, 12:20].unique().tolist() == [128]
    assert np.unique(random_piece(path, spec, (0.5, 1.0), False)).tolist() == [128]


def test_numbers_near_the_largest_are_black_or_white():
    assert scale(np.array([-1e308, 0.0, 1e308]), (0, 1)).tolist() == [0, 0, 255]
