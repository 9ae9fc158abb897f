"""What can be set of classification: the section `task` of a recipe."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from maxvit.tasks.classification.conformal import threshold_for
from maxvit.tasks.classification.loss import Loss
from maxvit.tasks.network import TaskSettings

Share = Annotated[float, Field(gt=0, le=1)]
Augmentation = Literal["none", "characters", "photos"]


class SetThresholds(BaseModel):
    """What a network knows of prediction sets: see `maxvit.tasks.classification.conformal`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    temperature: float
    thresholds: tuple[Annotated[float, Field(ge=0, le=1)], ...]  # at this temperature


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
    distillation_weight: float = Field(
        0.9, gt=0, le=1, description="with model.teacher: share of its answers in the loss; 1: no labels"
    )
    distillation_temperature: float = Field(
        4.0, gt=0, description="with model.teacher, one class of many: what softens its answers"
    )
    threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="multi-label: probability to predict a class from; null: the best for F1 in validation",
    )
    temperature: float | None = Field(
        None, gt=0, description="one class of many: what divides the logits; null: the best in validation"
    )
    set_thresholds: SetThresholds | None = Field(
        None, description="of sets of classes; training finds them in validation"
    )
    coverage: float | None = Field(
        None,
        ge=0.5,
        lt=1,
        description="how often the set of classes in a prediction holds the true one; null: no set",
    )
    top_k: int = Field(5, ge=1, description="classes to name in a prediction; multi-label: and all predicted ones")

    @field_validator("crop_area")
    @classmethod
    def _ordered(cls, area: tuple[float, float]) -> tuple[float, float]:
        if area[0] > area[1]:
            raise ValueError("the smallest share first, then the largest")
        return area

    @field_validator("coverage")
    @classmethod
    def _known(cls, coverage: float | None, others: ValidationInfo) -> float | None:
        given = others.data
        if coverage is None or not {"loss", "temperature", "set_thresholds"} <= given.keys():  # which is said of them
            return coverage
        if given["loss"] == "sigmoid":
            raise ValueError(
                "each class is a question of its own (multi-label), and threshold says which are predicted"
            )
        known = given["set_thresholds"]
        if known is not None and (given["temperature"] or 1.0) != known.temperature:
            raise ValueError(f"sets are known at temperature {known.temperature:g}: leave temperature out")
        threshold_for(known.thresholds if known else (), coverage)
        return coverage

    @property
    def set_threshold(self) -> float | None:
        """The probability from which a class belongs to the set; None: no set was asked for."""
        if self.coverage is None or self.set_thresholds is None:
            return None
        return threshold_for(self.set_thresholds.thresholds, self.coverage)
