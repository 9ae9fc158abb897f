"""A record of the images of a run tells what has changed, whatever the annotations are."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from maxvit.data.dataset import LabelledImages, Splits
from maxvit.data.record import find_changes, fingerprint, write_record
from maxvit.errors import MaxViTError

CLASSES = ["cat", "dog"]


def part(**labels):
    """Images by their names and classes: part(a="cat")."""
    numbers = [CLASSES.index(label) for label in labels.values()]
    return LabelledImages([b""] * len(labels), numbers, CLASSES, list(labels))


@pytest.fixture
def changes(tmp_path):
    """What the record of one data set says of another."""

    def call(before, after):
        write_record(tmp_path / "images.csv.gz", before)
        return find_changes(tmp_path / "images.csv.gz", after)

    return call


BEGUN = Splits(part(a="cat", b="dog", c="dog"), part(d="cat", e="dog"))


@pytest.mark.parametrize(
    ("train", "val", "said"),
    [
        (BEGUN.train, BEGUN.val, ""),
        (part(a="cat", c="dog"), BEGUN.val, "1 is gone (b)"),
        (part(a="cat", b="dog", c="dog", x="cat", y="dog"), BEGUN.val, "2 are new (x, y)"),
        (part(a="dog", b="dog", c="dog"), BEGUN.val, "1 is labelled otherwise (a)"),
        (
            part(d="cat", b="dog", c="dog"),
            part(a="cat", e="dog"),
            "2 are in the other part, training or validation (a, d)",
        ),
        (part(c="dog", b="dog", a="cat"), BEGUN.val, "the images are in another order"),
        (part(x="cat", d="cat"), part(e="dog"), "3 are gone (a, b, c); 1 is new (x); 1 is in the other part"),
        (part(), BEGUN.val, "3 are gone (a, b, c)"),
    ],
)
def test_what_has_changed_is_said_with_the_first_names(changes, train, val, said):
    found = changes(BEGUN, Splits(train, val))
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_at_most_three_names_are_said(changes):
    many = part(**{f"n{i}": "cat" for i in range(5)})
    assert changes(Splits(many, part()), Splits(part(), part())) == "5 are gone (n0, n1, n2, ...)"


def test_names_may_hold_anything_that_a_file_system_allows(changes):
    odd = part(**{'a,"b"': "cat", "new\nline": "dog", "caf\udce9": "cat"})
    assert changes(Splits(odd, part()), Splits(odd, part())) == ""


def test_one_name_in_both_parts_is_two_images(changes):
    both = Splits(part(a="cat", b="dog"), part(a="cat"))
    assert changes(both, both) == ""
    assert changes(both, Splits(part(b="dog"), part(a="cat"))) == "1 is gone (a)"


def test_a_record_that_is_damaged_is_named(tmp_path):
    file = tmp_path / "images.csv.gz"
    write_record(file, BEGUN)
    file.write_bytes(file.read_bytes()[:30])
    with pytest.raises(MaxViTError, match=r"images\.csv\.gz is damaged"):
        find_changes(file, BEGUN)


@dataclass(frozen=True, slots=True)
class Box:
    path: Path
    values: np.ndarray
    words: dict[str, tuple[int, ...]]


class Plain:
    """Its representation names an address in memory."""

    def __init__(self, value):
        self.value = value


def annotated(*annotations):
    names = [str(i) for i in range(len(annotations))]
    return LabelledImages(names, annotations, CLASSES, names)


@pytest.mark.parametrize(
    ("make", "other"),
    [
        (lambda: np.array([0.25, 0.75], np.float32), np.array([0.75, 0.25], np.float32)),
        (lambda: Box(Path("x/a.png"), np.eye(2), {"a": (1, 2)}), Box(Path("x/a.png"), np.eye(2), {"a": (1, 3)})),
        (lambda: Box(Path("x/a.png"), np.eye(2), {}), Box(Path("x/b.png"), np.eye(2), {})),
        (lambda: Plain(1), Plain(2)),
        (lambda: ["ab", "c"], ["a", "bc"]),
        (lambda: 1, 2),
    ],
)
def test_an_annotation_of_any_kind_is_the_same_only_where_it_says_the_same(changes, make, other):
    begun = Splits(annotated(make(), 5), annotated())
    assert changes(begun, Splits(annotated(make(), 5), annotated())) == ""
    assert changes(begun, Splits(annotated(other, 5), annotated())) == "1 is labelled otherwise (0)"


def test_an_annotation_may_move_with_its_data_set():
    box = [annotated(Box(Path(folder) / "a.png", np.eye(2), {})) for folder in ("here", "there")]
    assert fingerprint(box[0]) == fingerprint(box[1])


def test_labels_of_several_classes_count(changes):
    soft = [
        LabelledImages([b""] * 2, np.array(rows, np.float32), CLASSES, ["a", "b"])
        for rows in ([[1, 1], [0, 1]], [[1, 0], [0, 1]])
    ]
    assert changes(Splits(soft[0], part()), Splits(soft[1], part())) == "1 is labelled otherwise (a)"


def test_a_fingerprint_hangs_on_names_labels_and_order_alone():
    first = fingerprint(part(a="cat", b="dog"))
    assert first == fingerprint(LabelledImages([b"1", b"2"], [1, 0], ["dog", "cat"], ["a", "b"]))
    assert (
        len({first, *map(fingerprint, (part(b="dog", a="cat"), part(a="dog", b="dog"), part(a="cat", c="dog")))}) == 4
    )
