"""From an image to the tensor that the network sees, against hand-computed values and the official preprocessing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maxvit.config import Preprocessing, official_preprocessing
from maxvit.data.images import decode
from maxvit.data.transforms import centre_crop, denormalise, normalise, preprocess, resize_tf1
from maxvit.errors import MaxViTError

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "preprocess_eval.npz")
INTERPOLATIONS = ["bicubic", "bilinear", "bicubic-tf1"]


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def coordinates(height, width):
    """An image whose red is its row and whose green is its column."""
    rows, columns = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([rows, columns, 0 * rows], -1).astype(np.uint8))


def box(image):
    """Rows and columns, first and one past the last, that a crop of `coordinates` shows."""
    array = np.asarray(image)
    return array[0, 0, 0], array[-1, 0, 0] + 1, array[0, 0, 1], array[0, -1, 1] + 1


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_uniform_image_becomes_its_normalised_colour(interpolation):
    spec = Preprocessing(image_size=(37, 53), interpolation=interpolation)
    tensor = preprocess(spec, Image.new("RGB", (71, 67), (51, 102, 255)))
    assert (tensor.shape, tensor.dtype) == ((3, 37, 53), torch.float32)
    # (51 / 255 - 0.485) / 0.229 and so on, by hand
    wanted = torch.tensor([-1.2445415, -0.25, 2.64])[:, None, None].expand(3, 37, 53)
    torch.testing.assert_close(tensor, wanted)


def test_a_grey_spec_takes_the_mean_of_the_channels():
    spec = Preprocessing(image_size=(37, 53), mean=(0.5,), std=(0.25,))
    tensor = preprocess(spec, Image.new("RGB", (71, 67), (51, 102, 255)))
    torch.testing.assert_close(tensor, torch.full((1, 37, 53), (136 / 255 - 0.5) / 0.25))


def test_normalise_moves_channels_first_and_leaves_the_pixels_alone():
    pixels = noise(37, 41, 3)
    before = pixels.copy()
    tensor = normalise(Preprocessing(mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255)), pixels)
    tensor += 1
    assert np.array_equal(pixels, before)
    assert tensor.is_contiguous()
    np.testing.assert_allclose(tensor.numpy() - 1, pixels.transpose(2, 0, 1), atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_denormalise_gives_the_pixels_back(channels):
    spec = Preprocessing(mean=(0.3, 0.4, 0.5)[:channels], std=(0.1, 0.7, 0.2)[:channels])
    pixels = noise(2, 5, 7, 3)
    if channels == 1:
        pixels[:] = pixels[..., :1]
    images = torch.stack([normalise(spec, p) for p in pixels])
    assert np.array_equal(denormalise(spec, images).numpy(), pixels)
    assert denormalise(spec, images + 100).min() == 255  # overshoot is cut


def test_an_image_of_the_target_size_is_kept_pixel_by_pixel():
    array = noise(37, 53, 3)
    for interpolation in INTERPOLATIONS:
        spec = Preprocessing(image_size=(37, 53), crop_pct=1.0, interpolation=interpolation)
        torch.testing.assert_close(preprocess(spec, array), normalise(spec, array), atol=1e-5, rtol=0)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_height_and_width_are_resized_each_by_its_own_factor(interpolation):
    """A slope from 0 to 255 stays a slope, down and across."""
    spec = Preprocessing(image_size=(47, 97), crop_pct=1.0, interpolation=interpolation)
    spec = Preprocessing(**{**spec.to_dict(), "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)})
    rows, columns = np.mgrid[:94, :194]
    array = np.stack([rows * 2, columns, 0 * rows], -1).astype(np.uint8)
    tensor = 255 * preprocess(spec, array)[:, 4:-4, 4:-4]  # away from the borders
    at = 0.0 if interpolation == "bicubic-tf1" else 0.5  # TensorFlow 1 anchors corners, Pillow centres
    rows, columns = torch.meshgrid(torch.arange(47.0), torch.arange(97.0), indexing="ij")
    torch.testing.assert_close(tensor[0], (2 * (2 * rows + at))[4:-4, 4:-4], atol=1.01, rtol=0)  # Pillow rounds
    torch.testing.assert_close(tensor[1], (2 * columns + at)[4:-4, 4:-4], atol=0.51, rtol=0)


def grey_levels(interpolation, array, size):
    spec = Preprocessing(image_size=size, crop_pct=1.0, interpolation=interpolation, mean=(0.0,), std=(1 / 255,))
    return preprocess(spec, array)[0]


@pytest.mark.parametrize(("interpolation", "seen"), [("bicubic", 100), ("bilinear", 100), ("bicubic-tf1", 0)])
def test_shrinking_averages_stripes_except_by_tensorflow_s_rules(interpolation, seen):
    stripes = np.tile(np.array([0, 200], np.uint8), (74, 53))
    found = grey_levels(interpolation, stripes, (37, 53))[:, 2:-2]
    torch.testing.assert_close(found, torch.full_like(found, seen), atol=1.5, rtol=0)  # Pillow rounds


@pytest.mark.parametrize(("interpolation", "overshoots"), [("bicubic", True), ("bilinear", False)])
def test_enlarging_an_edge_overshoots_by_cubics_alone(interpolation, overshoots):
    edge = np.repeat(np.array([[100] * 17 + [200] * 17], np.uint8), 37, 0)
    found = grey_levels(interpolation, edge, (37, 101))
    assert bool(found.min() < 99 and found.max() > 201) is overshoots
    assert len(found.unique()) > 3  # and it is not the nearest neighbour


@pytest.mark.parametrize(
    ("image", "target", "fraction", "wanted"),
    [  # (height, width); the box is by hand: top, bottom, left, right
        ((100, 200), (50, 50), 1.0, (0, 100, 50, 150)),
        ((200, 100), (50, 50), 1.0, (50, 150, 0, 100)),
        ((100, 200), (50, 50), 0.5, (25, 75, 75, 125)),
        ((100, 200), (40, 120), 1.0, (17, 83, 0, 200)),  # 200 * 40 / 120 = 66.7 rows, rounded down; 34 left over
        ((101, 201), (50, 50), 0.5, (26, 76, 76, 126)),  # 50 of 101: the odd pixel goes above and to the left
    ],
)
def test_the_crop_is_centred_and_has_the_aspect_of_the_target(image, target, fraction, wanted):
    assert box(centre_crop(coordinates(*image), target, fraction)) == wanted


def test_the_crop_of_a_sliver_is_at_least_one_pixel():
    assert centre_crop(Image.new("RGB", (1, 251)), (224, 224), 0.5).size == (1, 1)


def test_resize_tf1_is_the_official_one():
    """The reference promises 5e-5 grey levels; overshoot below 0 and above 255 is part of it."""
    found = resize_tf1(GOLDEN["cropped"], (224, 224))
    np.testing.assert_allclose(found, GOLDEN["eval_224"], atol=1e-4, rtol=0)
    assert found.min() < 0
    assert found.max() > 255


def slow_resize(pixels, size):
    """TensorFlow 1's bicubic, one output at a time, in double precision."""

    def keys(x):
        x = abs(x)
        if x <= 1:
            return 1.25 * x**3 - 2.25 * x**2 + 1
        return -0.75 * x**3 + 3.75 * x**2 - 6 * x + 3 if x < 2 else 0.0

    height, width, channels = pixels.shape
    out = np.zeros((*size, channels))
    for i, j in np.ndindex(*size):
        y, x = i * height / size[0], j * width / size[1]
        fy, fx = round((y - int(y)) * 1024) / 1024, round((x - int(x)) * 1024) / 1024
        for dy in (-1, 0, 1, 2):
            for dx in (-1, 0, 1, 2):
                row, column = min(max(int(y) + dy, 0), height - 1), min(max(int(x) + dx, 0), width - 1)
                out[i, j] += keys(fy - dy) * keys(fx - dx) * pixels[row, column]
    return out


