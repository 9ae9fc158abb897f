"""Large-scale jitter: image, boxes and masks go to the same place."""

import numpy as np
import pytest
import torch
from PIL import Image

from maxvit.config import Preprocessing
from maxvit.data.transforms import denormalise
from maxvit.tasks.detection.augment import jitter

SPEC = Preprocessing(image_size=(96, 160), fit="squash")
COLOURS = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]


def sample(size, boxes):
    """A grey image with a rectangle of another colour for each box, and the truth of it."""
    pixels, masks = np.full((*size, 3), 125, np.uint8), np.zeros((len(boxes), *size), np.uint8)
    for mask, colour, (left, top, right, bottom) in zip(masks, COLOURS, boxes, strict=False):
        pixels[top:bottom, left:right] = colour
        mask[top:bottom, left:right] = 1
    truth = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.arange(1, len(boxes) + 1),
        "masks": torch.from_numpy(masks),
    }
    return Image.fromarray(pixels), truth


def shown(image, label):
    """Where the colour of a label is in a normalised image."""
    pixels = denormalise(SPEC, image[None])[0].int()
    others = [c for c in range(3) if c != label - 1]
    return (pixels[..., label - 1] > 185) & (pixels[..., others] < 65).all(-1)


def bounds(mask):
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    return torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=torch.float32)


@pytest.mark.parametrize("scale", [(0.3, 0.9), (0.1, 2.5), (1.5, 2.5)])
@pytest.mark.parametrize("size", [(211, 157), (67, 311), (48, 40)])
def test_boxes_and_masks_stay_on_what_they_name(size, scale):
    height, width = size
    boxes = [
        (2, 3, width // 2, height // 3),
        (width // 2 + 2, height // 3, width - 2, height // 2),
        (5, height // 2 + 3, width // 3, height - 1),
    ]
    image, truth = sample(size, boxes)
    seen = 0
    for seed in range(30):
        torch.manual_seed(seed)
        result, left_over = jitter(SPEC, image, truth, scale, flip=True)
        assert result.shape == (3, 96, 160)
        assert left_over["masks"].shape == (len(left_over["boxes"]), 96, 160)
        for box, label, mask in zip(*(left_over[name] for name in ("boxes", "labels", "masks")), strict=True):
            pixels = shown(result, int(label))
            if pixels.sum() < 60 or (box[2:] - box[:2]).min() < 7:
                continue  # too small to see
            seen += 1
            # a colour fades over the width of the filter at its edge, at most the 2.5 to 7 pixels of an enlarged one
            slack = 2 + 1.2 * max(1.0, float(min(96 / height, 160 / width)) * scale[1])
            assert (bounds(pixels) - box).abs().max() <= slack
            agreement = (pixels & mask.bool()).sum() / (pixels | mask.bool()).sum()
            assert agreement > 0.6
            assert (bounds(mask.bool()) - box).abs().max() <= slack
    assert seen > 15


def test_what_is_cut_away_is_forgotten_and_what_is_left_ends_at_the_border():
    image, truth = sample((90, 150), [(0, 0, 150, 90), (0, 0, 4, 4), (146, 86, 150, 90)])
    numbers = set()
    for seed in range(20):
        torch.manual_seed(seed)
        _, left_over = jitter(SPEC, image, truth, (2.5, 2.5), flip=False)
        assert left_over["boxes"][0].tolist() == [0, 0, 160, 96]
        assert (left_over["boxes"][:, 2:] - left_over["boxes"][:, :2] >= 1).all()
        numbers.add(len(left_over["labels"]))
    assert min(numbers) == 1


def test_no_box_reaches_into_the_padding():
    image, truth = sample((100, 100), [(0, 0, 100, 100)])
    for seed in range(20):
        torch.manual_seed(seed)
        result, left_over = jitter(SPEC, image, truth, (0.5, 1.8), flip=True)
        padding = (result.abs() < 0.02).all(0)  # the mean colour, which the red of the image is far from
        left, top, right, bottom = left_over["boxes"][0].round().int().tolist()
        inside = torch.zeros(96, 160, dtype=torch.bool)
        inside[top:bottom, left:right] = True
        assert torch.equal(~padding, inside)
        assert torch.equal(left_over["masks"][0].bool(), inside)


@pytest.mark.parametrize(("flip", "share"), [(True, 0.5), (False, 0.0)])
def test_half_of_the_images_are_mirrored_where_that_is_allowed(flip, share):
    image, truth = sample((96, 160), [(0, 0, 40, 96)])
    torch.manual_seed(0)
    mirrored = [jitter(SPEC, image, truth, (1, 1), flip)[1]["boxes"][0, 0] == 120 for _ in range(60)]
    assert abs(sum(map(int, mirrored)) / 60 - share) < 0.15


def test_the_size_of_objects_is_drawn_evenly_between_the_scales():
    image, truth = sample((96, 160), [(0, 0, 160, 96)])
    torch.manual_seed(0)
    boxes = torch.stack([jitter(SPEC, image, truth, (0.25, 0.75), False)[1]["boxes"][0] for _ in range(150)])
    scales = (boxes[:, 2] - boxes[:, 0]) / 160
    assert scales.min() < 0.27
    assert scales.max() > 0.73
    assert abs(scales.mean() - 0.5) < 0.05
    assert boxes[:, 0].min() < 10  # anywhere in the frame
    assert boxes[:, 2].max() > 150


def test_the_same_draw_gives_the_same_and_another_another():
    image, truth = sample((61, 83), [(3, 5, 40, 50)])
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(jitter(SPEC, image, truth, (0.1, 2.5), flip=True)[0])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("size", [(1, 700), (900, 2), (1, 1)])
def test_a_line_of_pixels_is_an_image(size):
    image, truth = sample(size, [(0, 0, size[1], size[0])])
    for seed in range(10):
        torch.manual_seed(seed)
        result, _ = jitter(SPEC, image, truth, (0.1, 2.5), flip=True)
        assert result.isfinite().all()


def test_no_objects_and_no_masks_are_allowed():
    image, truth = sample((61, 83), [])
    left_over = jitter(SPEC, image, truth, (0.5, 0.5), flip=False)[1]
    assert left_over["masks"].shape == (0, 96, 160)
    assert left_over["boxes"].shape == (0, 4)
    del truth["masks"]
    assert "masks" not in jitter(SPEC, image, truth, (0.5, 0.5), flip=False)[1]


def test_grey_networks_get_grey_images():
    spec = Preprocessing(image_size=(64, 96), fit="squash", mean=(0.4,), std=(0.2,))
    image, truth = sample((61, 83), [(3, 5, 40, 50)])
    result, _ = jitter(spec, image, truth, (0.3, 0.3), flip=False)
    assert result.shape == (1, 64, 96)
    assert result[0, 0, 0].abs() < 0.01 or result[0, -1, -1].abs() < 0.01  # the padding
