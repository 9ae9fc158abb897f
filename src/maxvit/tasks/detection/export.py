"""A detector as one graph, in which every tensor has a fixed size: what an exported file computes.

The same layers and weights, and the same predictions: where `nms.best` and torchvision take boxes out, here they keep
their places with a score of 0, and where torchvision pools a box from the level of its size, here it is pooled from
every level and that one is chosen.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, concat_box_prediction_layers
from torchvision.ops import MultiScaleRoIAlign, clip_boxes_to_image, nms, roi_align

from maxvit.config import Size
from maxvit.tasks.detection.cascade import Cascade
from maxvit.tasks.detection.network import TwoStage
from maxvit.tasks.detection.nms import SMALLEST_SIDE
from maxvit.tasks.detection.retinanet import RetinaNet
from maxvit.tasks.detection.settings import DetectionSettings
from maxvit.tasks.network import TaskNetwork

AT_A_TIME = 10  # times the objects that are predicted: boxes that overlapping is looked at for, the best first


class Found(NamedTuple):
    """Objects of one image, the best first; those from the first score of 0 on are none, and all 0."""

    boxes: Tensor  # (n, 4) xyxy
    labels: Tensor  # (n,) int64, from 1
    scores: Tensor  # (n,)


class DetectionGraph(nn.Module):
    """From images (B, C, H, W) to boxes (B, n, 4), labels (B, n), scores (B, n) and perhaps masks (B, n, 28, 28).

    n is `detections`, or less where there are fewer boxes. The best come first; a score of 0 is not an object. Boxes
    are in pixels of the image that goes in, masks are probabilities within the box; of no object all are 0. They are
    what the network gives, unless non-maximum suppression leaves fewer than `detections` of the best
    10 x `detections` boxes.

    Args:
        network: It is used, not copied.
        settings: Settings of its task.

    Attributes:
        outputs: Names of what comes out.
    """

    def __init__(self, network: TaskNetwork, settings: DetectionSettings) -> None:
        super().__init__()
        self.network, self.settings = network, settings
        self.outputs = ("boxes", "labels", "scores") + ("masks",) * ("mask" in settings.detector)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See the class; the number of images is part of the graph."""
        backbone, head = self.network.backbone, self.network.head
        size = images.shape[2], images.shape[3]
        levels = head.pyramid(backbone.forward_pyramid(images, head.strides))  # type: ignore[operator, arg-type]
        if isinstance(head, RetinaNet):
            predictions = self._one_stage(head, levels, size)
        else:
            assert isinstance(head, TwoStage)
            predictions = self._two_stages(head, levels, size)
        return tuple(torch.stack(values) for values in zip(*predictions, strict=True))

    def _one_stage(self, head: RetinaNet, levels: dict[str, Tensor], size: Size) -> list[tuple[Tensor, ...]]:
        said, maps = head.head(list(levels.values())), list(levels.values())
        anchors = head.anchors.levels(maps)
        return [
            best(*head.candidates(logits, offsets, anchors, size), self.settings)
            for logits, offsets in zip(said["cls_logits"], said["bbox_regression"], strict=True)
        ]

    def _two_stages(self, head: TwoStage, levels: dict[str, Tensor], size: Size) -> list[tuple[Tensor, ...]]:
        regions = head.regions
        predictions: list[tuple[Tensor, ...]] = []
        for i, boxes in enumerate(proposals(head.proposer, levels, size)):
            maps = {name: level[i : i + 1] for name, level in levels.items()}
            if isinstance(regions, Cascade):
                boxes, scores = _cascade(regions, maps, boxes, size)  # (n, classes, 4), (n, classes)
            else:
                boxes, scores = _torchvision(regions, maps, boxes, size)
            labels = torch.arange(1, scores.shape[1] + 1, device=scores.device).expand_as(scores)
            found = best(boxes.flatten(0, 1), scores.flatten(), labels.flatten(), self.settings)
            predictions.append((*found, _masks(regions, maps, found)) if "masks" in self.outputs else found)
        return predictions


def best(boxes: Tensor, scores: Tensor, labels: Tensor, settings: DetectionSettings) -> Found:
    """What `nms.best` finds."""
    there = (scores > settings.score_threshold) & _as_large_as(SMALLEST_SIDE, boxes)
    scores, order = torch.where(there, scores, 0).topk(min(AT_A_TIME * settings.detections, len(scores)))
    return _best(boxes[order], scores, labels[order], settings.nms_threshold, settings.detections)


def _as_large_as(side: float, boxes: Tensor) -> Tensor:
    """Which of boxes (n, 4) have such sides, (n,) bool."""
    return (boxes[:, 2:] - boxes[:, :2] >= side).all(1)


def _best(boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float, number: int) -> Found:
    """The best boxes that no better one of their label overlaps; scores are above 0, or 0 for no box."""
    apart = labels * (boxes.max() + 1)  # torchvision's trick: what has different labels does not overlap
    # One more, of no area: nothing overlaps it, and an exported program fails where torchvision keeps fewer than two.
    scores = pad(scores, (0, 1))
    kept = nms(pad(boxes + apart[:, None], (0, 0, 0, 1)), scores, overlap)
    scores = (scores * torch.zeros_like(scores).index_fill(0, kept, 1))[:-1]  # `kept` has a size of its own: to places
    scores, order = scores.topk(min(number, len(scores)))
    there = scores > 0
    return Found(boxes[order] * there[:, None], labels[order] * there, scores)


