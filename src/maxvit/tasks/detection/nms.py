"""Which boxes a detector predictions with, of all that it looked at."""

from torch import Tensor
from torchvision.ops import batched_nms, remove_small_boxes

from maxvit.tasks.detection.settings import DetectionSettings

SMALLEST_SIDE = 0.01  # pixels; below it a box has left the image


def best(boxes: Tensor, scores: Tensor, labels: Tensor, settings: DetectionSettings) -> dict[str, Tensor]:
    """Those above the threshold that no better one of their class overlaps, the best first.

    Args:
        boxes: (n, 4) xyxy, within the image.
        scores: (n,).
        labels: (n,).
        settings: `score_threshold`, `nms_threshold` and `detections` are used.
    """
    likely = scores > settings.score_threshold
    boxes, scores, labels = boxes[likely], scores[likely], labels[likely]
    there = remove_small_boxes(boxes, SMALLEST_SIDE)
    boxes, scores, labels = boxes[there], scores[there], labels[there]
    kept = batched_nms(boxes, scores, labels, settings.nms_threshold)[: settings.detections]
    return {"boxes": boxes[kept], "labels": labels[kept], "scores": scores[kept]}
