"""Features whose truth is known."""

import numpy as np


def clouds(apart, number=60, classes=3):
    """Features around a centre for each class, and the classes."""
    labels = [i % classes for i in range(number)]
    random = np.random.default_rng(0)
    return (apart * np.eye(classes, 5)[labels] + random.normal(size=(number, 5))).astype(np.float32), labels
