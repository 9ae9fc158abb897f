"""The recipes of detection: the paper's numbers, and one that learns."""

import pytest
import torch

from coco_samples import NAMES, write_coco
from maxvit.tasks import make_task
from maxvit.training.recipe import load_recipe

COCO_IMAGES = 118_287


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


@pytest.mark.parametrize("detector", ["faster-rcnn", "retinanet", "mask-rcnn", "cascade-mask-rcnn"])
def test_a_detector_learns_the_rectangles_of_four_images_by_heart(tmp_path, detector):
    """Data, jitter, head, losses, answers and metric, together."""
    from maxvit import create_model
    from maxvit.config import Preprocessing
    from maxvit.tasks import make_network

    section = load_recipe("detection").task | {"detector": detector, "scale": [1.0, 1.0], "flip": False}
    task, spec = make_task(section), Preprocessing(image_size=(64, 64), fit="squash", crop_fraction=1.0)
    images = task.load_held_out(write_coco(tmp_path), list(NAMES.values()))
    network = make_network(task, create_model("maxvit_micro", image_size=64, num_classes=2), images.class_names)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    network.train()
    rows = []
    for _ in range(60):
        examples = [task.augment(spec, s, a) for s, a in zip(images.sources, images.annotations, strict=True)]
        truths = task.stack([truth for _, truth in examples])
        losses = task.losses(network, torch.stack([image for image, _ in examples]), truths)
        optimizer.zero_grad()
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rows.append(float(losses["loss"]))
    assert sum(rows[-10:]) < 0.6 * sum(rows[:10])