@pytest.mark.parametrize(("source", "target"), [((17, 29), (41, 11)), ((5, 3), (7, 13)), ((1, 1), (3, 2))])
def test_resize_tf1_follows_the_definition_up_and_down(source, target):
    pixels = noise(*source, 3)
    np.testing.assert_allclose(resize_tf1(pixels, target), slow_resize(pixels, target), atol=1e-3, rtol=0)


def test_the_official_jpeg_is_cropped_where_the_official_one_is():
    """Decoders differ by a few grey levels (the reference: 1.0 on average); one pixel aside would be 5 on average."""
    spec = official_preprocessing((224, 224))
    cropped = centre_crop(decode(GOLDEN["jpeg"].tobytes()), spec.image_size, spec.crop_pct)
    assert cropped.size == (328, 328)
    apart = np.abs(np.asarray(cropped, np.int64) - GOLDEN["cropped"])
    assert apart.max() <= 8
    assert apart.mean() < 1.1


def test_preprocess_is_the_official_evaluation_up_to_the_jpeg_decoder():
    """The reference: 4.9 grey levels at most, 1.0 on average; with Pillow's own bicubic 14 and 2.0."""
    spec = official_preprocessing((224, 224))
    official = normalise(spec, GOLDEN["eval_224"])
    found = preprocess(spec, GOLDEN["jpeg"].tobytes())
    apart = 255 * (found - official).abs() * torch.tensor(spec.std)[:, None, None]
    assert apart.max() < 5.5
    assert apart.mean() < 1.1


def test_what_is_no_image_is_refused():
    with pytest.raises(MaxViTError, match="not an image"):
        preprocess(Preprocessing(), b"no image")
