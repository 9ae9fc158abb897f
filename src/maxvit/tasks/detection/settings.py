"""What can be set of detection: the section `task` of a recipe."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from maxvit.tasks.network import TaskSettings

Detector = Literal["faster-rcnn", "mask-rcnn", "retinanet", "cascade-mask-rcnn"]
BoxHead = Literal["two-layers", "four-convolutions"]
Overlap = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Number = Annotated[int, Field(ge=1)]
STRIDES = (4, 8, 16, 32)


class DetectionSettings(TaskSettings):
    """Detector, anchors, what is kept, and the augmentation's scales."""

    name: Literal["detection"] = "detection"
    detector: Detector = Field("mask-rcnn", description="cascade-mask-rcnn: the paper's")
    strides: tuple[int, ...] = Field((8, 16, 32), description="maps of the backbone that the pyramid is built on")
    extra_levels: int = Field(1, ge=0, le=3, description="levels above them, each half as large as the one below")
    pyramid_channels: int = Field(256, ge=8)
    anchor_sizes: tuple[Positive, ...] | None = Field(
        None, description="side in pixels of the anchors of each level; null: 4 times its stride"
    )
    anchor_scales: tuple[Positive, ...] = Field((1.0,), min_length=1, description="each size times each of them")
    anchor_ratios: tuple[Positive, ...] = Field((0.5, 1.0, 2.0), min_length=1, description="height over width")
    box_head: BoxHead = Field("two-layers", description="four convolutions, then a layer: the paper's; retinanet: none")
    head_channels: int = Field(1024, ge=8, description="of the box heads' layers")
    overlaps: tuple[Overlap, ...] = Field(
        (0.5, 0.6, 0.7),
        min_length=1,
        description="from which on a box counts as the object, in each stage of a cascade; the paper's code: 0.6, 0.7",
    )
    mask_channels: int = Field(256, ge=8, description="of the mask head's convolutions")
    proposals: tuple[Number, Number] = Field(
        (1000, 1000),
        description="regions kept in training, and in evaluation; retinanet: anchors of a level, in evaluation",
    )
    samples: tuple[Number, Number] = Field(
        (256, 512), description="anchors and regions an image that the losses look at; retinanet: all"
    )
    score_threshold: float = Field(0.05, ge=0, lt=1)
    nms_threshold: float = Field(0.5, gt=0, le=1)
    detections: int = Field(100, ge=1, description="at most, of an image; the metrics look at the best 100")
    scale: tuple[float, float] = Field((0.1, 2.5), description="in training, of the image that just fits")
    flip: bool = Field(True, description="in training, half of the images are mirrored; not for characters")

    @field_validator("scale")
    @classmethod
    def _smaller_first(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if not 0 < scale[0] <= scale[1]:
            raise ValueError("give two factors above 0, the smaller one first")
        return scale

    @field_validator("strides")
    @classmethod
    def _neighbours(cls, strides: tuple[int, ...]) -> tuple[int, ...]:
        """Each level's map is twice as large as the next one's."""
        start = STRIDES.index(strides[0]) if strides and strides[0] in STRIDES else 0
        if not strides or strides != STRIDES[start : start + len(strides)]:
            raise ValueError(f"give neighbours of {STRIDES} in that order, such as (8, 16, 32)")
        return strides

    @field_validator("anchor_sizes")
    @classmethod
    def _one_a_level(cls, sizes: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
        """Each level has its size."""
        levels = len(info.data.get("strides", ())) + info.data.get("extra_levels", 0)
        if sizes is not None and levels and len(sizes) != levels:
            raise ValueError(f"give a size for each of the {levels} levels (strides and extra_levels), or null")
        return sizes
