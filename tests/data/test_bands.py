"""Images of other than one or three bands: each band as the file holds it, in the range of that band."""

import io
import json
import sys

import numpy as np
import pytest
import tifffile
import torch
from odd_images import TURNED, npy, tiff
from PIL import Image

from every_task import COUNTING, TASKS, network_of
from maxvit.config import Preprocessing
from maxvit.data import tiff as tiff_files
from maxvit.data.band_count import count_bands, say_pages
from maxvit.data.bands import Bands, say_shown, show
from maxvit.data.finding import find_images
from maxvit.data.images import decode, read_size
from maxvit.data.kept import Kept, Memory
from maxvit.data.transforms import denormalise, preprocess
from maxvit.data.value_range import measure_range
from maxvit.errors import MaxViTError
from maxvit.tasks import make_task
from maxvit.tasks.classification.augment import training_transform
from maxvit.tasks.detection.objects import Objects
from maxvit.tasks.segmentation.masks import Key, MaskFile

H, W = 31, 43
RANDOM = np.random.default_rng(0)
RANGES = ((0, 100), (50, 300), (-20, 4000), (0, 65535), (7, 8))


def spec_for(channels, **values):
    return Preprocessing(mean=(0.5,) * channels, std=(0.5,) * channels, **values)


def to_8(values, ranges):
    low, high = np.array(ranges, np.float64).T
    return np.rint(np.clip((values.astype(np.float64) - low) * 255 / (high - low), 0, 255)).astype(np.uint8)


def some(dtype, bands=5):
    if np.dtype(dtype).kind == "f":
        return (RANDOM.random((H, W, bands)) * 4000).astype(dtype)
    return RANDOM.integers(0, min(np.iinfo(dtype).max, 5000), (H, W, bands)).astype(dtype)


LAYOUTS = {
    "interleaved": lambda a: tiff(a, planarconfig="contig"),
    "planar, deflated": lambda a: tiff(np.moveaxis(a, 2, 0), planarconfig="separate", compression="zlib"),
    "as RGB and others": lambda a: tiff(a, "rgb", planarconfig="contig"),
    "in tiles, big-endian": lambda a: tiff(a, planarconfig="contig", tile=(16, 16), byteorder=">"),
    "NumPy": npy,
    "NumPy, columns first": lambda a: npy(np.asfortranarray(a)),
    "in memory": lambda a: a,
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_band_is_read_as_it_is_stored_and_scaled_by_its_own_range(layout, dtype):
    values = some(dtype)
    source = LAYOUTS[layout](values)
    found = decode(source, spec_for(5, value_range=RANGES))
    wanted = values if dtype == np.uint8 else to_8(values, RANGES)
    assert np.array_equal(np.asarray(found), wanted)
    assert read_size(source) == (found.height, found.width) == (H, W)


@pytest.mark.parametrize("channels", [2, 4, 16])
def test_any_number_of_bands_up_to_16_is_read(channels):
    values = some(np.uint8, channels)
    for source in (tiff(values, planarconfig="contig"), npy(values)):
        assert np.array_equal(np.asarray(decode(source, spec_for(channels))), values)


@pytest.mark.parametrize("dtype", [np.uint16, np.float64])  # that Pillow reads, and that it does not
def test_pages_are_bands_for_a_network_that_takes_as_many(dtype):
    values = some(dtype)
    pages = tiff(np.moveaxis(values, 2, 0))
    assert np.array_equal(np.asarray(decode(pages, spec_for(5, value_range=RANGES))), to_8(values, RANGES))
    measured = measure_range([pages], spec_for(5))
    assert np.allclose(measured[0], np.stack([values.min((0, 1)), values.max((0, 1))], 1))
    with pytest.raises(MaxViTError, match=r"has 1 band on each of 5 pages, and the network takes 4: .*in_channels=5$"):
        decode(pages, spec_for(4))


def test_of_a_photograph_the_first_page_is_read_and_that_is_said():
    values = some(np.uint8)
    pages = tiff(np.moveaxis(values, 2, 0))
    assert np.array_equal(np.asarray(decode(pages))[..., 0], values[..., 0])
    said = "the first image is a TIFF of 5 pages: of such files the first page is read; if they are bands, take all "
    assert say_pages(pages) == f"{said}of them with model.in_channels=5"
    assert say_pages(tiff(np.zeros((40, H, W), np.uint8))).endswith(
        "a TIFF of 40 pages: of such files the first page is read"
    )
    assert say_pages(tiff(values[..., 0])) == say_pages(tiff(values, planarconfig="contig")) == ""


def test_pages_of_different_sizes_are_not_bands():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for side in (40, 20):
            writer.write(np.zeros((side, side), np.uint8), photometric="minisblack")
    with pytest.raises(MaxViTError, match="has 1 band, and the network takes 2"):
        decode(buffer.getvalue(), spec_for(2))


def test_four_bands_of_a_png_are_not_taken_for_transparency():
    values, buffer = some(np.uint8, 4), io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    assert np.array_equal(np.asarray(decode(buffer.getvalue(), spec_for(4))), values)


def test_a_tiff_is_turned_as_its_tag_says():
    values = some(np.uint8)
    stored = np.ascontiguousarray(TURNED[6](values))
    source = tiff(stored, planarconfig="contig", extratags=[(274, "H", 1, 6)])
    assert np.array_equal(np.asarray(decode(source, spec_for(5))), values)
    assert read_size(source) == (H, W)


def test_bands_are_resized_cut_and_turned_as_pictures_are():
    values = some(np.uint8, 3)
    picture, bands = Image.fromarray(values), Bands.of(values)
    for change in (
        lambda p: p.resize((17, 11), Image.Resampling.BICUBIC, (2.5, 1.5, 30.0, 29.25)),
        lambda p: p.transpose(Image.Transpose.ROTATE_90),
    ):
        assert np.array_equal(np.asarray(change(picture)), np.asarray(change(bands)))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "bicubic-tf1"])
