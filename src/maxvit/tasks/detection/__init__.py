"""Object detection and instance segmentation."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from PIL import Image
from torch import Tensor, nn

from maxvit.config import Preprocessing, Size
from maxvit.data.annotated import AnnotatedImages, AnnotatedSplits
from maxvit.data.images import ImageLike, decode
from maxvit.model import MaxViT
from maxvit.tasks.detection import predictions as said
from maxvit.tasks.detection.augment import jitter
from maxvit.tasks.detection.coco import find_annotations
from maxvit.tasks.detection.data import load_eval, load_splits
from maxvit.tasks.detection.draw import draw_objects
from maxvit.tasks.detection.metric import AveragePrecision
from maxvit.tasks.detection.objects import Objects
from maxvit.tasks.detection.settings import DetectionSettings
from maxvit.tasks.network import TaskNetwork
from maxvit.tasks.task import Answer, ExportSpec, Target, Task


class Detection(Task):
    """Boxes of objects, their classes and, by detectors of masks, their pixels.

    The data is in COCO's format (`coco.py`), an annotation is `Objects`, an answer what `answers.py` says.
    """

    name = "detection"
    Settings = DetectionSettings
    recipe = "detection"
    monitor = "ap"
    settings: DetectionSettings

    @property
    def with_masks(self) -> bool:
        """Whether the detector learns masks."""
        return "mask" in self.settings.detector

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """Annotations in COCO's format, where they should be."""
        return bool(find_annotations(path))

    def load(self, path: Path, val_fraction: float, seed: int) -> AnnotatedSplits:
        """See `Task.load`."""
        return load_splits(path, val_fraction, seed, self.with_masks)

    def load_eval(self, path: Path, class_names: Sequence[str]) -> AnnotatedImages:
        """See `Task.load_eval`."""
        return load_eval(path, class_names, self.with_masks)

    def augment(self, spec: Preprocessing, source: ImageLike, annotation: Objects) -> tuple[Tensor, Target]:
        """See `Task.augment`."""
        image = decode(source, spec)
        annotation.check_size((image.height, image.width))
        return jitter(spec, image, annotation.to_learn(), self.settings.scale, self.settings.flip)

    def target(self, annotation: Objects, size: Size) -> Target:
        """See `Task.target`."""
        annotation.check_size(size)
        return annotation.to_compare()

    def make_head(self, backbone: MaxViT, num_classes: int) -> nn.Module:
        """See `Task.make_head`."""
        from maxvit.tasks.detection.network import make_head

        return make_head(self.settings, backbone, num_classes)

    def losses(self, network: nn.Module, images: Tensor, targets: Any) -> dict[str, Tensor]:
        """See `Task.losses`."""
        from maxvit.tasks.detection.loss import total

        return total(network(images, targets))

    def answers(self, network: nn.Module, images: Tensor, sizes: Sequence[Size]) -> list[Answer]:
        """See `Task.answers`."""
        prepared = images.shape[2], images.shape[3]
        return [said.to_answer(found, prepared, size) for found, size in zip(network(images), sizes, strict=True)]

    def metric(self, class_names: Sequence[str]) -> AveragePrecision:
        """See `Task.metric`."""
        return AveragePrecision(class_names, self.with_masks)

    def draw_prediction(self, image: Image.Image, answer: Answer, class_names: Sequence[str]) -> Image.Image:
        """The objects with a score of at least 0.5; without one, the best."""
        answer = said.sure(answer)
        columns = zip(answer["labels"].tolist(), answer["scores"].tolist(), strict=True)
        return draw_objects(image, answer, [f"{class_names[label - 1]} {score:.2f}" for label, score in columns])

    def draw_target(self, image: Image.Image, truth: Target, class_names: Sequence[str]) -> Image.Image:
        """See `Task.draw_target`."""
        columns = zip(truth["labels"].tolist(), truth["crowd"].tolist(), strict=True)
        names = [class_names[label - 1] + " (crowd)" * crowd for label, crowd in columns]
        return draw_objects(image, truth, names)

    def summary(self, answer: Answer, class_names: Sequence[str]) -> str:
        """See `Task.summary`."""
        return said.sentence(answer, class_names)

    def to_json(self, answer: Answer, class_names: Sequence[str]) -> dict[str, Any]:
        """See `Task.to_json`."""
        return said.as_dict(answer, class_names)

    def write(self, answers: Iterable[tuple[str, Size, Answer]], out: Path, class_names: Sequence[str]) -> None:
        """See `Task.write`; `out` is a .json file of COCO's results."""
        said.write_results(answers, out, class_names)

    def export_spec(self, network: nn.Module) -> ExportSpec:
        """From images to boxes, labels, scores and perhaps masks, of a fixed number: see `DetectionGraph`."""
        from maxvit.tasks.detection.export import DetectionGraph, difference

        module = DetectionGraph(cast(TaskNetwork, network), self.settings)
        return ExportSpec(module, module.outputs, any_batch=False, difference=difference)


TASK = Detection
