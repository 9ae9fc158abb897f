"""A task of your own in one file: how many objects an image shows. Nothing else in the library knows of it.

    python examples/scenes.py counting scenes
    maxvit train scenes --task examples.counting_task

A data set is a folder with `counts.csv` (image, count, and split: train, val or test) and `images`. See docs/tasks.md.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field
from torch import Tensor, nn

from maxvit.config import Preprocessing, Size
from maxvit.data.annotated import AnnotatedImages, AnnotatedSplits, draw_out
from maxvit.data.images import ImageLike, decode
from maxvit.data.transforms import normalise
from maxvit.errors import MaxViTError
from maxvit.model import MaxViT, initialize
from maxvit.storage import write_text
from maxvit.tasks.task import Task, TaskSettings


class CountingSettings(TaskSettings):
    """The section `task` of a recipe."""

    stride: int = Field(
        16, description="4, 8, 16 or 32: pixels from one place to the next at which objects are counted"
    )


class CountingHead(nn.Module):
    """What each place of a map adds to the count; the sum is the answer, whatever the size of the image."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.strides = (stride,)
        self.layers = nn.Sequential(nn.Conv2d(channels, 64, 1), nn.GELU(), nn.Conv2d(64, 1, 1)).apply(initialize)
        nn.init.constant_(self.layers[-1].bias, -3.0)  # few objects, at first

    def forward(self, maps: Sequence[Tensor], size: Size, targets: Any = None) -> Tensor:
        """(B, C, H, W) -> (B,)."""
        return F.softplus(self.layers(maps[0])).sum((1, 2, 3))


class CountingMetric:
    """The mean absolute error, negative as the best epoch has the highest figure, and how many counts are right."""

    def __init__(self) -> None:
        self.images, self.error, self.right = 0, 0.0, 0

    def add(self, answers: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """Count images: a number each."""
        for answer, truth in zip(answers, targets, strict=True):
            self.merge((1, abs(float(answer) - float(truth)), int(round(float(answer)) == int(truth))))

    def state(self) -> tuple[int, float, int]:
        """Images, sum of their errors, and how many are right."""
        return self.images, self.error, self.right

    def merge(self, state: Any) -> None:
        """Add what another process has counted."""
        self.images, self.error, self.right = self.images + state[0], self.error + state[1], self.right + state[2]

    def compute(self) -> dict[str, float]:
        """NaN where there are no images."""
        number = self.images or float("nan")
        return {"negative_error": -self.error / number, "right": self.right / number}

    def rows(self) -> list[dict[str, str | int | float]]:
        """None: there are no classes."""
        return []


class Counting(Task):
    """Annotation: a number. Target: (), float32. Answer: likewise."""

    name, Settings, recipe, monitor = "counting", CountingSettings, "folder", "negative_error"
    settings: CountingSettings

    def load(self, path: Path, val_fraction: float, seed: int) -> AnnotatedSplits:
        """Read `path`/counts.csv."""
        images, splits = _read(path)
        train, val, test = (images.subset([i for i, s in enumerate(splits) if s == part]) for part in _SPLITS)
        if len(train) < 2:
            raise MaxViTError(f"{path / 'counts.csv'} has {len(train)} images of the split train: give 2 at least")
        if not len(val):
            train, val = draw_out(train, val_fraction, seed)
        return AnnotatedSplits(train, val, test if len(test) else None)

    def load_eval(self, path: Path, class_names: Sequence[str]) -> AnnotatedImages:
        """The part test, else val, else all."""
        images, splits = _read(path)
        part = next(part for part in ("test", "val", "train") if part in splits)
        chosen = images.subset([i for i, s in enumerate(splits) if s == part])
        return replace(chosen, part="all" if part == "train" else part)

    def augment(self, spec: Preprocessing, source: ImageLike, annotation: int) -> tuple[Tensor, Tensor]:
        """The whole image, as a crop could lose an object; half of them are mirrored."""
        image = decode(source, spec).resize((spec.image_size[1], spec.image_size[0]), Image.Resampling.BICUBIC)
        pixels = np.asarray(image)[:, :: -1 if torch.rand(()) < 0.5 else 1]
        return normalise(spec, pixels), self.target(annotation, spec.image_size)

    def target(self, annotation: int, size: Size) -> Tensor:
        """The number, whatever the size."""
        return torch.tensor(float(annotation))

    def collate(self, targets: Sequence[Tensor]) -> Tensor:
        """(B,)."""
        return torch.stack(list(targets))

    def make_head(self, backbone: MaxViT, num_classes: int) -> nn.Module:
        """On one map of the backbone."""
        if self.settings.stride not in backbone.pyramid_channels:
            raise MaxViTError(f"task.stride is {self.settings.stride}; choose from {list(backbone.pyramid_channels)}")
        return CountingHead(backbone.pyramid_channels[self.settings.stride], self.settings.stride)

    def losses(self, network: nn.Module, images: Tensor, targets: Any) -> dict[str, Tensor]:
        """As the square for small errors, as the size for large ones."""
        return {"loss": F.smooth_l1_loss(network(images), targets)}

    def answers(self, network: nn.Module, images: Tensor, sizes: Sequence[Size]) -> list[Tensor]:
        """A number each."""
        return list(network(images).float().cpu())

    def metric(self, class_names: Sequence[str]) -> CountingMetric:
        """Of no images yet."""
        return CountingMetric()

    def draw_prediction(self, image: Image.Image, answer: Tensor, class_names: Sequence[str]) -> Image.Image:
        """The number in a corner."""
        drawn, font = image.copy(), ImageFont.load_default(max(10, image.height // 8))
        ImageDraw.Draw(drawn).text((3, 1), f"{float(answer):.1f}", "white", font, stroke_width=2, stroke_fill="black")
        return drawn

    draw_target = draw_prediction

    def summary(self, answer: Tensor, class_names: Sequence[str]) -> str:
        """In words."""
        return f"{round(float(answer))} objects ({float(answer):.2f})"

    def to_json(self, answer: Tensor, class_names: Sequence[str]) -> dict[str, Any]:
        """As plain values."""
        return {"count": float(answer)}

    def write(self, answers: Iterable[tuple[str, Size, Tensor]], out: Path, class_names: Sequence[str]) -> None:
        """A CSV file."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["image", "count"])
        rows.writerows([name, f"{float(count):.4g}"] for name, _, count in answers)
        write_text(out, text.getvalue())


_SPLITS = ("train", "val", "test")


def _read(path: Path) -> tuple[AnnotatedImages, list[str]]:
    """Every image with its count, and its part."""
    file = path / "counts.csv"
    if not file.is_file():
        raise MaxViTError(f"{file} does not exist: write it, with the columns image, count and split")
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    for number, row in enumerate(rows, 2):
        place = f"line {number} of {file}"
        if not (row.get("count") or "").isdecimal() or row.get("split") not in _SPLITS or not row.get("image"):
            raise MaxViTError(f"{place}: give an image, a count from 0 up, and one of the splits train, val and test")
        if not (path / "images" / row["image"]).is_file():
            raise MaxViTError(f"{place}: {path / 'images' / row['image']} does not exist: check the path")
    if not rows:
        raise MaxViTError(f"{file} holds no image: a line each is wanted")
    names = [row["image"] for row in rows]
    counts = [int(row["count"]) for row in rows]
    images = AnnotatedImages([path / "images" / name for name in names], counts, ["object"], names)
    return images, [row["split"] for row in rows]


TASK = Counting
