"""What a task makes of images, in training and in evaluation, is the same whether decoded images are kept or not."""

import numpy as np
import pytest
import torch
from segmented import write_folder

from coco_samples import write_coco
from every_task import COUNTING, ROOT, SCORES, TASKS
from maxvit.config import Preprocessing
from maxvit.data.dataset import LabelledImages
from maxvit.data.loading import evaluation_batches, training_batches
from maxvit.tasks import make_task
from maxvit.tasks.examples import TaskExamples

SPEC = Preprocessing(image_size=(32, 64), fit="squash")
LABELS = {
    "classification": [0, 1, 1],
    COUNTING: [3, 0, 2],
    "aesthetics": [[0.1] * 10] * 3,
    "regression": [[1.5, 2.0]] * 3,
    "masked": [0.0] * 3,
}


def images_of(name, folder):
    """Three or four, as the task reads them, or in memory."""
    if name == "segmentation":
        return make_task({"name": name}).load_eval(write_folder(folder, "images", "masks"), ["red", "green", "blue"])
    if name == "detection":
        return make_task({"name": name}).load_eval(str(write_coco(folder)), None)
    arrays = [np.random.default_rng(i).integers(0, 256, (37 + i, 71, 3), dtype=np.uint8) for i in range(3)]
    names = SCORES if name == "aesthetics" else ["a", "b"]
    return LabelledImages(arrays, LABELS[name], names, ["1", "2", "3"])


def assert_same(ours, theirs):
    if isinstance(theirs, torch.Tensor):
        assert torch.equal(ours, theirs)
    elif isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, list | tuple):
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b)
    else:
        assert ours == theirs


def epochs(examples):
    """Two, of training and of evaluation."""
    train, val = training_batches(examples, 2, 0, 5), evaluation_batches(examples, 2)
    for epoch in range(2):
        train.sampler.set_epoch(epoch)
        yield list(train)
        yield list(val)


@pytest.mark.parametrize("name", TASKS)
def test_batches_of_a_task_are_the_same_whether_images_are_kept_or_not(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    task, images = make_task({"name": name}), images_of(name, tmp_path)
    examples = TaskExamples(task, images, SPEC, keep=10**7)
    for kept, anew in zip(epochs(examples), epochs(TaskExamples(task, images, SPEC)), strict=True):
        assert_same(kept, anew)
    assert examples._memory.used > 3 * 32 * 64 * 3 * 4
