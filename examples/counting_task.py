"""A task of your own in one file: how many objects an image shows. Nothing else in the library knows of it.

    python examples/scenes.py counting scenes
    maxvit train scenes --task examples.counting_task

A data set is a folder with `counts.csv` (image, count, and split: train, val or test) and `images`. See docs/tasks.md.
"""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import Field
from torch import Tensor, nn

from maxvit.config import Preprocessing, Size
from maxvit.data.dataset import LabelledImages
from maxvit.data.images import Source, decode
from maxvit.data.transforms import normalise
from maxvit.errors import MaxViTError
from maxvit.layers.initialize import initialize
from maxvit.model import MaxViT
from maxvit.tasks.protocols import Forward
from maxvit.tasks.task import Task, TaskSettings


class CountingSettings(TaskSettings):
    """The section `task` of a recipe."""

    stride: int = Field(
        16, description="4, 8, 16 or 32: pixels from one place to the next at which objects are counted"
    )


class CountingHead(nn.Module):
    """What each place of a map adds to the count; the sum is the prediction, whatever the size of the image."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.strides = (stride,)
        self.layers = nn.Sequential(nn.Conv2d(channels, 64, 1), nn.GELU(), nn.Conv2d(64, 1, 1)).apply(initialize)
        nn.init.constant_(self.layers[-1].bias, -3.0)  # few objects, at first

    def forward(self, maps: Sequence[Tensor], size: Size, targets: Any = None) -> Tensor:
        """(B, C, H, W) -> (B,)."""
        return F.softplus(self.layers(maps[0])).sum((1, 2, 3))


class CountingMetric:
    """The mean absolute error, and the share of counts that are right."""

    def __init__(self) -> None:
        self.images, self.error, self.right = 0, 0.0, 0

    def add(self, predictions: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """Count images: a number each."""
        for prediction, target in zip(predictions, targets, strict=True):
            found, true = float(prediction), float(target)
            self.merge((1, abs(found - true), int(round(found) == true)))

    def state(self) -> tuple[int, float, int]:
        """Images, sum of their errors, and how many are right."""
        return self.images, self.error, self.right

    def merge(self, state: Any) -> None:
        """Add what another process has counted."""
        self.images, self.error, self.right = self.images + state[0], self.error + state[1], self.right + state[2]

    def compute(self) -> dict[str, float]:
        """NaN where there are no images."""
        number = self.images or float("nan")
        return {"error": self.error / number, "right": self.right / number}

    def rows(self) -> list[dict[str, str | int | float]]:
        """None: there are no classes."""
        return []


class Counting(Task):
    """A label is a number; so are a target and a prediction, (), float32."""

    name, Settings = "counting", CountingSettings
    in_percent, lower_is_better = frozenset({"right"}), frozenset({"error"})
    settings: CountingSettings

    def read(self, path: Path, class_names: Sequence[str] | None) -> dict[str, LabelledImages]:
        """Read `path`/counts.csv."""
        file = path / "counts.csv"
        if not file.is_file():
            raise MaxViTError(f"{file} does not exist: write it, with the columns image, count and split")
        rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
        for number, row in enumerate(rows, 2):
            place = f"line {number} of {file}"
            if not (row.get("count") or "").isdecimal() or row.get("split") not in _PARTS or not row.get("image"):
                raise MaxViTError(f"{place}: give an image, a count from 0 up, and a split: train, val or test")
            if not (path / "images" / row["image"]).is_file():
                raise MaxViTError(f"{place}: {path / 'images' / row['image']} does not exist: check the path")
        if not rows:
            raise MaxViTError(f"{file} holds no image: a line each is wanted")
        names, counts = [row["image"] for row in rows], [int(row["count"]) for row in rows]
        images = LabelledImages([path / "images" / name for name in names], counts, ["object"], names)
        members = {part: [i for i, row in enumerate(rows) if row["split"] == part] for part in _PARTS}
        return {part: replace(images.subset(found), part=part) for part, found in members.items() if found}

    def augment(self, spec: Preprocessing, source: Source, label: int) -> tuple[Tensor, Tensor]:
        """The whole image, as a crop could lose an object; half of them are mirrored."""
        image = decode(source, spec).resize((spec.image_size[1], spec.image_size[0]), Image.Resampling.BICUBIC)
        pixels = np.asarray(image)[:, :: -1 if torch.rand(()) < 0.5 else 1]
        return normalise(spec, pixels), self.target(label, spec.image_size)

    def target(self, label: int, size: Size) -> Tensor:
        """The number, whatever the size."""
        return torch.tensor(float(label))

    def make_head(self, backbone: MaxViT, num_classes: int) -> nn.Module:
        """On one map of the backbone."""
        if self.settings.stride not in backbone.pyramid_channels:
            raise MaxViTError(f"task.stride is {self.settings.stride}; choose from {list(backbone.pyramid_channels)}")
        return CountingHead(backbone.pyramid_channels[self.settings.stride], self.settings.stride)

    def losses(self, network: nn.Module, images: Tensor, targets: Any) -> dict[str, Tensor]:
        """As the square for small errors, as the size for large ones."""
        return {"loss": F.smooth_l1_loss(network(images), targets)}

    def predict(self, network: Forward, images: Tensor, sizes: Sequence[Size]) -> list[Tensor]:
        """A number each."""
        return list(network(images).float().cpu())

    def metric(self, class_names: Sequence[str]) -> CountingMetric:
        """An empty metric."""
        return CountingMetric()

    def summary(self, prediction: Tensor, class_names: Sequence[str]) -> str:
        """In words."""
        return f"{round(float(prediction))} objects ({float(prediction):.2f})"

    def to_json(self, prediction: Tensor, class_names: Sequence[str]) -> dict[str, Any]:
        """As plain values."""
        return {"count": float(prediction)}


_PARTS = ("train", "val", "test")
TASK = Counting
