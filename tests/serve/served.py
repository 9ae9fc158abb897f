"""A small network that answers differently for each image."""

from every_task import backbone
from healthy import fill

NAMES = ["ant", "bee", "cat", "dog", "elk"]


def network(size=(32, 41), fit="crop", seed=0):
    return fill(backbone(size, fit, NAMES, seed, crop_pct=0.875))
