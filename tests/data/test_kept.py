"""What is kept is made once, within a bound, and is what would be made anew."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from maxvit.data.images import decode
from maxvit.data.kept import Kept, Memory, once
from maxvit.data.random_crop import RandomPiece
from maxvit.errors import MaxViTError
from maxvit.tasks.classification.augment import training_transform

ORIENTATION = 0x0112  # the EXIF tag


def photo(kind="JPEG", size=(307, 205), **options):
    """The bytes of a file, with a profile that nobody needs."""
    pixels = np.random.default_rng(0).integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    profile = {} if kind == "BMP" else {"icc_profile": b"profile" * 1000}
    Image.fromarray(pixels).resize(size).save(buffer, kind, **profile, **options)
    return buffer.getvalue()


def turned():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return photo(exif=exif)


class Counted:
    """Sources that count how often they are read."""

    def __init__(self, *sources):
        self.sources, self.read = sources, 0

    def __getitem__(self, index):
        self.read += 1
        return self.sources[index]


def test_a_step_is_made_once_for_each_image():
    sources, memory = Counted("ant", "bee"), Memory(10_000)
    found = [once(Kept(sources, index, memory), "step", str.upper) for index in (0, 1, 0, 1)]
    assert found == ["ANT", "BEE"] * 2
    assert sources.read == 2


def test_steps_of_one_image_are_not_taken_for_one_another():
    kept = Kept([b"a"], 0, Memory(10_000))
    assert [once(kept, step, lambda _, s=step: [s]) for step in (1, 2, 1)] == [[1], [2], [1]]


def test_what_is_not_kept_is_made_each_time():
    made = []
    for _ in range(2):
        once("ant", "step", made.append)
    assert made == ["ant", "ant"]


@pytest.mark.parametrize(
    ("item", "size"),
    [
        (torch.zeros(7, 1000), 28_000),
        (Image.new("RGB", (70, 100)), 28_000),
        (Image.new("L", (70, 400)), 28_000),
        ((torch.zeros(500), {"masks": [torch.zeros(12, 500), bytes(2000)]}), 28_000),
    ],
)
def test_no_more_is_kept_than_there_is_room_for(item, size):
    memory = Memory(3 * size - 1)
    for key in range(5):
        memory.keep(key, item)
    assert [memory.get(key) is item for key in range(5)] == [True, True, False, False, False]
    assert 2 * size < memory.used <= memory.limit


def test_an_image_that_cannot_be_read_is_an_error_each_time():
    kept = Kept([photo()[:9000]], 0, Memory(10**7))
    for _ in range(2):
        with pytest.raises(MaxViTError, match="is damaged"):
            decode(kept)
    assert kept.memory.used == 0


def test_of_an_image_that_is_kept_only_the_pixels_are():
    kept = Kept([photo()], 0, Memory(10**7))
    assert np.array_equal(np.asarray(decode(kept)), np.asarray(decode(photo())))
    assert decode(kept) is decode(kept)
    assert decode(kept).info == {}


@pytest.mark.parametrize("limit", [10**8, 300_000])
@pytest.mark.parametrize("source", [photo(), turned(), photo("PNG"), np.zeros((71, 67, 3), np.uint8)])
@pytest.mark.parametrize("augmentation", ["photos", "characters", "none"])
def test_training_makes_the_same_of_an_image_whether_it_is_kept_or_not(augmentation, source, limit):
    transform = training_transform((37, 53), augmentation, (0, 0))
    kept = Kept([source], 0, Memory(limit))
    for seed in range(5):
        torch.manual_seed(seed)
        wanted = transform(source)
        torch.manual_seed(seed)
        assert torch.equal(transform(kept), wanted)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_file_is_read_once_for_each_size_that_it_is_decoded_at(kind):
    sources = Counted(photo(kind))
    piece, kept = RandomPiece((37, 53), (0.02, 1.0), (0.9, 1.9)), Kept(sources, 0, Memory(10**8))
    for _ in range(40):
        piece(kept)
    assert sources.read == (3 if kind == "JPEG" else 1)  # whole, and at 1/2 and 1/4


def test_a_picture_in_memory_stays_as_it_is():
    with Image.open(io.BytesIO(photo())) as image:
        piece, kept = RandomPiece((37, 53), (0.08, 1.0), (0.9, 1.9)), Kept([image], 0, Memory(10**8))
        for _ in range(3):
            piece(kept)
            assert image.size == (307, 205)
