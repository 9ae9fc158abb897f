"""Image aesthetics: how many people would give an image each score from 1 to 10."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn

from maxvit.config import Fit, Size
from maxvit.data.dataset import LabelledImages
from maxvit.errors import MaxViTError
from maxvit.model import MaxViT
from maxvit.tasks.aesthetics.data import SCORES, read_scores, recognizes_scores
from maxvit.tasks.aesthetics.loss import earth_movers_distance
from maxvit.tasks.aesthetics.metric import AestheticsMetric
from maxvit.tasks.aesthetics.network import Shares
from maxvit.tasks.aesthetics.predictions import draw_scores, plain, short
from maxvit.tasks.aesthetics.settings import AestheticsSettings
from maxvit.tasks.image_numbers import ImageNumbers
from maxvit.tasks.pooled_head import PooledHead
from maxvit.tasks.protocols import Cell, Changed, ExportSpec, Forward


class Aesthetics(ImageNumbers):
    """Ten shares for each image. A prediction is (10,) float32, which sums to 1; so are a target and a label."""

    name = "aesthetics"
    Settings = AestheticsSettings
    recipe = "aesthetics"
    fits: ClassVar[tuple[Fit, ...] | None] = ("aspect", "squash")
    in_percent: ClassVar[frozenset[str]] = frozenset(("accuracy",))
    lower_is_better: ClassVar[frozenset[str]] = frozenset(("loss", "emd"))
    usual_classes = 10
    not_counted = ""
    settings: AestheticsSettings

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """AVA.txt, or a table with a column for each score."""
        return recognizes_scores(path)

    def read(self, path: Path, class_names: Sequence[str] | None) -> dict[str, LabelledImages]:
        """A CSV file, AVA.txt or the folder of one: see `read_scores`."""
        parts = read_scores(path)
        if class_names is not None and list(class_names) != SCORES:
            raise MaxViTError(
                f"the network tells {', '.join(class_names)} apart, and {path} holds scores from 1 to 10: give a "
                "network that was trained with --task aesthetics"
            )
        return parts

    def make_head(self, backbone: MaxViT, num_classes: int) -> nn.Module:
        """The backbone's head with a new last layer."""
        return PooledHead(backbone.head, num_classes, self.settings.dropout)

    def losses(self, network: nn.Module, images: Tensor, targets: Any) -> dict[str, Tensor]:
        """The mean over the images of the earth mover's distance with the exponent of the settings."""
        return {"loss": self._distances(network(images), targets).mean()}

    def predict(self, network: Forward, images: Tensor, sizes: Sequence[Size]) -> list[Tensor]:
        """The shares."""
        return _shares(network(images))

    def evaluate(
        self, network: Forward, images: Tensor, sizes: Sequence[Size], targets: Sequence[Tensor]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """The loss as in training but for the dropout, and the shares."""
        logits = network(images)
        return {"loss": self._distances(logits, self.collate(targets).to(logits.device)).mean()}, _shares(logits)

    def _distances(self, logits: Tensor, targets: Tensor) -> Tensor:
        exact = torch.promote_types(logits.dtype, torch.float32)
        return earth_movers_distance(logits.to(exact).softmax(1), targets, self.settings.exponent)

    def metric(self, class_names: Sequence[str]) -> AestheticsMetric:
        """Correlations of the mean scores first."""
        return AestheticsMetric()

    def draw_prediction(self, image: Image.Image, prediction: Tensor, class_names: Sequence[str]) -> Image.Image:
        """The image with a chart of the shares, and mean and deviation."""
        return draw_scores(image, prediction)

    def draw_target(self, image: Image.Image, target: Tensor, class_names: Sequence[str]) -> Image.Image:
        """The same of the target."""
        return draw_scores(image, target)

    def summary(self, prediction: Tensor, class_names: Sequence[str]) -> str:
        """Mean and deviation: "5.3 ± 1.2 of 10"."""
        return f"{short(prediction)} of {len(prediction)}"

    def to_json(self, prediction: Tensor, class_names: Sequence[str]) -> dict[str, Any]:
        """Mean, deviation and all shares."""
        return plain(prediction, class_names)

    def row(self, prediction: Tensor, class_names: Sequence[str]) -> dict[str, Cell]:
        """Mean, deviation, and a column for the share of each score."""
        values = plain(prediction, class_names)
        return {"mean": values["mean"], "deviation": values["deviation"], **values["shares"]}

    def with_mirror(self, network: Forward) -> Forward:
        """The mean of the shares, as logits."""

        def both(images: Tensor) -> Tensor:
            return ((network(images).softmax(1) + network(images.flip(-1)).softmax(1)) / 2).log()

        return Changed(network, both)

    def export_spec(self, network: nn.Module, from_pixels: bool = False) -> ExportSpec:
        """From images to shares (B, 10)."""
        return ExportSpec(Shares(network), ("shares",))

    def from_export(self, outputs: Sequence[Tensor], from_pixels: bool) -> Tensor:
        """Logits that have these shares."""
        return outputs[0].log()


def _shares(logits: Tensor) -> list[Tensor]:
    return list(logits.detach().float().softmax(1).cpu())


TASK = Aesthetics
