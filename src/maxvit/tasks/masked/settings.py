"""What can be set of masked pre-training: the section `task` of a recipe."""

from typing import Annotated, Literal

from pydantic import Field

from maxvit.tasks.network import TaskSettings

Share = Annotated[float, Field(gt=0, le=1)]


class MaskedSettings(TaskSettings):
    """What is hidden, and augmentation."""

    name: Literal["masked"] = "masked"
    mask_ratio: float = Field(0.6, gt=0, lt=1, description="share of an image that is hidden")
    mask_unit: Literal[4, 8, 16, 32] | None = Field(
        None,
        description="side in pixels of the squares that are hidden; null: 32, or what data.image_size has four of on "
        "its shorter side",
    )
    crop_area: tuple[Share, Share] = Field(
        (0.67, 1.0), description="share of an image that training shows, from and to"
    )
    flip: bool = Field(True, description="in training, half of the images are mirrored; false where sides matter")