def test_three_bands_of_five_are_prepared_as_a_photograph_is(interpolation):
    values = some(np.uint8)
    spec = spec_for(5, image_size=(37, 53), interpolation=interpolation)
    photo = Preprocessing(image_size=(37, 53), interpolation=interpolation, mean=(0.5,) * 3, std=(0.5,) * 3)
    bands, photograph = preprocess(spec, npy(values))[:3], preprocess(photo, values[..., :3])
    torch.testing.assert_close(bands, photograph)  # a BLAS adds up in another order for another width


# what is refused


@pytest.mark.parametrize(
    ("source", "channels", "said"),
    [
        (npy(some(np.uint8, 5)), 4, "has 5 bands, and the network takes 4: give it others, or train one for such"),
        (tiff(some(np.uint16, 3), "rgb"), 5, "has 3 bands, and the network takes 5"),
        (npy(some(np.uint8, 1)), 5, "has 1 band, and the network takes 5"),
        (npy(some(np.uint8, 17)), 5, "has 17 bands, and at most 16 are read"),
        (npy(np.where(some(np.float32) > 2000, np.nan, 1)), 5, "is damaged: some pixels are NaN or infinite"),
        (npy(some(np.float32)), 5, "holds values from .* and by its type black is 0 and white 1"),
        (npy(np.array([[None, 1]])), 5, "holds Python objects"),
    ],
)
def test_what_a_network_for_bands_cannot_read_is_refused_in_a_sentence(source, channels, said):
    with pytest.raises(MaxViTError, match=f"^the data {said}"):
        decode(source, spec_for(channels))


def test_pixels_of_many_bands_count_as_several():
    data = npy(some(np.uint8, 9))
    decode(data, spec_for(9, max_pixels=3 * H * W))
    with pytest.raises(MaxViTError, match=f"has {W} x {H} pixels of 9 bands, and at most {3 * H * W - 1} are read"):
        decode(data, spec_for(9, max_pixels=3 * H * W - 1))


def test_without_tifffile_the_package_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(
        MaxViTError,
        match=r"is a TIFF that Pillow does not read.* needs tifffile, which is not installed: pip",
    ):
        decode(tiff(some(np.uint16), planarconfig="contig"), spec_for(5))


def test_without_imagecodecs_the_compression_and_the_package_are_named(monkeypatch):
    monkeypatch.setattr(tiff_files, "_WITHOUT_CODECS", (1,))
    monkeypatch.setattr(tiff_files, "find_spec", lambda name: name != "imagecodecs" or None)
    data = tiff(some(np.uint16), planarconfig="contig", compression="zlib")
    with pytest.raises(
        MaxViTError,
        match=r"is compressed by ADOBE_DEFLATE, and to read it needs imagecodecs, which is not installed: pip install",
    ):
        decode(data, spec_for(5))


