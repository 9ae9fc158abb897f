"""A network is not judged by what it learned from, where its checkpoint knows what that was."""

import dataclasses

import pytest

from maxvit.data.dataset import LabelledImages, Splits, draw_out, split
from maxvit.errors import MaxViTError
from maxvit.inference.held_out import fingerprints, without_training

NAMES = [f"{i}.png" for i in range(10)]


def labelled(names=NAMES, **changes):
    images = LabelledImages([b""] * len(names), [i % 2 for i in range(len(names))], ["a", "b"], names)
    return dataclasses.replace(images, **changes)


def annotated():
    return LabelledImages([b""] * 10, list(range(10)), ["a"], NAMES)


def drawn(images):
    """As training splits them."""

    def redraw(share, seed):
        drawing = split if len(images.class_names) == 2 else draw_out
        return Splits(*drawing(images, share, seed))

    return redraw


def trained_on(images, place="data", seed=7):
    """What the checkpoint knows."""
    known = fingerprints(drawn(images)(0.3, seed))
    return {"images": known, "recipe": {"seed": seed, "data": {"val_fraction": 0.3}}, "data": place}


@pytest.mark.parametrize("images", [labelled(), annotated()])
def test_of_the_data_of_training_the_held_out_images_are_taken(images):
    found, said = without_training(images, "moved", [trained_on(images)], drawn(images))
    assert sorted(found.names) == sorted(drawn(images)(0.3, 7).val.names)
    assert (len(found), found.part) == (3, "val")
    assert said.startswith("evaluated on the 3 of 10 images that training held out")


@pytest.mark.parametrize(("second", "share"), [(0, 0), (1, 1)])
def test_of_several_networks_those_images_are_taken_that_all_have_held_out(second, share):
    both = [set(drawn(labelled())(0.3, seed).val.names) for seed in (7, second)]
    assert len(set.intersection(*both)) == share
    provenances = [trained_on(labelled()), trained_on(labelled(), seed=second)]
    if not share:
        with pytest.raises(MaxViTError, match="no image of data was held out by all 2 networks, so none is new"):
            without_training(labelled(), "data", provenances, drawn(labelled()))
    else:
        found, _ = without_training(labelled(), "data", provenances, drawn(labelled()))
        assert set(found.names) == set.intersection(*both)


def test_all_are_taken_where_that_is_wanted():
    found, said = without_training(labelled(), "data", [trained_on(labelled())], drawn(labelled()), everything=True)
    assert (len(found), found.part, said) == (10, "all", "")


def test_data_that_has_changed_since_is_judged_whole_and_that_is_said(tmp_path):
    now = labelled(NAMES[1:])
    found, said = without_training(
        now, str(tmp_path / "." / "data"), [trained_on(labelled(), str(tmp_path / "data"))], drawn(now)
    )
    assert len(found) == 9
    assert "has changed since the training" in said
    assert said.endswith("evaluated on all 9, those of training among them")


def test_other_data_is_judged_whole():
    other = labelled([f"other {i}" for i in range(4)])
    found, said = without_training(other, "other", [trained_on(labelled())], drawn(other))
    assert (len(found), said) == (4, "")


@pytest.mark.parametrize("provenance", [{}, {"recipe": {"seed": 7, "data": {"val_fraction": 0.3}}}])
def test_a_checkpoint_that_does_not_know_its_data_is_judged_by_all(provenance):
    assert without_training(labelled(), "data", [provenance], None) == (labelled(), "")


def test_data_that_cannot_be_split_was_not_trained_on():
    def refuse(share, seed):
        raise MaxViTError("a single image")

    assert without_training(labelled(), "other", [trained_on(labelled())], refuse) == (labelled(), "")


def test_data_with_a_part_of_its_own_is_judged_by_that():
    test = labelled(part="test")
    assert without_training(test, "data", [trained_on(labelled())], None) == (test, "")
    with pytest.raises(MaxViTError, match="data has a part test to evaluate on, and --all is for data without"):
        without_training(test, "data", [{}], None, everything=True)
