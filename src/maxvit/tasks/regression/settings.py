"""What can be set of regression: the section `task` of a recipe."""

from typing import Literal

from pydantic import Field

from maxvit.tasks.network import TaskSettings
from maxvit.tasks.pieces import PieceArea


class RegressionSettings(TaskSettings):
    """Head, loss and augmentation."""

    name: Literal["regression"] = "regression"
    loss: Literal["huber", "mse"] = Field(
        "huber", description="huber: squares of small errors, sizes of large ones, so that wrong targets count less"
    )
    huber_delta: float = Field(1.0, gt=0, description="where small ends, in standard deviations of the target")
    dropout: float = Field(0.1, ge=0, lt=1, description="before the last layer")
    crop_area: PieceArea = Field(
        (0.8, 1.0),
        description="in training, of the largest piece that has the shape of data.image_size; [1, 1] where the target "
        "is a number or a size of what is in the image",
    )
    flip: bool = Field(True, description="in training, half of the images are mirrored; false where sides matter")
