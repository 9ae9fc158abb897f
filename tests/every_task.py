"""A small network of each task that comes with the package, and of a user's."""

import sys
from pathlib import Path

import torch

from healthy import fill
from maxvit.config import MaxViTConfig, Preprocessing
from maxvit.model import MaxViT
from maxvit.tasks import make_task
from small import write_images

ROOT = str(Path(__file__).parent.parent)
COUNTING = "examples.counting_task"
SCORES = [str(i) for i in range(1, 11)]
SMALL_DETECTOR = {"detector": "retinanet", "pyramid_channels": 8, "head_channels": 8, "score_threshold": 0.0}
TASKS = {  # settings, class names, fit
    "classification": ({}, ["ant", "bee", "cat", "dog", "elk"], "crop"),
    "segmentation": ({"decoder": "fpn"}, ["sky", "road", "car"], "aspect"),
    "detection": ({**SMALL_DETECTOR, "detections": 5}, ["cat", "dog"], "aspect"),
    "aesthetics": ({}, SCORES, "squash"),
    "regression": ({}, ["age", "height"], "squash"),
    "masked": ({}, [], "crop"),
    COUNTING: ({"stride": 16}, ["object"], "aspect"),
}
OTHERS = [name for name in TASKS if name != "classification"]  # whose predictions are no class of the whole image
SERVED = [name for name in TASKS if name != "masked"]


def backbone(size=(64, 64), fit="aspect", names=None, seed=0, crop_pct=1.0):
    torch.manual_seed(seed)
    config = MaxViTConfig(
        stem_channels=8,
        channels=(8, 16, 16, 24),
        depths=(1, 1, 1, 1),
        head_dim=8,
        window_size=(2, 3),
        grid_size=(3, 2),
        num_classes=len(names) if names else 5,
        image_size=size,
    )
    return MaxViT(
        config, Preprocessing(image_size=size, fit=fit, crop_pct=crop_pct, mean=(0.1, 0.2, 0.3)), names or None
    )


def write_data(name, folder):
    """A few images that the task learns from, in FOLDER/data; where they are."""
    if name == "classification":
        return write_images(folder / "data")
    if ROOT not in sys.path:
        sys.path.append(ROOT)
    from examples.scenes import WRITERS

    kind = "counting" if name in ("regression", "masked") else name.split(".")[-1].removesuffix("_task")
    WRITERS[kind](folder / "data", 12, 64, 0)
    return folder / "data" / "counts.csv" if name == "regression" else folder / "data"


def network_of(name, settings=None, names=None, fit=None):
    """For images of about 64 x 64; other settings, class names and fit than those of `TASKS` where they are given."""
    if ROOT not in sys.path:
        sys.path.append(ROOT)
    own_settings, own_names, own_fit = TASKS.get(name, ({}, ["star"], "aspect"))
    names, settings = names or own_names, own_settings if settings is None else settings
    body = backbone(fit=fit or own_fit, names=names)
    torch.manual_seed(0)
    return fill(make_task({"name": name, **settings}).make_network(body, names, new_head=name != "classification"))
