"""What can be set of semantic segmentation: the section `task` of a recipe."""

from typing import Literal, Self

from pydantic import Field, model_validator

from maxvit.tasks.network import TaskSettings

Decoder = Literal["upernet", "unet", "fpn"]


class SegmentationSettings(TaskSettings):
    """Decoder, loss, augmentation, and how whole images are predicted."""

    name: Literal["segmentation"] = "segmentation"
    decoder: Decoder = Field("upernet", description="unet: the finest edges; fpn: the cheapest")
    finest_stride: Literal[2, 4] = Field(
        4, description="stride of the finest map of upernet and fpn; 2: thin things, in four to five times the work"
    )
    decoder_channels: int = Field(256, ge=64, multiple_of=64, description="of a U-Net at its coarsest level")
    dropout: float = Field(0.1, ge=0, lt=1, description="of whole channels, before the classifier")
    dice_weight: float = Field(0, ge=0, description="of the Dice loss, added to cross-entropy with weight 1")
    inference: Literal["whole", "slide"] = Field(
        "whole", description="slide: windows of image_size over the image, whose shorter side fits"
    )
    slide_stride: float = Field(2 / 3, gt=0, le=1, description="from window to window, as a share of its side")
    scale: tuple[float, float] = Field(
        (0.5, 2.0), description="in training, of the image whose shorter side is that of image_size"
    )
    flip: bool = Field(True, description="in training, half of the images are mirrored; not for characters")
    photometric: bool = Field(False, description="in training, contrast, saturation, hue and brightness vary")

    @model_validator(mode="after")
    def _check_scale(self) -> Self:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale is {self.scale}; it takes (smallest, largest) above 0")
        return self
