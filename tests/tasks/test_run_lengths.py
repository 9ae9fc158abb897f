"""Masks as run lengths: the same pixels, and no reading beyond their end."""

import numpy as np
import pytest

from maxvit.errors import MaxViTError
from maxvit.tasks.detection.masks import decode, encode, read_segmentation


def runs(mask):
    """By the definition: columns one after another, zeros first."""
    lengths, value = [0], 0
    for pixel in mask.T.reshape(-1).tolist():
        if pixel != value:
            lengths.append(0)
            value = pixel
        lengths[-1] += 1
    return lengths


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (37, 61), (1, 97), (211, 83)])
def test_numbers_and_text_say_the_same_as_the_pixels(size, share):
    mask = (np.random.default_rng(0).random(size) < share).astype(np.uint8)
    mask[0, 0], mask[-1, -1] = len(mask) % 2, 1  # some pixel, and the first run is empty or not
    text = encode(mask)
    assert np.array_equal(decode([text], size)[0], mask)
    assert read_segmentation({"size": list(size), "counts": runs(mask)}, size) == text
    assert read_segmentation({"size": list(size), "counts": text.decode()}, size) == text


def test_masks_are_stacked_in_order():
    masks = np.zeros((3, 7, 11), np.uint8)
    masks[0, 2, 5], masks[1, :, 3], masks[2, 6, :] = 1, 1, 1
    assert np.array_equal(decode([encode(mask) for mask in masks], (7, 11)), masks)
    assert decode([], (7, 11)).shape == (0, 7, 11)


def test_polygons_of_one_object_are_one_mask():
    found = read_segmentation([[1, 1, 4, 1, 4, 3, 1, 3], [6, 2, 9, 2, 9, 6, 6, 6], [0, 0, 1, 1]], (7, 11))
    wanted = np.zeros((7, 11), np.uint8)
    wanted[1:3, 1:4], wanted[2:6, 6:9] = 1, 1
    assert np.array_equal(decode([found], (7, 11))[0], wanted)


def test_an_empty_mask_is_none():
    assert read_segmentation({"size": [5, 7], "counts": [35]}, (5, 7)) is None
    assert read_segmentation([[90, 90, 95, 90, 95, 95]], (5, 7)) is None


@pytest.mark.parametrize(
    "counts", [[3, 4], [3, 4, 29], [40, -5], [3.0, 32], "0", "zz0", "01", "5P", "é", "", "o", None, {}, ["3", 32]]
)
def test_run_lengths_that_do_not_make_a_mask_are_refused(counts):
    with pytest.raises(MaxViTError, match="do not make a mask of 5 x 7 pixels"):
        read_segmentation({"size": [5, 7], "counts": counts}, (5, 7))


def test_run_lengths_of_another_size_are_refused():
    with pytest.raises(MaxViTError, match=r"of size \[7, 5\], and its image has \(height, width\) \[5, 7\]"):
        read_segmentation({"size": [7, 5], "counts": [3, 32]}, (5, 7))
