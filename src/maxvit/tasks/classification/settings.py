"""What can be set of classification: the section `task` of a recipe."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from maxvit.tasks.classification.loss import Loss
from maxvit.tasks.network import TaskSettings

Share = Annotated[float, Field(gt=0, le=1)]
Augmentation = Literal["none", "characters", "photos"]


class ClassificationSettings(TaskSettings):
    """Loss, augmentation, and what is predicted."""

    name: Literal["classification"] = "classification"
    loss: Loss = Field("softmax", description="sigmoid: each class is a yes/no question (multi-label)")
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    class_weights: Literal["equal", "balanced"] = Field("equal", description="balanced: rare classes count as much")
    augmentation: Augmentation = "photos"
    rand_augment: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0, le=30)]] = Field(
        (2, 15), description="layers and magnitude, 0 to 30, of the photos' augmentation"
    )
    crop_area: tuple[Share, Share] = Field(
        (0.08, 1.0), description="share of an image that a crop shows, from and to, of the photos' augmentation"
    )
    inner_fields: int = Field(
        0, ge=0, description="classify inner maps too, as means in so many fields on a side; 0: the last map alone"
    )
    mixup: float = Field(0, ge=0, description="alpha of MixUp; 0: none")
    threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="multi-label: probability to predict a class from; null: the best for F1 in validation",
    )
    temperature: float | None = Field(
        None, gt=0, description="one class of many: what divides the logits; null: the best in validation"
    )
    top_k: int = Field(5, ge=1, description="classes to name in a prediction; multi-label: and all predicted ones")

    @field_validator("crop_area")
    @classmethod
    def _ordered(cls, area: tuple[float, float]) -> tuple[float, float]:
        if area[0] > area[1]:
            raise ValueError("the smallest share first, then the largest")
        return area
