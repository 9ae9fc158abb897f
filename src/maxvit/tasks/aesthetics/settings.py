"""What can be set of aesthetics: the section `task` of a recipe."""

from typing import Literal

from pydantic import Field

from maxvit.tasks.network import TaskSettings
from maxvit.tasks.pieces import PieceArea


class AestheticsSettings(TaskSettings):
    """Head, loss and augmentation."""

    name: Literal["aesthetics"] = "aesthetics"
    dropout: float = Field(0.75, ge=0, lt=1, description="before the last layer; the paper's")
    exponent: float = Field(2.0, ge=1, description="r of the earth mover's distance that training makes small")
    crop_area: PieceArea = Field(
        (0.8, 1.0), description="in training, of the largest piece that has the shape of data.image_size"
    )
    flip: bool = Field(True, description="in training, half of the images are mirrored")
