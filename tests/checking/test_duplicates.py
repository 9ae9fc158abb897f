"""Copies are found with their originals, and what only looks alike is not."""

import numpy as np
import pytest
from blobs import SIZE, encoded, half, mirrored, picture
from PIL import Image, ImageEnhance

from maxvit.checking.duplicates import find_duplicates
from maxvit.checking.fingerprints import fingerprints
from maxvit.checking.looks import look
from maxvit.checking.parts import Images
from maxvit.config import Preprocessing
from maxvit.data.images import decode


class NoFeatures:
    width = 1

    def __call__(self, pixels):
        return np.zeros((len(pixels), 1), np.float16)


def pairs(sources):
    """(later, earlier, kind) of each duplicate among images of any kind."""
    images = Images(sources, [f"{i}" for i in range(len(sources))], ["all"] * len(sources), None, [])
    looks = look(images, NoFeatures(), Preprocessing(), 0, False)

    def same_pixels(a, b):
        return np.array_equal(np.asarray(decode(sources[a])), np.asarray(decode(sources[b])))

    return [(pair.second, pair.first, pair.kind) for pair in find_duplicates(looks, same_pixels)]


DISTINCT = [encoded(picture(seed)) for seed in range(7)]
COPIES = {
    "the same file": (DISTINCT[3], "same file"),
    "another format": (encoded(picture(3), "BMP"), "same pixels"),
    "JPEG": (encoded(picture(3), "JPEG", quality=60), "near copy"),
    "half the size": (encoded(half(picture(3))), "near copy"),
    "mirrored": (encoded(mirrored(picture(3))), "mirrored"),
    "mirrored JPEG": (encoded(mirrored(picture(3)), "JPEG", quality=60), "mirrored"),
}


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_is_found_with_its_original(way):
    copy, kind = COPIES[way]
    assert pairs([*DISTINCT, copy]) == [(7, 3, kind)]


def test_another_image_comes_alone():
    turned = picture(3).rotate(180)
    shifted = picture(3).crop((9, 0, *SIZE)).resize(SIZE)
    red = Image.fromarray(np.asarray(picture(3)) * np.array([1, 0, 0], np.uint8))
    bright = ImageEnhance.Brightness(picture(3)).enhance(0.6)
    assert pairs([*DISTINCT, *map(encoded, (turned, shifted, red, bright))]) == []


def test_of_many_copies_each_is_found_once_with_the_first():
    again = encoded(picture(3), "JPEG", quality=90)
    assert pairs([*DISTINCT, again, DISTINCT[3], again]) == [
        (7, 3, "near copy"),
        (8, 3, "same file"),
        (9, 3, "near copy"),
    ]


@pytest.mark.parametrize("at_once", [7, 100_000])
def test_of_a_film_each_picture_is_found_once_however_many_pairs_are_judged_at_once(monkeypatch, at_once):
    monkeypatch.setattr("maxvit.checking.duplicates._PAIRS", at_once)
    still, random = np.asarray(picture(3)).astype(int), np.random.default_rng(0)
    film = [np.clip(still + random.integers(-2, 3, still.shape), 0, 255).astype(np.uint8) for _ in range(9)]
    assert pairs([*DISTINCT[:2], *film]) == [(i, 2, "near copy") for i in range(3, 11)]


def test_pieces_of_a_sky_are_not_near_copies_and_a_flat_image_is_one_only_of_its_like():
    random = np.random.default_rng(0)
    ramp = np.linspace(150, 170, 48)[:, None, None] * np.ones((48, 40, 3))
    skies = [(ramp + random.normal(0, 1.5, ramp.shape)).round().astype(np.uint8) for _ in range(5)]
    flat = [np.full((48, 40, 3), value, np.uint8) for value in (90, 120, 90)]
    assert pairs([*skies, *flat]) == [(7, 5, "same file")]


def test_flat_images_of_one_size_are_the_same_pixels():
    wide, high = (Image.new("RGB", size, (90, 90, 90)) for size in ((48, 40), (40, 48)))
    assert pairs([encoded(wide), encoded(high), encoded(high, "BMP")]) == [(2, 1, "same pixels")]


def test_what_cannot_be_read_is_a_duplicate_of_nothing():
    assert pairs([b"broken", b"broken", *DISTINCT]) == []


def test_a_fingerprint_holds_the_lowest_frequencies_of_grey():
    dctn = pytest.importorskip("scipy.fft").dctn
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    slow = dctn(pixels @ np.array([0.299, 0.587, 0.114]), axes=(1, 2), norm="ortho")[:, :24, :24]
    np.testing.assert_allclose(fingerprints(pixels).spectra, slow, rtol=1e-4, atol=0.01)


def test_the_fingerprint_of_a_mirror_image_needs_no_image():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    mirror, known = fingerprints(pixels[:, :, ::-1]), fingerprints(pixels).mirrored()
    np.testing.assert_allclose(mirror.spectra, known.spectra, atol=0.01)
    np.testing.assert_array_equal(mirror.colours, known.colours)
