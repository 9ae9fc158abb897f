"""What is said of the data before a run: nothing where all is well."""

import shutil

import pytest

from maxvit.data.dataset import LabelledImages, Splits
from maxvit.tasks import make_task
from maxvit.training.first_check import first_check
from maxvit.training.recipe import load_recipe
from maxvit.training.run import resume, train

NAMES = ["ant", "bee"]


def part(labels, name="train", sources=None):
    names = [f"{name}/{i}" for i in range(len(labels))]
    return LabelledImages(sources or [name.encode()] * len(labels), labels, NAMES, names)


def check(data, *settings, task="classification"):
    return first_check(data, make_task({"name": task}), load_recipe("folder", ["data.path=my photos", *settings]))


def test_of_even_classes_and_images_that_come_once_nothing_is_said():
    assert check(Splits(part([0] * 9 + [1]), part([0, 1], "val"))) == []


def test_classes_of_very_different_sizes_are_named_with_a_metric_that_counts_them_alike():
    (said,) = check(Splits(part([0] * 20 + [1] * 2), part([0, 1], "val")))
    assert said == (
        "classes differ much in training: smallest 'bee' with 2 images, largest 'ant' with 20, 10.0 times as many; "
        "--metric balanced_accuracy counts all classes alike"
    )


def test_a_class_without_training_images_is_named():
    (said,) = check(Splits(part([0] * 2), part([0, 1], "val")))
    assert (
        said
        == "'bee': no training image is of this class, which cannot be learned: add images, or remove what names it"
    )


def test_the_metric_is_not_named_where_it_is_chosen():
    (said,) = check(Splits(part([0] * 20 + [1] * 2), part([0, 1], "val")), "optimization.metric=balanced_accuracy")
    assert "--metric" not in said


@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_of_tasks_without_one_class_an_image_classes_are_not_counted(task):
    assert check(Splits(part([0] * 20 + [1] * 2), part([0, 1], "val")), task=task) == []


@pytest.mark.parametrize("task", ["classification", "segmentation", "regression"])
def test_copies_among_held_out_images_are_told_for_every_task(tmp_path, task):
    paths = [tmp_path / name for name in "abcd"]
    for path, content in zip(paths, [b"1", b"2", b"2", b"3"], strict=True):
        path.write_bytes(content)
    data = Splits(part([0, 1], sources=paths[:2]), part([0, 1], "val", paths[2:]))
    assert check(data, task=task) == [
        "1 of the 2 held-out images is also in training, byte for byte (val/0 is train/1 there), so results look "
        "better than they are; maxvit check 'my photos' finds near copies too"
    ]


def test_a_run_says_it_when_it_begins_and_not_when_it_goes_on(small_recipe, tmp_path, images, capsys):
    data = shutil.copytree(images, tmp_path / "parts" / "train")
    shutil.copytree(images, data.parent / "val")
    run = train(small_recipe(f"data.path={data.parent}", "optimization.epochs=1"), tmp_path / "run", True).run
    said = (
        "24 of the 24 held-out images are also in training, byte for byte (the first: blue/0.png is blue/0.png there)"
    )
    assert said in capsys.readouterr().err
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 1\n", "epochs: 2\n"))
    resume(run, show_progress=True)
    assert "held-out images" not in capsys.readouterr().err
