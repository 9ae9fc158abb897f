"""What can be set of detection: the section `task` of a recipe."""

from typing import Literal

from pydantic import Field

from maxvit.tasks.task import TaskSettings

Detector = Literal["faster-rcnn", "mask-rcnn", "retinanet", "cascade-mask-rcnn"]


class DetectionSettings(TaskSettings):
    """Detector, anchors, what is kept, and the augmentation's scales."""

    name: Literal["detection"] = "detection"
    detector: Detector = Field("mask-rcnn", description="cascade-mask-rcnn: the paper's")
    strides: tuple[int, ...] = Field((8, 16, 32), description="maps of the backbone that the pyramid is built on")
    extra_levels: int = Field(1, ge=0, le=3, description="levels above them, each half as large as the one below")
    pyramid_channels: int = Field(256, ge=8)
    anchor_sizes: tuple[float, ...] | None = Field(
        None, description="side in pixels of the anchors of each level; null: 4 times its stride"
    )
    anchor_ratios: tuple[float, ...] = Field((0.5, 1.0, 2.0), description="height over width")
    head_channels: int = Field(1024, ge=8, description="of the box heads' two layers")
    mask_channels: int = Field(256, ge=8)
    proposals: tuple[int, int] = Field((1000, 1000), description="regions kept in training, and in evaluation")
    samples: tuple[int, int] = Field((256, 512), description="anchors and regions an image that the losses look at")
    score_threshold: float = Field(0.05, ge=0, lt=1)
    nms_threshold: float = Field(0.5, gt=0, le=1)
    detections: int = Field(100, ge=1, description="at most, of an image")
    scale: tuple[float, float] = Field((0.1, 2.5), description="in training, of the image that just fits")
    flip: bool = Field(True, description="in training, half of the images are mirrored; not for characters")
