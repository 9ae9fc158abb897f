"""Semantic segmentation: the class of each pixel."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn

from maxvit.config import Preprocessing, Size
from maxvit.data.dataset import LabelledImages, Splits
from maxvit.data.images import Source
from maxvit.errors import MaxViTError
from maxvit.model import MaxViT
from maxvit.tasks.panels import Confusions, Panels
from maxvit.tasks.protocols import Changed, ExportSpec, Forward
from maxvit.tasks.segmentation import data, draw
from maxvit.tasks.segmentation.augment import augment
from maxvit.tasks.segmentation.loss import losses
from maxvit.tasks.segmentation.masks import MaskFile, read_mask
from maxvit.tasks.segmentation.metric import SegmentationMetric
from maxvit.tasks.segmentation.network import SegmentationHead
from maxvit.tasks.segmentation.predictions import classes_and_loss, classes_at, covering_size, slide
from maxvit.tasks.segmentation.settings import SegmentationSettings
from maxvit.tasks.task import Task, TaskSettings

MOST_WINDOWS = 16  # pixels of an image for sliding windows, of those of a window: a strip must not fill the memory


class Segmentation(Task):
    """Predictions and targets are (height, width) uint8, the class of each pixel; 255 in a target is ignored."""

    name: ClassVar[str] = "segmentation"
    Settings: ClassVar[type[TaskSettings]] = SegmentationSettings
    recipe: ClassVar[str] = "segmentation"
    in_percent: ClassVar[frozenset[str]] = frozenset(("miou", "pixel_accuracy", "mean_accuracy", "iou", "accuracy"))
    not_counted: ClassVar[str] = ""
    after_export: ClassVar[tuple[str, ...]] = ("slide_stride",)
    settings: SegmentationSettings

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """Folders of images and of masks, in one of the layouts."""
        return data.recognizes(path)

    def load(self, path: str, val_fraction: float, seed: int) -> Splits:
        """A folder of images and masks; see `data.load`."""
        return data.load(Path(path), val_fraction, seed)

    def load_eval(self, path: str, class_names: Sequence[str] | None) -> LabelledImages:
        """Its test part, else its validation part, else all."""
        return data.load_eval(Path(path), class_names)

    def parts(self, path: str) -> dict[str, LabelledImages]:
        """Those of its layout that are there."""
        return data.read_parts(Path(path))

    def augment(self, spec: Preprocessing, source: Source, label: MaskFile) -> tuple[Tensor, Tensor]:
        """A piece at another scale, and its classes (H, W) uint8."""
        return augment(self.settings, spec, source, label)

    def prepared_size(self, spec: Preprocessing, size: Size) -> Size:
        """For windows the size that they slide over, with the image's own shape."""
        if self.settings.inference == "slide":
            covering, window = covering_size(size, spec.image_size), spec.image_size
            if covering[0] * covering[1] > MOST_WINDOWS * window[0] * window[1]:
                raise MaxViTError(
                    f"an image of {size[0]} x {size[1]} would be {covering[0]} x {covering[1]} for windows that slide, "
                    f"and at most {MOST_WINDOWS} times {window[0]} x {window[1]} are taken: cut it into pieces"
                )
            return covering
        return super().prepared_size(spec, size)

    def target(self, label: MaskFile, size: Size) -> Tensor:
        """The mask, (height, width) uint8."""
        return read_mask(label, size)

    def make_head(self, backbone: MaxViT, num_classes: int) -> SegmentationHead:
        """The decoder and its classifier."""
        return SegmentationHead(backbone.pyramid_channels, num_classes, self.settings)

    def for_photographs(self) -> str:
        """Its change of colours."""
        return "photometric distortion" if self.settings.photometric else ""

    def losses(self, network: nn.Module, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Cross-entropy, and the Dice loss if it is set."""
        return losses(network(images), targets, self.settings.dice_weight)

    def rehearse(self, network: nn.Module, images: Tensor) -> None:
        """With the loss, whose shares of each class are large."""
        self.losses(network, images, images.new_zeros(len(images), *images.shape[2:], dtype=torch.uint8))

    def predict(self, network: Forward, images: Tensor, sizes: Sequence[Size]) -> list[Tensor]:
        """The class of each pixel of each image."""
        return [classes_at(one, size) for one, size in zip(self._logits(network, images), sizes, strict=True)]

    def evaluate(
        self, network: Forward, images: Tensor, sizes: Sequence[Size], targets: Sequence[Tensor]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Cross-entropy at the size of each mask, and the predictions."""
        loss, predictions = classes_and_loss(self._logits(network, images), sizes, targets)
        return {"loss": loss}, predictions

    def metric(self, class_names: Sequence[str]) -> SegmentationMetric:
        """Mean intersection over union."""
        return SegmentationMetric(class_names)

    def panels(self, metric: SegmentationMetric, predictions: Sequence[Tensor]) -> Panels:
        """The classes that pixels are taken for."""
        return Panels(weakest_by="iou", confusions=Confusions(metric.class_names, metric.counts.numpy(), "pixels"))

    def draw_prediction(self, image: Image.Image, prediction: Tensor, class_names: Sequence[str]) -> Image.Image:
        """Classes coloured over the image."""
        return draw.draw(image, prediction, class_names)

    def draw_target(self, image: Image.Image, target: Tensor, class_names: Sequence[str]) -> Image.Image:
        """The same, and what is ignored as it is."""
        return draw.draw(image, target, class_names)

    def summary(self, prediction: Tensor, class_names: Sequence[str]) -> str:
        """The largest classes."""
        found = list(draw.shares(prediction, class_names).items())
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        return ", ".join(f"{name} {share:.1%}" for name, share in found[:5]) + more

    def to_json(self, prediction: Tensor, class_names: Sequence[str]) -> dict[str, Any]:
        """The share of the pixels of each class that is there."""
        return {
            "height": prediction.shape[0],
            "width": prediction.shape[1],
            "shares": draw.shares(prediction, class_names),
        }

    def check_out(self, out: Path) -> None:
        """A folder."""
        draw.check_folder_of_masks(out)

    def write(self, predictions: Iterable[tuple[str, Size, Tensor]], out: Path, class_names: Sequence[str]) -> None:
        """A folder of masks."""
        draw.write_masks(predictions, out, class_names)

    def export_spec(self, network: nn.Module, from_pixels: bool = False) -> ExportSpec:
        """The network itself: from images to logits (B, classes, H, W), of a window where windows slide."""
        return ExportSpec(network, ("logits",), of_pieces=self.settings.inference == "slide")

    def with_mirror(self, network: Forward) -> Forward:
        """The mean of the logits."""
        return Changed(network, lambda images: (network(images) + network(images.flip(-1)).flip(-1)) / 2)

    def _logits(self, network: Forward, images: Tensor) -> Tensor:
        if self.settings.inference == "whole":
            return network(images)
        return slide(network, images, network.preprocessing.image_size, self.settings.slide_stride)


TASK = Segmentation
