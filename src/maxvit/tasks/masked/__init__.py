"""Masked pre-training: from images without labels, by painting what is hidden of them (SimMIM, arXiv 2111.09886)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import torch
from PIL import Image
from torch import Tensor, nn

from maxvit.config import Fit, Preprocessing, Size
from maxvit.data.dataset import LabelledImages, part_to_evaluate
from maxvit.data.images import ImageLike, Source
from maxvit.data.random_crop import RandomPiece
from maxvit.data.transforms import normalise, preprocess, target_size
from maxvit.errors import MaxViTError
from maxvit.model import MaxViT
from maxvit.tasks.masked.data import read_unlabelled
from maxvit.tasks.masked.loss import hidden_error
from maxvit.tasks.masked.metric import ERROR, RELATIVE, MaskedMetric
from maxvit.tasks.masked.network import MaskedNetwork, Painter
from maxvit.tasks.masked.predictions import Painting, masked_picture, painted_picture, paintings, side_by_side
from maxvit.tasks.masked.settings import MaskedSettings
from maxvit.tasks.masked.units import drawn_cells, unit_for
from maxvit.tasks.protocols import Forward
from maxvit.tasks.task import Task


class Masked(Task):
    """Images have no labels. A prediction is a `Painting`; a target of training says which cells are hidden."""

    name = "masked"
    Settings = MaskedSettings
    recipe = "masked"
    batch_size = 32
    fits: ClassVar[tuple[Fit, ...] | None] = None  # what is learned later may want any
    reads_lists = True
    lower_is_better: ClassVar[frozenset[str]] = frozenset(("loss", ERROR, RELATIVE))
    usual_classes = 0
    not_counted = ""
    other_layout = "give a folder that holds images alone, as masks and the like would be learned from too"
    no_answer = "it paints what is hidden of an image, which answers no question"
    settings: MaskedSettings

    def parts(self, path: str) -> dict[str, LabelledImages]:
        """See `read_unlabelled`."""
        return read_unlabelled(path, self.columns)

    def load_eval(self, path: str, class_names: Sequence[str] | None) -> LabelledImages:
        """The test part, else the validation part, else all."""
        return part_to_evaluate(self.parts(path))

    def reads(self, data: Path, folder: Path) -> bool:
        """Any folder below is data."""
        return folder.is_relative_to(data.resolve())

    def unit(self, spec: Preprocessing) -> int:
        """The side of a square that is hidden, in pixels."""
        return self.settings.mask_unit or unit_for(spec.image_size)

    def says(self, spec: Preprocessing) -> str:
        """What is hidden."""
        height, width = spec.image_size
        smaller = "" if self.unit(spec) == 32 or self.settings.mask_unit else ", as images are below 128 pixels"
        share, unit = self.settings.mask_ratio, self.unit(spec)
        return f"hides {share:.0%} of each image of {height} x {width}, in squares of {unit} pixels{smaller}"

    def augment(self, spec: Preprocessing, source: Source, label: Any) -> tuple[Tensor, Tensor]:
        """A random piece of the image, perhaps mirrored, and which of its units are hidden."""
        aspect = spec.image_size[1] / spec.image_size[0]
        crop = RandomPiece(spec.image_size, self.settings.crop_area, (3 / 4 * aspect, 4 / 3 * aspect), spec)
        piece = crop(source)
        if self.settings.flip and torch.rand(()) < 0.5:
            piece = piece.flip(-1)
        cells = drawn_cells(spec.image_size, self.unit(spec), self.settings.mask_ratio)
        return normalise(spec, piece.permute(1, 2, 0).numpy()), cells

    def augmented_size(self, spec: Preprocessing, size: Size) -> Size:
        """The size of evaluation."""
        return target_size(spec, size)

    def prepare(self, spec: Preprocessing, image: ImageLike) -> Tensor:
        """As a classifier's, which may begin with these weights."""
        return preprocess(spec, image)

    def target(self, label: Any, size: Size) -> Tensor:
        """Nothing: the image is its own."""
        return torch.empty(0)

    def make_network(self, backbone: MaxViT, class_names: Sequence[str], new_head: bool = False) -> MaskedNetwork:
        """With a fresh decoder."""
        painter = Painter(backbone, self.unit(backbone.preprocessing), self.settings.mask_ratio)
        return MaskedNetwork(backbone, painter, class_names, self.settings)

    def losses(self, network: nn.Module, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The mean absolute error of hidden pixels, in standard deviations of pixels."""
        painted, hidden = network(images, targets)
        return {"loss": hidden_error(painted, hidden, images)}

    def predict(self, network: Forward, images: Tensor, sizes: Sequence[Size]) -> list[Painting]:
        """With the same units hidden in every image of a size."""
        painted, hidden = network(images)
        return paintings(network.preprocessing, images, painted, hidden)

    def evaluate(
        self, network: Forward, images: Tensor, sizes: Sequence[Size], targets: Sequence[Tensor]
    ) -> tuple[dict[str, Tensor], list[Painting]]:
        """The loss of the fixed units, and the paintings."""
        painted, hidden = network(images)
        found = paintings(network.preprocessing, images, painted, hidden)
        return {"loss": hidden_error(painted, hidden, images)}, found

    def metric(self, class_names: Sequence[str]) -> MaskedMetric:
        """The reconstruction error first."""
        return MaskedMetric()

    def draw_prediction(self, image: Image.Image, prediction: Painting, class_names: Sequence[str]) -> Image.Image:
        """The image as the network is shown it, with what was hidden in grey, and painted: side by side."""
        return side_by_side(prediction)

    def sample_pictures(
        self, image: Image.Image, prediction: Painting, target: Tensor, class_names: Sequence[str]
    ) -> Mapping[str, Image.Image]:
        """What the network saw, and what it painted."""
        return {"masked": masked_picture(prediction), "reconstruction": painted_picture(prediction)}

    def summary(self, prediction: Painting, class_names: Sequence[str]) -> str:
        """Such as "paints what is hidden to 12.3 of 255 levels"."""
        error, flat = prediction["error"], prediction["flat_error"]
        return f"paints what is hidden to {error:.1f} of 255 levels (one colour: {flat:.1f})"

    def to_json(self, prediction: Painting, class_names: Sequence[str]) -> dict[str, Any]:
        """The error, and that of one colour."""
        return {ERROR: prediction["error"], "flat_error": prediction["flat_error"]}

    def row(self, prediction: Painting, class_names: Sequence[str]) -> None:
        """None, so that an evaluation does not keep the pictures of all images."""
        return

    def export_spec(self, network: nn.Module, from_pixels: bool = False) -> NoReturn:
        """Refused."""
        raise MaxViTError(
            f"{self.name} is not exported: {self.no_answer}; train another task from it (--model RUN), and export that"
        )


TASK = Masked
