"""What is known of the objects in one image, small enough that a list of a hundred thousand stays in memory."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from maxvit.config import Size
from maxvit.errors import MaxViTError
from maxvit.tasks.detection.masks import as_coco, decode
from maxvit.tasks.protocols import Target


@dataclass(frozen=True, slots=True)
class Ids:
    """What a data set in COCO's format calls an image and the classes, for files of results.

    Attributes:
        image: Id of the image.
        categories: Id of each class of `LabelledImages.class_names`; of one that the data set lacks, an id of its own.
    """

    image: int
    categories: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Objects:
    """The annotation of an image with n objects.

    Attributes:
        name: Name of the image, for messages.
        size: (height, width) in pixels.
        boxes: (n, 4) float32: left, top, right, bottom, within the image.
        labels: (n,) int64, 1 for the first class.
        crowd: (n,) bool: a box around many objects, which no prediction is blamed for.
        areas: (n,) float64, in pixels, which say what is small, medium or large.
        masks: Run lengths, one an object; None where masks are not wanted.
        ids: The data set's own ids, where its format has them; they are no part of the annotation.
    """

    name: str
    size: Size
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]
    areas: npt.NDArray[np.float64]
    masks: tuple[bytes, ...] | None
    ids: Ids | None = field(default=None, compare=False)

    def to_learn(self) -> Target:
        """Boxes, labels and, of masks, pixels (n, H, W) uint8; without crowds."""
        kept = ~self.crowd
        truth = {"boxes": torch.from_numpy(self.boxes[kept]), "labels": torch.from_numpy(self.labels[kept])}
        if self.masks is not None:
            masks = [mask for mask, keep in zip(self.masks, kept, strict=True) if keep]
            truth["masks"] = torch.from_numpy(decode(masks, self.size))
        return truth

    def to_compare(self) -> Target:
        """All there is; "rle" holds masks as pycocotools takes them."""
        names = ("boxes", "labels", "crowd", "areas")
        truth: Target = {name: torch.from_numpy(getattr(self, name)) for name in names}
        if self.masks is not None:
            truth["rle"] = [as_coco(mask, self.size) for mask in self.masks]
        return truth

    def check_size(self, size: Size) -> None:
        """Refuse an image that is not as large as the data set says: its boxes would be elsewhere."""
        if size != self.size:
            given, said = (f"{height} x {width}" for height, width in (size, self.size))
            raise MaxViTError(
                f"{self.name} is {given} pixels (height x width, upright), and the annotations say {said}: "
                "annotate the image as it is seen, or remove it"
            )
