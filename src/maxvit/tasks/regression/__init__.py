"""Regression: one number for each image, or several, in the units of the data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from maxvit.config import Fit, Preprocessing, Size
from maxvit.data.dataset import LabelledImages
from maxvit.errors import MaxViTError
from maxvit.model import MaxViT
from maxvit.tasks.image_numbers import ImageNumbers
from maxvit.tasks.network import Network, TaskNetwork
from maxvit.tasks.panels import Panels
from maxvit.tasks.protocols import Baseline, Cell, Changed, ExportSpec, Forward
from maxvit.tasks.regression.data import read_numbers
from maxvit.tasks.regression.loss import standardised_loss
from maxvit.tasks.regression.metric import RegressionMetric
from maxvit.tasks.regression.network import RegressionHead
from maxvit.tasks.regression.panels import regression_panels
from maxvit.tasks.regression.predictions import plain, short
from maxvit.tasks.regression.settings import RegressionSettings


class Regression(ImageNumbers):
    """Numbers for each image. A prediction is (outputs,) float32; so is a target. A label is the same in float64."""

    name = "regression"
    Settings = RegressionSettings
    recipe = "regression"
    batch_size = 32
    fits: ClassVar[tuple[Fit, ...] | None] = ("squash", "aspect")
    reads_lists = True
    lower_is_better: ClassVar[frozenset[str]] = frozenset(("loss", "mae", "rmse"))
    usual_classes = 1
    not_counted = ""
    settings: RegressionSettings

    def read(self, path: Path, class_names: Sequence[str] | None) -> dict[str, LabelledImages]:
        """A list: see `read_numbers`."""
        return read_numbers(path, class_names, self.columns)

    def initialize(self, network: Network, images: LabelledImages) -> None:
        """Mean and deviation of the targets."""
        numbers = np.asarray(images.labels)
        deviation = numbers.std(0)
        if (same := np.flatnonzero(~(deviation > 0))).size:
            raise MaxViTError(
                f"{images.class_names[same[0]]} is {numbers[0, same[0]]:g} for all {len(images):,} training images: "
                "there is nothing to learn; name another column with --label-column (data.label_column)"
            )
        head = _head(network)
        head.target_mean.copy_(torch.from_numpy(numbers.mean(0)))
        head.target_deviation.copy_(torch.from_numpy(deviation))

    def make_head(self, backbone: MaxViT, num_classes: int) -> nn.Module:
        """The backbone's head with a new last layer, and the scale of the targets."""
        return RegressionHead(backbone.head, num_classes, self.settings.dropout)

    def losses(self, network: nn.Module, images: Tensor, targets: Any) -> dict[str, Tensor]:
        """The mean over images and outputs, in standard deviations of the targets."""
        return {"loss": self._loss(network(images), targets, _head(network))}

    def predict(self, network: Forward, images: Tensor, sizes: Sequence[Size]) -> list[Tensor]:
        """The numbers."""
        return _values(network(images))

    def evaluate(
        self, network: Forward, images: Tensor, sizes: Sequence[Size], targets: Sequence[Tensor]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """The loss as in training but for the dropout, of a network and not of a file; and the numbers."""
        values = network(images)
        losses = {}
        if isinstance(network, TaskNetwork):
            losses["loss"] = self._loss(values, self.collate(targets).to(values.device), _head(network))
        return losses, _values(values)

    def _loss(self, values: Tensor, targets: Tensor, head: RegressionHead) -> Tensor:
        return standardised_loss(values, targets, head.target_deviation, self.settings.loss, self.settings.huber_delta)

    def metric(self, class_names: Sequence[str]) -> RegressionMetric:
        """R2 first."""
        return RegressionMetric(class_names)

    def baseline(self, train: LabelledImages, test: LabelledImages, spec: Preprocessing) -> Baseline | None:
        """That of histograms."""
        from maxvit.tasks.histograms import histogram_regression

        return histogram_regression(train, test, spec)

    def panels(self, metric: RegressionMetric, predictions: Sequence[Tensor]) -> Panels:
        """Predictions beside targets, and the largest errors."""
        return regression_panels(metric)

    def summary(self, prediction: Tensor, class_names: Sequence[str]) -> str:
        """Such as "age 31.4"."""
        return short(prediction, class_names)

    def to_json(self, prediction: Tensor, class_names: Sequence[str]) -> dict[str, Any]:
        """ "values", by name."""
        return {"values": plain(prediction, class_names)}

    def row(self, prediction: Tensor, class_names: Sequence[str]) -> dict[str, Cell]:
        """A column predicted_NAME for each: a list may keep a column NAME beside it."""
        return dict(plain(prediction, class_names, "predicted_"))

    def evaluated_row(self, prediction: Tensor, target: Tensor, class_names: Sequence[str]) -> dict[str, Cell]:
        """The targets before them, in columns target_NAME."""
        return {**plain(target, class_names, "target_"), **plain(prediction, class_names, "predicted_")}

    def with_mirror(self, network: Forward) -> Forward:
        """The mean of the numbers."""

        def both(images: Tensor) -> Tensor:
            values: Tensor = (network(images) + network(images.flip(-1))) / 2
            return values

        return Changed(network, both)

    def export_spec(self, network: nn.Module, from_pixels: bool = False) -> ExportSpec:
        """From images to numbers (B, outputs), which are compared in deviations of the targets."""
        deviation = _head(network).target_deviation.detach().float().cpu()

        def difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
            return float(((found[0] - expected[0]).abs() / deviation).max())

        return ExportSpec(network, ("values",), difference=difference)


def _head(network: nn.Module) -> RegressionHead:
    return cast(RegressionHead, cast(TaskNetwork, network).head)


def _values(values: Tensor) -> list[Tensor]:
    return list(values.detach().float().cpu())


TASK = Regression
