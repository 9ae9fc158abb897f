"""Held-out images with the bytes of one of training: all are found, and few bytes are read for that."""

import pytest

from maxvit.data import copies
from maxvit.data.copies import Copy, find_copies
from maxvit.data.dataset import LabelledImages, Splits


@pytest.fixture
def part(tmp_path):
    """Images with these contents, by name."""

    def write(**contents):
        paths = [tmp_path / f"{name}.png" for name in contents]
        for path, content in zip(paths, contents.values(), strict=True):
            path.write_bytes(content)
        return LabelledImages(paths, [0] * len(paths), ["ant"], list(contents))

    return write


def test_copies_are_found_in_validation_and_test_with_the_first_image_that_they_repeat(part):
    train = part(a=b"one", b=b"two", c=b"two", d=b"three")
    found = find_copies(Splits(train, part(e=b"two", f=b"four"), part(g=b"six", h=b"three")))
    assert found == [Copy("e", "b"), Copy("h", "d")]


def test_images_that_share_size_and_middle_are_compared_byte_by_byte(part):
    middle = b"m" * 50_000
    data = Splits(part(a=b"a" + middle + b"z"), part(b=b"b" + middle + b"z", c=b"a" + middle + b"z"))
    assert find_copies(data) == [Copy("c", "a")]


def test_of_images_that_differ_in_size_or_middle_none_is_read_to_the_end(part, monkeypatch):
    monkeypatch.setattr(copies, "_digest", None)  # calling it fails
    beginning, end = b"b" * 40_000, b"e" * 40_000
    train = part(a=beginning + b"1" + end, b=b"short")
    assert find_copies(Splits(train, part(c=beginning + b"2" + end, d=b"longer"))) == []


def test_a_file_that_is_gone_is_nobodys_copy(part):
    train, val = part(a=b"one", b=b"two"), part(c=b"two", d=b"one")
    train.sources[1].unlink()
    assert find_copies(Splits(train, val)) == [Copy("d", "a")]


def test_images_that_are_not_files_are_not_looked_at(part):
    in_memory = LabelledImages([b"one"], [0], ["ant"], ["a"])
    assert find_copies(Splits(in_memory, part(b=b"one"))) == []


def test_of_too_many_files_none_is_looked_at(part, monkeypatch):
    data = Splits(part(a=b"one", b=b"two"), part(c=b"two"))
    assert find_copies(data)
    monkeypatch.setattr(copies, "MOST", 2)
    assert find_copies(data) == []
