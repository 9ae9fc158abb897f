"""What training does to an image: another one each time, the same for the same seed, and never a mirrored character."""

import numpy as np
import pytest
import torch
from PIL import Image

from maxvit.tasks.classification.augment import training_transform

SIZE = (37, 53)
CHANGING = ["characters", "photos"]


@pytest.fixture
def photo():
    """Bright on the left half, dark on the right, with a texture."""
    array = np.random.default_rng(0).integers(0, 56, (71, 67, 3), dtype=np.uint8)
    array[:, :33] += 200
    return Image.fromarray(array)


def draws(augmentation, image, seeds):
    transform = training_transform(SIZE, augmentation)
    for seed in seeds:
        torch.manual_seed(seed)
        yield transform(image).permute(1, 2, 0).numpy().astype(np.int64)


@pytest.mark.parametrize("augmentation", ["none", *CHANGING])
@pytest.mark.parametrize("size", [(71, 67), (8, 8), (1, 311)])
def test_the_result_is_an_rgb_image_of_the_size_asked_for(augmentation, size):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    transform = training_transform(SIZE, augmentation)
    for _ in range(7):
        result = transform(image)
        assert (result.dtype, result.shape) == (torch.uint8, (3, 37, 53))


@pytest.mark.parametrize("augmentation", CHANGING)
def test_the_same_seed_gives_the_same_image(augmentation, photo):
    for first, second in zip(*(draws(augmentation, photo, range(11)) for _ in range(2)), strict=True):
        assert np.array_equal(first, second)


@pytest.mark.parametrize("augmentation", CHANGING)
def test_every_draw_is_another_image(augmentation, photo):
    assert len({result.tobytes() for result in draws(augmentation, photo, range(11))}) == 11


def test_none_is_the_resized_image_whatever_the_seed(photo):
    wanted = np.asarray(photo.resize((53, 37), Image.Resampling.BICUBIC), np.int64)
    for result in draws("none", photo, range(3)):
        assert np.array_equal(result, wanted)


def test_characters_are_never_mirrored(photo):
    for result in draws("characters", photo, range(101)):
        assert result[10:27, 8:20].mean() > result[10:27, 33:45].mean() + 50


def test_characters_are_moved_a_little_only(photo):
    """A dot in the centre stays within shift (a tenth), stretch, turn and shear of it."""
    array = np.zeros((37, 53, 3), np.uint8)
    array[17:20, 25:28] = 255
    for result in draws("characters", Image.fromarray(array), range(101)):
        rows, columns, _ = np.nonzero(result)
        assert len(rows)
        assert abs(rows.mean() - 18) <= 4.7  # 3.7 pixels, and its own rounding
        assert abs(columns.mean() - 26) <= 6.3


@pytest.mark.parametrize("least", [0.08, 0.6])
def test_a_crop_shows_at_least_the_share_that_is_asked_for(least):
    """The columns of a picture are numbered, so that the first and the last of a crop say how many it has."""
    numbered = Image.fromarray(np.tile(np.arange(200, dtype=np.uint8), (200, 1)))
    transform = training_transform((64, 64), "photos", (0, 0), crop_area=(least, 1.0))
    widths = []
    for seed in range(101):
        torch.manual_seed(seed)
        widths.append(float(np.ptp(transform(numbered)[0].numpy().astype(int))) / 200)
    assert min(widths) >= 0.95 * (least * 3 / 4) ** 0.5 - 0.02
    assert (min(widths) < 0.5) == (least < 0.5)


def test_photos_are_mirrored_half_of_the_time(photo, monkeypatch):
    """Crop and flip alone, without the colours of RandAugment, which may turn bright into dark."""
    from torchvision.transforms import v2

    monkeypatch.setattr(v2.RandAugment, "forward", lambda self, image: image)
    columns = np.linspace(0, 255, 67).astype(np.uint8)  # brighter to the right, in any crop
    slope = Image.fromarray(np.repeat(np.tile(columns, (71, 1))[..., None], 3, -1))
    mirrored = sum(result[:, 0].mean() > result[:, -1].mean() for result in draws("photos", slope, range(400)))
    assert 150 <= mirrored <= 250  # five deviations of a fair coin


def test_photos_are_cropped_to_pieces_of_many_sizes(photo, monkeypatch):
    """Areas from 0.08 to 1: the share of the slope that a crop shows."""
    from torchvision.transforms import v2

    monkeypatch.setattr(v2.RandAugment, "forward", lambda self, image: image)
    columns = np.linspace(0, 255, 67).astype(np.uint8)
    slope = Image.fromarray(np.repeat(np.tile(columns, (67, 1))[..., None], 3, -1))
    spans = [np.ptp(result[:, :, 0]) / 255 for result in draws("photos", slope, range(400))]
    assert 0.2 < min(spans) < 0.4  # the smallest width: sqrt(0.08 * 3 / 4) = 0.245
    assert max(spans) > 0.95


@pytest.mark.parametrize(("area", "least"), [((0.9, 1.0), 0.85), ((0.05, 0.1), 0.0)])
def test_a_crop_shows_the_share_that_is_asked_for(area, least):
    """The picture is a ramp from 0 to 250: what a crop spans of it is its width."""
    ramp = Image.fromarray(np.repeat(np.arange(0, 251, dtype=np.uint8)[None, :, None], 251, 0).repeat(3, 2))
    transform = training_transform((64, 64), "photos", (0, 0), area)
    spans = []
    for seed in range(11):
        torch.manual_seed(seed)
        result = transform(ramp).float()
        spans.append(float(result.max() - result.min()) / 250)
    assert min(spans) >= least
    assert max(spans) <= (area[1] * 4 / 3) ** 0.5 + 0.03
