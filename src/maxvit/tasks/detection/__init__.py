"""Object detection and instance segmentation."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor, nn

from maxvit.config import Preprocessing, Size
from maxvit.data.dataset import LabelledImages, Splits
from maxvit.data.images import Source, decode
from maxvit.errors import MaxViTError
from maxvit.model import MaxViT
from maxvit.tasks.detection import predictions as said
from maxvit.tasks.detection.augment import jitter
from maxvit.tasks.detection.data import load_eval, load_splits, read_parts, recognizes
from maxvit.tasks.detection.draw import draw_objects
from maxvit.tasks.detection.metric import AveragePrecision
from maxvit.tasks.detection.objects import Objects
from maxvit.tasks.detection.settings import DetectionSettings
from maxvit.tasks.network import TaskNetwork
from maxvit.tasks.protocols import ExportSpec, Forward, Predicted, Target
from maxvit.tasks.task import Task


class Detection(Task):
    """Boxes of objects, their classes and, by detectors of masks, their pixels.

    `data.py` reads the formats of the data, a label is `Objects`, a prediction what `predictions.py` says.
    """

    name = "detection"
    Settings = DetectionSettings
    recipe = "detection"
    in_percent = frozenset(
        f"{mask}ap{at}" for mask in ("", "mask_") for at in ("", "50", "75", "_small", "_medium", "_large")
    )
    evaluated_file = "results.json"
    not_counted = "matching, pooling, non-maximum suppression and losses"
    settings: DetectionSettings

    @property
    def with_masks(self) -> bool:
        """Whether the detector learns masks."""
        return "mask" in self.settings.detector

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """Annotations in one of the formats, where they should be."""
        return recognizes(path)

    def load(self, path: str, val_fraction: float, seed: int) -> Splits:
        return load_splits(Path(path), val_fraction, seed, self.with_masks)

    def load_eval(self, path: str, class_names: Sequence[str] | None) -> LabelledImages:
        return load_eval(Path(path), class_names, self.with_masks)

    def parts(self, path: str) -> dict[str, LabelledImages]:
        """Without masks, which need not be there."""
        return read_parts(Path(path))

    def augment(self, spec: Preprocessing, source: Source, label: Objects) -> tuple[Tensor, Target]:
        image = decode(source, spec)
        label.check_size((image.height, image.width))
        return jitter(spec, image, label.to_learn(), self.settings.scale, self.settings.flip)

    def target(self, label: Objects, size: Size) -> Target:
        label.check_size(size)
        return label.to_compare()

    def make_head(self, backbone: MaxViT, num_classes: int) -> nn.Module:
        from maxvit.tasks.detection.network import make_head

        return make_head(self.settings, backbone, num_classes)

    def losses(self, network: nn.Module, images: Tensor, targets: Any) -> dict[str, Tensor]:
        from maxvit.tasks.detection.network import total

        if images.dtype == torch.float64:
            raise MaxViTError("engine.precision is fp64, which torchvision's detectors do not compute in: use fp32")

        return total(network(images, targets))

    def rehearse(self, network: nn.Module, images: Tensor) -> None:
        """All layers, on as many regions of each image as training looks at."""
        from maxvit.tasks.detection.network import rehearse

        rehearse(cast(TaskNetwork, network), self.settings, images)

    def predict(self, network: Forward, images: Tensor, sizes: Sequence[Size]) -> list[Predicted]:
        prepared = images.shape[2], images.shape[3]
        return [said.to_prediction(found, prepared, size) for found, size in zip(network(images), sizes, strict=True)]

    def metric(self, class_names: Sequence[str]) -> AveragePrecision:
        return AveragePrecision(class_names, self.with_masks)

    def draw_prediction(self, image: Image.Image, prediction: Predicted, class_names: Sequence[str]) -> Image.Image:
        """The objects with a score of at least 0.5; without one, the best."""
        prediction = said.sure(prediction)
        columns = zip(prediction["labels"].tolist(), prediction["scores"].tolist(), strict=True)
        return draw_objects(image, prediction, [f"{class_names[label - 1]} {score:.2f}" for label, score in columns])

    def draw_target(self, image: Image.Image, target: Target, class_names: Sequence[str]) -> Image.Image:
        columns = zip(target["labels"].tolist(), target["crowd"].tolist(), strict=True)
        names = [class_names[label - 1] + " (crowd)" * crowd for label, crowd in columns]
        return draw_objects(image, target, names)

    def summary(self, prediction: Predicted, class_names: Sequence[str]) -> str:
        return said.sentence(prediction, class_names)

    def to_json(self, prediction: Predicted, class_names: Sequence[str]) -> dict[str, Any]:
        return said.as_dict(prediction, class_names)

    def check_out(self, out: Path) -> None:
        """See `Task.check_out`; `out` is a .json file."""
        said.check_out(out)

    def write(self, predictions: Iterable[tuple[str, Size, Predicted]], out: Path, class_names: Sequence[str]) -> None:
        """See `Task.write`: COCO's results."""
        said.write_results(((name, prediction, None) for name, _, prediction in predictions), out, class_names)

    def write_evaluated(
        self, predictions: Iterable[tuple[str, Objects, Predicted]], out: Path, class_names: Sequence[str]
    ) -> None:
        """See `Task.write_evaluated`: COCO's results, with the data set's own ids where it has them."""
        said.write_results(((name, prediction, label.ids) for name, label, prediction in predictions), out, class_names)

    def export_spec(self, network: nn.Module, from_pixels: bool = False) -> ExportSpec:
        """From images to boxes, labels, scores and perhaps masks, of a fixed number: see `DetectionGraph`."""
        from maxvit.tasks.detection.export import DetectionGraph, difference

        module = DetectionGraph(cast(TaskNetwork, network), self.settings)
        return ExportSpec(module, module.outputs, any_batch=False, difference=difference)

    def from_export(self, outputs: Sequence[Tensor], from_pixels: bool) -> list[dict[str, Tensor]]:
        """The objects of each image; a score of 0 is none."""
        names = ("boxes", "labels", "scores", "masks")[: len(outputs)]
        images = zip(*outputs, strict=True)
        return [{name: values[found[2] > 0] for name, values in zip(names, found, strict=True)} for found in images]


TASK = Detection