def proposals(proposer: RegionProposalNetwork, levels: dict[str, Tensor], size: Size) -> list[Tensor]:
    """For each image torchvision's proposals, boxes (n, 4).

    Where there are fewer they are 0. Such a box stays without area however it is moved: it is not an object.
    """
    maps = list(levels.values())
    objectness, offsets = proposer.head(maps)
    anchors: Sequence[Tensor] = proposer.anchor_generator.levels(maps)
    lengths = [len(level) for level in anchors]
    images = len(maps[0])
    scores, moves = concat_box_prediction_layers(objectness, offsets)
    found = []
    for some, shifts in zip(scores.reshape(images, -1), moves.reshape(images, -1, 4), strict=True):
        parts = []
        for i, (level, s, m) in enumerate(zip(anchors, some.split(lengths), shifts.split(lengths), strict=True)):
            likely, places = s.topk(min(proposer.pre_nms_top_n(), len(s)))
            boxes = clip_boxes_to_image(proposer.box_coder.decode_single(m[places], level[places]), size)
            parts.append((boxes, likely.sigmoid(), torch.full_like(places, i)))
        boxes, likely, of_level = (torch.cat(values) for values in zip(*parts, strict=True))
        likely = torch.where(_as_large_as(proposer.min_size, boxes), likely, 0)
        found.append(_best(boxes, likely, of_level, proposer.nms_thresh, proposer.post_nms_top_n()).boxes)
    return found


def _torchvision(regions: RoIHeads, maps: dict[str, Tensor], boxes: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Boxes (n, classes, 4) and scores (n, classes) of Faster and Mask R-CNN."""
    logits, offsets = regions.box_predictor(regions.box_head(_pool(regions.box_roi_pool, maps, boxes)))
    moved = regions.box_coder.decode_single(offsets, boxes).reshape(len(boxes), -1, 4)
    return clip_boxes_to_image(moved, size)[:, 1:], logits.softmax(1)[:, 1:]


def _cascade(regions: Cascade, maps: dict[str, Tensor], boxes: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """The same of Cascade Mask R-CNN, whose classes share a box."""
    shares = []
    for stage in regions.stages:
        logits, offsets = stage(_pool(regions.pool, maps, boxes))
        shares.append(logits.softmax(1))
        (boxes,) = stage.refine(offsets, [boxes], [size])
    scores = torch.stack(shares).mean(0)[:, 1:]
    return boxes[:, None].expand(-1, scores.shape[1], -1), scores


def _masks(regions: nn.Module, maps: dict[str, Tensor], found: Found) -> Tensor:
    """Probabilities (n, 28, 28) within each box."""
    pool = regions.mask_pool if isinstance(regions, Cascade) else regions.mask_roi_pool
    logits = regions.mask_predictor(regions.mask_head(_pool(pool, maps, found.boxes)))  # type: ignore[operator]
    return logits.sigmoid()[torch.arange(len(logits)), found.labels] * (found.scores > 0)[:, None, None]


def _pool(pool: MultiScaleRoIAlign, maps: dict[str, Tensor], boxes: Tensor) -> Tensor:
    """Boxes (n, 4) of one image, each from the level of its size, (n, C, h, w)."""
    of_image = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], 1)
    level = pool.map_levels([boxes])[:, None, None, None]
    parts = [
        roi_align(maps[name], of_image, pool.output_size, scale, pool.sampling_ratio)
        for name, scale in zip(pool.featmap_names, pool.scales, strict=True)
    ]
    pooled = parts[0]
    for i, part in enumerate(parts[1:], 1):
        pooled = torch.where(level == i, part, pooled)
    return pooled


def difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """How far the objects of a file are from those of the network: 0 not at all.

    Each object of one is compared with the nearest of its class in the same image of the other: boxes as shares of the
    largest coordinate, scores and masks as they are; infinite where there is none of its class. Where scores or
    overlaps are equal but for rounding, another box may be kept: of every fifty objects the farthest is left out.

    Args:
        found: Outputs of the file, in the order of `DetectionGraph.outputs`.
        expected: Outputs of the network.
    """
    if not all(values.isfinite().all() for values in (*found, *expected)):
        return torch.inf  # the distances below pass over what is not a number
    extent = max(float(expected[0].abs().max()), 1.0)
    apart: list[Tensor] = []
    for ours, theirs in zip(zip(*expected, strict=True), zip(*found, strict=True), strict=True):
        (boxes, labels, scores, *masks), other = _objects(ours), _objects(theirs)
        gaps = torch.cdist(boxes, other[0], p=torch.inf) / extent  # (objects of ours, of theirs)
        gaps = gaps.maximum((scores[:, None] - other[2]).abs())
        if masks:
            gaps = gaps.maximum(torch.cdist(masks[0].flatten(1), other[3].flatten(1), p=torch.inf))
        gaps = torch.where(labels[:, None] == other[1], gaps, torch.inf)
        apart += [_least(gaps, 1), _least(gaps, 0)]
    ordered = torch.cat(apart).sort().values
    return float(ordered[: len(ordered) - len(ordered) // 50].max()) if len(ordered) else 0.0


def _objects(outputs: Sequence[Tensor]) -> list[Tensor]:
    return [values[outputs[2] != 0] for values in outputs]


def _least(gaps: Tensor, axis: int) -> Tensor:
    """The least along an axis, infinite if there is nothing."""
    return gaps.amin(axis) if gaps.shape[axis] else gaps.new_full((gaps.shape[1 - axis],), torch.inf)
