"""Cascade R-CNN: each stage refines the boxes of the one before, and is trained for a stricter overlap.

Reference: Cai and Vasconcelos, "Cascade R-CNN: Delving into High Quality Object Detection", arXiv 1712.00726.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, smooth_l1_loss
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, BoxCoder, Matcher
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, TwoMLPHead
from torchvision.models.detection.roi_heads import maskrcnn_inference, maskrcnn_loss
from torchvision.ops import box_iou, clip_boxes_to_image, remove_small_boxes

from maxvit.tasks.detection.nms import SMALLEST_SIDE, best
from maxvit.tasks.detection.pyramid import group_norm
from maxvit.tasks.detection.settings import DetectionSettings

BOX_SIDE = 7  # cells of a pooled box
POSITIVE = 0.25  # the share of objects among the sampled boxes that is aimed at


@dataclass(frozen=True, slots=True)
class Step:
    """What makes one stage differ from another.

    Attributes:
        overlap: From which on a box counts as the object.
        coder: By how much the box's offsets (x, y, width, height) are multiplied to be learnt.
        weight: Weight of the stage's losses.
    """

    overlap: float
    coder: tuple[float, float, float, float]
    weight: float


def make_steps(overlaps: Sequence[float]) -> list[Step]:
    """Offsets shrink from stage to stage, and so do the losses' weights as in the code of the cascade's authors."""
    return [
        Step(overlap, (10.0 * (i + 1), 10.0 * (i + 1), 5.0 * (i + 1), 5.0 * (i + 1)), 0.5**i)
        for i, overlap in enumerate(overlaps)
    ]


def make_box_head(settings: DetectionSettings) -> nn.Module:
    """From pooled boxes (n, C, 7, 7) to (n, head_channels): `box_head` says how."""
    channels = settings.pyramid_channels
    if settings.box_head == "two-layers":
        return TwoMLPHead(channels * BOX_SIDE**2, settings.head_channels)
    shape = (channels, BOX_SIDE, BOX_SIDE)
    return FastRCNNConvFCHead(shape, [channels] * 4, [settings.head_channels], norm_layer=group_norm)


class BoxStage(nn.Module):
    """One stage: it classifies boxes, and moves them, all classes alike.

    Args:
        step: What it is trained for.
        settings: Those of the box head and `samples` are used.
        num_classes: Without the background.
    """

    def __init__(self, step: Step, settings: DetectionSettings, num_classes: int) -> None:
        super().__init__()
        self.step = step
        self.head = make_box_head(settings)
        self.classes = nn.Linear(settings.head_channels, num_classes + 1)
        self.offsets = nn.Linear(settings.head_channels, 4)
        self.coder = BoxCoder(step.coder)
        self.matcher = Matcher(step.overlap, step.overlap, allow_low_quality_matches=False)
        self.sampler = BalancedPositiveNegativeSampler(settings.samples[1], POSITIVE)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, 1 + classes) and offsets (n, 4) of pooled boxes (n, C, h, w)."""
        x = self.head(pooled)
        return self.classes(x).float(), self.offsets(x).float()  # boxes need the precision

    def match(self, boxes: Tensor, truth: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """For each box the index of the object that it overlaps most, and its label, 0 where it overlaps too little."""
        if not (len(truth["boxes"]) and len(boxes)):
            nothing = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
            return nothing, nothing
        matched = self.matcher(box_iou(truth["boxes"], boxes))
        labels = truth["labels"][matched.clamp(min=0)]
        return matched.clamp(min=0), torch.where(matched >= 0, labels, 0)

    def sample(
        self, boxes: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Boxes to learn from, and of each its object and its label; a list has an entry an image."""
        found = [self.match(b, t) for b, t in zip(boxes, targets, strict=True)]
        drawn = zip(*self.sampler([labels for _, labels in found]), strict=True)
        chosen = [torch.where(positive | negative)[0] for positive, negative in drawn]
        return (
            [b[i] for b, i in zip(boxes, chosen, strict=True)],
            [matched[i] for (matched, _), i in zip(found, chosen, strict=True)],
            [labels[i] for (_, labels), i in zip(found, chosen, strict=True)],
        )

    def losses(
        self, logits: Tensor, offsets: Tensor, boxes: Tensor, objects: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Losses of classes and offsets, weighted, for boxes (n, 4) whose objects are boxes (n, 4) with labels (n,)."""
        there = labels > 0
        wanted = self.coder.encode_single(objects[there], boxes[there])
        number = max(1, len(labels))
        moved = smooth_l1_loss(offsets[there], wanted, beta=1 / 9, reduction="sum")
        classified = cross_entropy(logits, labels, reduction="sum")
        return self.step.weight * classified / number, self.step.weight * moved / number

    def refine(self, offsets: Tensor, boxes: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """The boxes where the offsets move them, cut at the image's border: some may be empty."""
        moved = self.coder.decode_single(offsets.detach(), torch.cat([*boxes]))
        parts = moved.split([len(b) for b in boxes])
        return [clip_boxes_to_image(b, size) for b, size in zip(parts, sizes, strict=True)]


class Cascade(nn.Module):
    """What `torchvision`'s `RoIHeads` is to Mask R-CNN: from proposals to boxes and masks.

    Args:
        pool: Called as torchvision's `MultiScaleRoIAlign`, for the boxes.
        masks: Three modules as in torchvision's `RoIHeads`: pool, head and predictor of the masks.
        settings: Settings of the detector; `overlaps` has a number for each stage.
        num_classes: Without the background.
    """

    def __init__(
        self,
        pool: nn.Module,
        masks: tuple[nn.Module, nn.Module, nn.Module],
        settings: DetectionSettings,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.settings, self.pool = settings, pool
        self.mask_pool, self.mask_head, self.mask_predictor = masks
        stages = nn.ModuleList(BoxStage(step, settings, num_classes) for step in make_steps(settings.overlaps))
        self.stages: Sequence[BoxStage] = stages  # type: ignore[assignment]

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        sizes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Predictions in evaluation, losses in training; the other is empty.

        Args:
            features: Levels of the pyramid.
            proposals: Boxes (n, 4) in pixels, an entry an image.
            sizes: (height, width) of each image.
            targets: In training, of each image: boxes (n, 4), labels (n,) from 1, masks (n, H, W).
        """
        if self.training:
            assert targets is not None
            return [], self._learn(features, proposals, sizes, targets)
        return self._answer(features, proposals, sizes), {}

    def _learn(
        self,
        features: dict[str, Tensor],
        boxes: list[Tensor],
        sizes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        """The losses, summed over the stages; masks are learnt on the boxes that enter the last stage."""
        classified, moved = [], []
        boxes = [torch.cat([b, t["boxes"].to(b)]) for b, t in zip(boxes, targets, strict=True)]
        for stage in self.stages:
            # a box that a stage has pushed out of the image cannot be encoded: none is empty at the first
            boxes = [b[remove_small_boxes(b, SMALLEST_SIDE)] for b in boxes]
            boxes, matched, labels = stage.sample(boxes, targets)
            logits, offsets = stage(self.pool(features, boxes, sizes))
            objects = torch.cat([_objects(t["boxes"], m) for t, m in zip(targets, matched, strict=True)])
            losses = stage.losses(logits, offsets, torch.cat(boxes), objects, torch.cat(labels))
            classified.append(losses[0])
            moved.append(losses[1])
            entered, boxes = boxes, stage.refine(offsets, boxes, sizes)
        there = [label > 0 for label in labels]
        entered = [b[i] for b, i in zip(entered, there, strict=True)]
        shapes = maskrcnn_loss(
            self.mask_predictor(self.mask_head(self.mask_pool(features, entered, sizes))),
            entered,
            [t["masks"] for t in targets],
            [t["labels"] for t in targets],
            [m[i] for m, i in zip(matched, there, strict=True)],
        )
        return {
            "loss_classifier": torch.stack(classified).sum(),
            "loss_box_reg": torch.stack(moved).sum(),
            "loss_mask": shapes,
        }

    def _answer(
        self, features: dict[str, Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        """Boxes of the last stage with the scores of all, averaged, and their masks."""
        shares = []
        for stage in self.stages:
            logits, offsets = stage(self.pool(features, boxes, sizes))
            shares.append(logits.softmax(1))
            boxes = stage.refine(offsets, boxes, sizes)
        scores = torch.stack(shares).mean(0)[:, 1:]  # (n, classes)
        number = scores.shape[1]
        labels = torch.arange(1, number + 1, device=scores.device)
        predictions = [
            best(b.repeat_interleave(number, 0), s.flatten(), labels.repeat(len(b)), self.settings)
            for b, s in zip(boxes, scores.split([len(b) for b in boxes]), strict=True)
        ]
        kept = [prediction["boxes"] for prediction in predictions]
        logits = self.mask_predictor(self.mask_head(self.mask_pool(features, kept, sizes)))
        masks = maskrcnn_inference(logits, [prediction["labels"] for prediction in predictions])
        return [{**prediction, "masks": mask} for prediction, mask in zip(predictions, masks, strict=True)]


def _objects(boxes: Tensor, matched: Tensor) -> Tensor:
    """The box of each match; of an image without objects, zeros."""
    return boxes[matched] if len(boxes) else boxes.new_zeros(len(matched), 4)
