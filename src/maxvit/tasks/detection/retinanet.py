"""RetinaNet: one stage, which classifies and moves every anchor.

Reference: Lin et al., "Focal Loss for Dense Object Detection", arXiv 1708.02002. Head, losses and thresholds are those
of torchvision's `RetinaNet`; here they do not hold a backbone or resize images.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import box_iou, clip_boxes_to_image

from maxvit.tasks.detection.anchors import Anchors
from maxvit.tasks.detection.nms import best
from maxvit.tasks.detection.pyramid import Pyramid, group_norm
from maxvit.tasks.detection.settings import DetectionSettings

OBJECT, BACKGROUND = 0.5, 0.4  # overlaps: anchors from the first on are an object's, below the second nobody's


class RetinaNet(nn.Module):
    """The head of a one-stage detector.

    Args:
        pyramid: From the backbone's maps to the levels.
        anchors: Anchors of the levels.
        settings: `pyramid_channels`, `proposals` (the second: anchors of a level that are looked at in evaluation) and
            those of `best` are used.
        num_classes: Without the background.

    Attributes:
        strides: Strides of the maps that it takes.
    """

    def __init__(self, pyramid: Pyramid, anchors: Anchors, settings: DetectionSettings, num_classes: int) -> None:
        super().__init__()
        self.strides, self.settings = settings.strides, settings
        self.pyramid, self.anchors = pyramid, anchors
        number = anchors.num_anchors_per_location()[0]
        self.head = RetinaNetHead(settings.pyramid_channels, number, num_classes, norm_layer=group_norm)
        self.coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
        self.matcher = Matcher(OBJECT, BACKGROUND, allow_low_quality_matches=True)

    def forward(
        self, maps: Sequence[Tensor], size: tuple[int, int], targets: list[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training, predictions in evaluation. See `network.make_head`."""
        levels = list(self.pyramid(maps).values())
        said = {name: x.float() for name, x in self.head(levels).items()}  # boxes need the precision
        anchors = self.anchors.levels(levels)
        if self.training:
            assert targets is not None
            return self._losses(said, torch.cat(anchors), targets)
        return [
            best(*self.candidates(logits, offsets, anchors, size), self.settings)  # without what better ones overlap
            for logits, offsets in zip(said["cls_logits"], said["bbox_regression"], strict=True)
        ]

    def match(self, anchors: Tensor, truth: Mapping[str, Tensor]) -> Tensor:
        """For each anchor the index of its object, -1 for none, -2 where nothing is learnt."""
        if not len(truth["boxes"]):
            return torch.full((len(anchors),), Matcher.BELOW_LOW_THRESHOLD, device=anchors.device)
        matched: Tensor = self.matcher(box_iou(truth["boxes"], anchors))
        return matched

    def _losses(self, said: dict[str, Tensor], anchors: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """torchvision's; its head counts classes from 0 and so has none for the background."""
        matched = [self.match(anchors, truth) for truth in targets]
        shifted = [{"boxes": t["boxes"].to(anchors), "labels": t["labels"] - 1} for t in targets]
        losses: dict[str, Tensor] = self.head.compute_loss(shifted, said, [anchors] * len(targets), matched)
        return losses

    def candidates(
        self, logits: Tensor, offsets: Tensor, anchors: Sequence[Tensor], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The best anchors of each level of one image, moved: boxes (n, 4), scores (n,) and labels (n,)."""
        number = logits.shape[1]
        found = []
        lengths = [len(level) for level in anchors]
        for level, part, moves in zip(anchors, logits.split(lengths), offsets.split(lengths), strict=True):
            scores, places = part.sigmoid().flatten().topk(min(self.settings.proposals[1], part.numel()))
            rows = places // number
            boxes = self.coder.decode_single(moves[rows], level[rows])
            found.append((clip_boxes_to_image(boxes, size), scores, places % number + 1))
        boxes, scores, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
        return boxes, scores, labels
