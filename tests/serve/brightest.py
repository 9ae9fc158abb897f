"""A task of its own, as a user may bring one: where the brightest point of an image is."""

import threading
from typing import Literal

import torch
from PIL import ImageDraw
from torch import nn

from maxvit.tasks.task import Task, TaskSettings

threads: list[str] = []  # that computed, told and drew


class BrightestSettings(TaskSettings):
    name: Literal["brightest"] = "brightest"
    colour: str = "#ff0000"


class Idle(nn.Module):
    strides = (32,)

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, maps, size, targets=None):
        return None


class Brightest(Task):
    """A prediction is (x, y) in pixels of the image, and its size."""

    name, Settings, recipe = "brightest", BrightestSettings, "none"

    def make_head(self, backbone, num_classes):
        return Idle()

    def predict(self, network, images, sizes):
        threads.append(threading.current_thread().name)
        found = []
        for image, (height, width) in zip(images, sizes, strict=True):
            y, x = divmod(int(image.sum(0).argmax()), image.shape[2])
            found.append(((x + 0.5) * width / image.shape[2], (y + 0.5) * height / image.shape[1], height, width))
        return found

    def draw_prediction(self, image, prediction, class_names):
        threads.append(threading.current_thread().name)
        drawn, (x, y) = image.copy(), prediction[:2]
        arm = max(1, min(image.size) // 10)
        ImageDraw.Draw(drawn).rectangle((x - arm, y - arm, x + arm, y + arm), self.settings.colour)
        return drawn

    def summary(self, prediction, class_names):
        return f"{class_names[0]} at {prediction[0]:.0f}, {prediction[1]:.0f}"

    def to_json(self, prediction, class_names):
        threads.append(threading.current_thread().name)
        x, y, height, width = prediction
        return {"points": [{"class": class_names[0], "at": [x, y]}], "height": height, "width": width}

    def _never(self, *_):
        raise NotImplementedError

    load = load_eval = augment = target = losses = metric = draw_target = write = _never


TASK = Brightest
