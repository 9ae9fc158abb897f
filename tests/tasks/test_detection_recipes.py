"""The recipes of detection: the paper's numbers, and one that learns."""

import pytest
import torch

from coco_samples import NAMES, write_coco
from maxvit import create_model
from maxvit.config import Preprocessing
from maxvit.tasks import make_task
from maxvit.training.recipe import load_recipe

COCO_IMAGES = 118_287
SPEC = Preprocessing(image_size=(64, 64), fit="aspect", crop_pct=1.0)


def test_the_cascade_s_recipe_is_the_paper_s():
    recipe = load_recipe("coco-cascade")
    optimization, settings = recipe.optimization, make_task(recipe.task).settings
    assert (settings.detector, settings.strides, settings.scale) == ("cascade-mask-rcnn", (8, 16, 32), (0.1, 2.5))
    assert (recipe.data.image_size, recipe.data.batch_size) == ((896, 896), 256)
    assert (recipe.model.name, recipe.model.drop_path_rate) == ("maxvit_tiny", 0.8)
    assert (optimization.learning_rate, optimization.schedule, optimization.ema_decay) == (1e-3, "cosine", 0.9998)
    assert int(optimization.warmup_epochs * -(-COCO_IMAGES // recipe.data.batch_size)) == 6000


def test_retinanet_s_recipe_is_tensorflow_s_but_for_the_optimiser():
    recipe = load_recipe("coco-retinanet")
    settings = make_task(recipe.task).settings
    assert (settings.detector, settings.scale) == ("retinanet", (0.8, 1.2))
    assert settings.anchor_sizes == tuple(4.0 * stride for stride in (8, 16, 32, 64, 128))
    assert (recipe.data.image_size, recipe.data.batch_size, recipe.optimization.epochs) == ((640, 640), 256, 72)
    assert int(recipe.optimization.warmup_epochs * -(-COCO_IMAGES // 256)) == 500


def started(folder, detector, **settings):
    """A task, its images, and a small network for them."""
    task = make_task(load_recipe("detection").task | {"detector": detector} | settings)
    images = task.load_eval(write_coco(folder), list(NAMES.values()))
    network = task.make_network(create_model("maxvit_micro", image_size=64, num_classes=2), images.class_names)
    return task, images, network.train()


def step(task, images, network):
    """The losses of all images, augmented, and their gradients."""
    examples = [task.augment(SPEC, s, a) for s, a in zip(images.sources, images.labels, strict=True)]
    targets = task.collate([truth for _, truth in examples])
    losses = task.losses(network, torch.stack([image for image, _ in examples]), targets)
    network.zero_grad()
    losses["loss"].backward()
    return losses


def judged(task, images, network):
    """The figures of a network on all images, which have sizes of their own."""
    metric = task.metric(images.class_names)
    with torch.inference_mode():
        for source, annotation in zip(images.sources, images.labels, strict=True):
            answers = task.predict(network.eval(), task.prepare(SPEC, source)[None], [annotation.size])
            metric.add(answers, [task.target(annotation, annotation.size)])
    return metric.compute()


@pytest.mark.parametrize("detector", ["faster-rcnn", "retinanet", "mask-rcnn", "cascade-mask-rcnn"])
def test_data_detector_and_metric_fit_together(tmp_path, detector):
    task, images, network = started(tmp_path, detector, score_threshold=0.0, proposals=[50, 20])
    losses = step(task, images, network)
    parts = sum(value for name, value in losses.items() if name != "loss")
    torch.testing.assert_close(losses["loss"], parts)
    moved = [p.grad.abs().sum() > 0 for p in network.backbone.parameters() if p.grad is not None]
    assert sum(moved) > 0.9 * len(moved)
    figures = judged(task, images, network)
    assert 0 <= figures["ap"] < 0.2  # nothing is learned yet
    assert ("mask_ap" in figures) == ("mask" in detector)


@pytest.mark.full
def test_a_detector_learns_four_images_by_heart(tmp_path):
    task, images, network = started(tmp_path, "mask-rcnn", scale=[1.0, 1.0], flip=False)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    for _ in range(200):
        step(task, images, network)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    figures = judged(task, images, network)
    assert figures["ap50"] > 0.5
    assert figures["mask_ap50"] > 0.5