# the numbers of a data set


def write(folder, *arrays):
    paths = [folder / f"{i}.npy" for i in range(len(arrays))]
    for path, array in zip(paths, arrays, strict=True):
        np.save(path, array)
    return paths


def test_each_band_gets_its_own_range_without_which_a_dim_one_would_be_a_few_shades(tmp_path):
    """A band of 200 values beside one of 60,000: in a range for both, 200 values become one or two shades."""
    dim = np.arange(300, 500, dtype=np.uint16)[:, None].repeat(40, 1)
    bright = np.linspace(0, 60_000, dim.size).astype(np.uint16).reshape(dim.shape)
    paths = write(tmp_path, np.dstack([bright, dim]), np.dstack([bright // 2, dim + 7]))
    found, said = measure_range(paths, spec_for(2))
    assert found == ((0, 60_000), (300, 506))
    assert "from black to white, 0 to 60000 and 300 to 506; data.value_range" in said
    own, shared = (
        np.asarray(decode(paths[0], spec_for(2, value_range=value_range)))[..., 1]
        for value_range in (found, (0, 60_000))
    )
    assert len(np.unique(own)) == 200
    assert len(np.unique(shared)) <= 2


def test_a_band_of_one_value_is_black(tmp_path):
    values = np.dstack([np.full((5, 7), 9, np.uint16), np.arange(35, dtype=np.uint16).reshape(5, 7)])
    found, _ = measure_range(write(tmp_path, values), spec_for(2))
    assert not np.asarray(decode(tmp_path / "0.npy", spec_for(2, value_range=found)))[..., 0].any()


def test_photographs_may_have_a_range_for_each_colour_too():
    values = some(np.uint16, 3)
    spec = Preprocessing(value_range=RANGES[:3])
    wanted = to_8(values, RANGES[:3])
    for source in (tiff(values, "rgb"), npy(values), values):
        assert np.array_equal(np.asarray(decode(source, spec)), wanted)


def test_the_number_of_bands_is_that_of_the_files_and_the_same_in_all(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"nothing")
    five = [*write(tmp_path, some(np.uint8), some(np.uint8)), tmp_path / "a.npy"]
    names = [path.name for path in five]
    assert count_bands(five, names) == 5
    np.save(five[1], some(np.uint8, 4))
    with pytest.raises(MaxViTError, match=r"^0\.npy has 5 bands, and 1\.npy has 4: images of a data set have as many"):
        count_bands(five, names)


@pytest.mark.parametrize(
    ("source", "bands"),
    [
        (tiff(some(np.uint16, 3), "rgb"), 3),
        (tiff(some(np.uint8, 4), "rgb", extrasamples=["unassalpha"]), 3),
        (tiff(some(np.uint8, 4), "rgb", extrasamples=["unspecified"]), 4),
        (tiff(some(np.uint8, 1)[..., 0]), 3),
        (tiff(np.moveaxis(some(np.uint8, 6), 2, 0), planarconfig="separate", compression="zlib"), 6),
        (np.zeros((8, 8, 4), np.uint8), 3),
    ],
)
def test_photographs_have_three_also_grey_and_transparent_ones(source, bands):
    assert count_bands([source], ["a"]) == bands


def test_numpy_files_are_images_of_a_folder(tmp_path):
    paths = write(tmp_path, some(np.uint8))
    assert find_images(tmp_path).images == paths


# what training makes of them


def test_of_randaugment_only_geometry_is_left():
    """In a picture with one value a band, anything else than moving pixels about makes others."""
    levels = np.array([10, 60, 128, 200, 250], np.uint8)
    picture = Bands.of(np.broadcast_to(levels, (40, 50, 5)))
    change = training_transform((32, 36), "photos", (4, 25), spec=spec_for(5))
    for seed in range(30):
        torch.manual_seed(seed)
        found = change(picture).numpy()
        assert found.shape == (5, 32, 36)
        for band, level in zip(found, levels, strict=True):
            assert np.isin(band, [level, 128]).mean() > 0.6  # what is filled in, and edges that mix both


LABELS = {
    "classification": 1,
    "aesthetics": [0.1] * 10,
    "regression": [0.1, 0.2],
    "detection": Objects(
        "a", (H, W), np.float32([[2, 3, 20, 25]]), np.array([1]), np.array([False]), np.array([396.0]), None
    ),
}


@pytest.mark.parametrize("keep", [0, 1 << 20])
@pytest.mark.parametrize("augmentation", ["photos", "characters", "none"])
def test_a_classifiers_image_is_augmented_from_the_file_as_from_memory(augmentation, keep, tmp_path):
    values = some(np.uint8)
    (path,) = write(tmp_path, values)
    spec, task = spec_for(5, image_size=(32, 36)), make_task({"name": "classification", "augmentation": augmentation})
    found = []
    for source in (path, Kept([path], 0, Memory(1 << 20)), Bands.of(values)):
        torch.manual_seed(3)
        found.append(task.augment(spec, source, 0)[0])
    assert found[0].shape == (5, 32, 36)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


# a masked network paints as many bands as it was made for
@pytest.mark.parametrize("name", [name for name in TASKS if name not in (COUNTING, "masked")])
def test_every_task_learns_from_bands_and_predicts(name, tmp_path):
    network = network_of(name)
    body = network if name == "classification" else network.backbone
    body.set_in_channels(5)
    spec, task = network.preprocessing, make_task(network.metadata()["task"]) if name != "classification" else None
    task = task or make_task({"name": name})
    (path,) = write(tmp_path, some(np.uint8))
    if name == "segmentation":
        np.save(tmp_path / "mask.npy", np.zeros((H, W), np.uint8))
        label = MaskFile(tmp_path / "mask.npy", Key.of([0, 1, 2], zero_is_ignored=False))
    else:
        label = LABELS[name]
    torch.manual_seed(0)
    image, target = task.augment(spec, path, label)
    assert image.shape == (5, *spec.image_size)
    losses = task.losses(network.train(), torch.stack([image, image]), task.collate([target, target]))
    assert losses["loss"].isfinite()
    prepared = task.prepare(spec, path)
    with torch.inference_mode():
        (prediction,) = task.predict(network.eval(), prepared[None], [(H, W)])
    drawn = task.draw_prediction(
        show(decode(path, spec), spec), prediction, task.names(network.class_names, body.config)
    )
    assert drawn.mode == "RGB"


# what people are shown


@pytest.mark.parametrize(
    ("channels", "chosen", "seen", "words"),
    [
        (5, (), (0, 1, 2), "bands 1, 2 and 3 of 5 as red, green and blue"),
        (5, (5, 3, 1), (4, 2, 0), "bands 5, 3 and 1 of 5 as red, green and blue"),
        (5, (4,), (3, 3, 3), "band 4 of 5 as grey"),
        (2, (), (0, 0, 0), "band 1 of 2 as grey"),
    ],
)
def test_the_bands_that_are_chosen_are_shown_and_said(channels, chosen, seen, words):
    values = some(np.uint8, channels)
    spec = spec_for(channels, shown_bands=chosen)
    assert np.array_equal(np.asarray(show(Bands.of(values), spec)), values[..., list(seen)])
    assert np.array_equal(
        denormalise(spec, (torch.from_numpy(values).permute(2, 0, 1)[None] / 255 - 0.5) / 0.5)[0],
        values[..., list(seen)],
    )
    assert say_shown(spec) == words


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"shown_bands": (1, 2)}, "shown_bands is (1, 2); it takes three bands, or one, of 1 to 5"),
        ({"shown_bands": (0, 1, 2)}, "it takes three bands, or one, of 1 to 5"),
        ({"shown_bands": (1, 2, 6)}, "it takes three bands, or one, of 1 to 5"),
        ({"value_range": ((0, 1), (0, 2))}, "value_range has 2 pairs, and there are 5 channels"),
        ({"value_range": ((0, 1), (2, 2))}, "the value of black, then that of white above it"),
        ({"std": (0.5,) * 4}, "need one value per channel, of 1 to 16"),
    ],
)
def test_values_for_other_bands_are_refused(values, said):
    with pytest.raises(MaxViTError) as raised:
        Preprocessing(**{"mean": (0.5,) * 5, "std": (0.5,) * 5, **values})
    assert said in str(raised.value)


def test_preprocessing_of_bands_comes_back_from_plain_values():
    spec = spec_for(5, value_range=RANGES, shown_bands=(3, 2, 1))
    assert Preprocessing.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert Preprocessing.from_dict({"value_range": [0, 4095]}).ranges == ((0, 4095),)
