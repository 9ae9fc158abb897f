"""A crop is found among the neighbours of an image, and its spectrum follows from that of the whole."""

import numpy as np
import pytest
from blobs import picture
from PIL import Image

from maxvit.checking.crops import find_crops
from maxvit.checking.fingerprints import SIDE, fingerprints

WIDTH, HEIGHT = 200, 160


def large(seed):
    return picture(seed).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)


def found(*images):
    """(crop, whole) among images that are all compared with one another."""
    squeezed = [np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for image in images]
    others = np.array([[j for j in range(len(images)) if j != i] for i in range(len(images))])
    prints = fingerprints(np.array(squeezed))
    return {(crop, whole) for crop, whole, _ in find_crops(prints, np.full(len(images), HEIGHT), others)}


@pytest.mark.parametrize("box", [(9, 0, WIDTH, HEIGHT), (0, 3, WIDTH - 15, HEIGHT - 10), (7, 8, WIDTH - 8, HEIGHT)])
def test_a_crop_is_found_with_its_whole(box):
    assert found(large(0), large(1), large(0).crop(box)) == {(2, 0)}


@pytest.mark.parametrize("box", [(40, 0, WIDTH, HEIGHT), (15, 0, WIDTH - 15, HEIGHT)])
def test_what_lacks_more_than_a_tenth_of_a_side_is_another_image(box):
    assert found(large(0), large(1), large(0).crop(box)) == set()


def test_a_crop_in_other_colours_is_another_image():
    red = Image.fromarray((np.asarray(large(0)) * np.array([1, 0.4, 0.4])).astype(np.uint8))
    crop = red.crop((9, 0, WIDTH, HEIGHT))
    assert found(red, crop) == {(1, 0)}
    assert found(red, crop.convert("L").convert("RGB")) == set()


def test_images_that_are_alike_only_when_they_are_moved_too_far_are_not_crops():
    wide = picture(0).resize((260, HEIGHT), Image.Resampling.BICUBIC)
    assert found(wide.crop((0, 0, WIDTH, HEIGHT)), wide.crop((60, 0, 260, HEIGHT))) == set()
