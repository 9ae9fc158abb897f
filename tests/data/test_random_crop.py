"""A random piece of a JPEG that is decoded small is the piece of the whole picture; all else is as it was."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2.functional import pil_to_tensor

from maxvit.data import random_crop
from maxvit.data.images import decode
from maxvit.data.random_crop import RandomPiece, shrink_factor
from maxvit.errors import MaxViTError

SIZE, AREA, ASPECT = (37, 53), (0.08, 1.0), (0.9, 1.9)
ORIENTATION = 0x0112  # the EXIF tag


def picture(width=613, height=411):
    """Smooth waves, other ones in each channel; no piece of it looks like another."""
    down, across = np.mgrid[:height, :width] / 100
    waves = [np.sin(across + down), np.cos(down * 1.5 - across), np.sin(across * down / 4 + 1)]
    return Image.fromarray(np.rint(127.5 + 120 * np.stack(waves, -1)).astype(np.uint8))


def encoded(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pieces(source, seeds=range(40)):
    piece = RandomPiece(SIZE, AREA, ASPECT)
    for seed in seeds:
        torch.manual_seed(seed)
        yield piece(source).permute(1, 2, 0).numpy().astype(np.int64)


def whole_pieces(image, seeds=range(40)):
    """The same crops of the picture decoded whole, by torchvision: of a PIL image in Pillow, of a tensor in PyTorch."""
    crop = v2.RandomResizedCrop(SIZE, AREA, ASPECT, InterpolationMode.BICUBIC, antialias=True)
    for seed in seeds:
        torch.manual_seed(seed)
        found = crop(image)
        yield np.asarray(found if isinstance(found, Image.Image) else found.permute(1, 2, 0), np.int64)


@pytest.fixture
def factors(monkeypatch):
    """What images are shrunk by, in turn."""
    seen = []
    plain = random_crop.shrink

    def spy(image, factor):
        seen.append(plain(image, factor))
        return seen[-1]

    monkeypatch.setattr(random_crop, "shrink", spy)
    return seen


def assert_near(source, image, mean=1.0):
    for small, whole in zip(pieces(source), whole_pieces(image), strict=True):
        assert small.shape == whole.shape == (*SIZE, 3)
        assert np.abs(small - whole).mean() < mean


def assert_exact(source):
    """As PyTorch resizes the crop of the whole picture, which is how Pillow does, within two levels of 255."""
    image = decode(source)
    for ours, theirs, pil in zip(pieces(source), whole_pieces(pil_to_tensor(image)), whole_pieces(image), strict=True):
        assert np.array_equal(ours, theirs)
        assert np.abs(ours - pil).max() <= 2


def test_a_jpeg_shows_the_same_crop_as_decoded_whole_and_large_crops_are_decoded_small(factors):
    data = encoded(picture(), quality=95)
    assert_near(data, decode(data))
    assert set(factors) == {2, 4, 8}


def test_another_crop_would_not_pass_as_the_same():
    data = encoded(picture(), quality=95)
    for small, whole in zip(pieces(data, range(40)), whole_pieces(decode(data), range(1, 41)), strict=True):
        assert np.abs(small - whole).mean() > 10


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_that_its_exif_tag_turns_is_cropped_as_a_person_sees_it(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(picture(), quality=95, exif=exif)
    assert_near(data, decode(data))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_jpegs_have_their_colours(mode):
    data = encoded(picture().convert(mode), quality=95)
    assert_near(data, decode(data))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_file_is_decoded_small_too(tmp_path, progressive):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(picture(), quality=95, progressive=progressive))
    assert_near(path, decode(path))


def test_what_is_no_jpeg_gives_exactly_the_pixels_of_the_whole():
    image = picture()
    palette = encoded(image.quantize(64), "PNG")
    for source in (image, np.asarray(image), encoded(image, "PNG"), palette, encoded(image, "BMP")):
        assert_exact(source)


def test_a_jpeg_whose_crops_are_small_gives_exactly_the_pixels_of_the_whole():
    data = encoded(picture(71, 67))
    assert_exact(data)


def test_an_image_that_is_open_already_is_not_made_smaller_for_its_owner():
    with Image.open(io.BytesIO(encoded(picture()))) as image:
        for _ in pieces(image):
            assert image.size == (613, 411)


def test_the_same_seed_gives_the_same_piece():
    data = encoded(picture())
    for first, second in zip(pieces(data), pieces(data), strict=True):
        assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("box", "factor"),
    [
        ((0, 0, 37, 53), 1),
        ((3, 5, 74, 106), 2),
        ((3, 5, 74, 105), 1),
        ((3, 5, 73, 999), 1),
        ((0, 0, 999, 423), 4),
        ((0, 0, 296, 424), 8),
        ((0, 0, 9999, 9999), 8),
        ((0, 0, 5, 5), 1),
    ],
)
def test_a_piece_keeps_as_many_pixels_as_are_wanted(box, factor):
    assert shrink_factor(box, SIZE) == factor


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("size", [(613, 411), (2001, 1501), (17, 9)])
def test_pillow_decodes_at_the_size_that_is_meant(factor, size):
    with Image.open(io.BytesIO(encoded(picture(*size)))) as image:
        random_crop.shrink(image, factor)
        image.load()
        assert image.size == (-(-size[0] // factor), -(-size[1] // factor))


def test_a_damaged_jpeg_is_refused_in_a_sentence():
    data = encoded(picture())
    with pytest.raises(MaxViTError, match="the data is damaged"):
        RandomPiece(SIZE, AREA, ASPECT)(data[: len(data) // 2])
