"""A data set of another task that is given to a classifier is told the task that reads it."""

import pytest
from segmentation_layouts import write_camvid, write_cityscapes
from segmentation_layouts import write_roboflow as write_masks_beside
from segmentation_layouts import write_voc as write_voc_masks
from segmented import write_folder

from coco_samples import describe, write_coco, write_images
from detection_layouts import write_label_studio, write_labelme, write_roboflow, write_voc, write_yolo
from maxvit.errors import MaxViTError
from maxvit.tasks import refuse_other_tasks
from maxvit.tasks.classification import Classification
from maxvit.training.recipe import load_recipe
from maxvit.training.setup import load_data
from small import write_images as write_classes

SCORES = "image," + ",".join(map(str, range(1, 11)))


def official(folder):
    write_images(folder / "train2017")
    (folder / "annotations").mkdir()
    (folder / "annotations/instances_train2017.json").write_text(str(describe()))
    return folder


def scores(folder):
    (folder / "scores.csv").write_text(SCORES + ",split\n")
    return folder


def ava(folder):
    (folder / "AVA.txt").touch()
    return folder


@pytest.mark.parametrize(
    ("write", "task"),
    [
        (lambda folder: write_folder(folder, "images", "masks"), "segmentation"),
        (lambda folder: write_folder(folder, "train/images", "train/masks"), "segmentation"),
        (lambda folder: write_folder(folder, "images/training", "annotations/training"), "segmentation"),
        (
            lambda folder: write_folder(folder, "images/train2017", "annotations/stuffthingmaps/train2017"),
            "segmentation",
        ),
        *[(write, "segmentation") for write in (write_camvid, write_cityscapes, write_masks_beside, write_voc_masks)],
        (write_coco, "detection"),
        (official, "detection"),
        *[(write, "detection") for write in (write_label_studio, write_labelme, write_roboflow, write_voc, write_yolo)],
        (scores, "aesthetics"),
        (lambda folder: scores(folder) / "scores.csv", "aesthetics"),
        (ava, "aesthetics"),
    ],
)
def test_the_task_is_named(tmp_path, write, task):
    data = write(tmp_path)
    with pytest.raises(MaxViTError, match=f"is laid out for {task}, not for classification: add --task {task}"):
        load_data(load_recipe("folder", [f"data.path={data}"]))


def test_class_folders_and_lists_are_of_no_other_task(tmp_path):
    refuse_other_tasks(write_classes(tmp_path / "images", number=1), Classification)
    (tmp_path / "list.csv").write_text("path,label\n")
    refuse_other_tasks(tmp_path / "list.csv", Classification)
    refuse_other_tasks(tmp_path / "nowhere", Classification)
