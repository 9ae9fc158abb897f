"""What can be set of aesthetics: the section `task` of a recipe."""

from typing import Literal, Self

from pydantic import Field, model_validator

from maxvit.tasks.network import TaskSettings


class AestheticsSettings(TaskSettings):
    """Head, loss and augmentation."""

    name: Literal["aesthetics"] = "aesthetics"
    dropout: float = Field(0.75, ge=0, lt=1, description="before the last layer; the paper's")
    exponent: float = Field(2.0, ge=1, description="r of the earth mover's distance that training makes small")
    crop_area: tuple[float, float] = Field(
        (0.8, 1.0), description="in training, of the largest piece that has the shape of data.image_size"
    )
    flip: bool = Field(True, description="in training, half of the images are mirrored")

    @model_validator(mode="after")
    def _check_crop_area(self) -> Self:
        low, high = self.crop_area
        if not 0 < low <= high <= 1:
            raise ValueError("crop_area takes two shares above 0, up to 1, the smaller one first")
        return self
