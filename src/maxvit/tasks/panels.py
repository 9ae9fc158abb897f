"""What a task shows of an evaluation besides its metrics. The task says what there is, and a page draws it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

MOST_MISTAKES = 24


@dataclass(frozen=True, slots=True)
class Confusions:
    """How often each class was taken for each other one.

    Attributes:
        class_names: One for each row and column.
        counts: (classes, classes) int64, targets by predictions.
        unit: What is counted.
    """

    class_names: Sequence[str]
    counts: npt.NDArray[np.int64]
    unit: str = "images"


@dataclass(frozen=True, slots=True)
class Bin:
    """The predictions whose confidence is above `low` and at most `high`; without any, the two means are 0."""

    low: float
    high: float
    images: int
    confidence: float  # mean
    accuracy: float


@dataclass(frozen=True, slots=True)
class Scatter:
    """Predicted numbers beside their targets.

    Attributes:
        name: What is predicted.
        targets: (images,) float64.
        predictions: Likewise.
    """

    name: str
    targets: npt.NDArray[np.float64]
    predictions: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Named:
    """Some classes of an image, each with its probability, if that is to be shown.

    Attributes:
        what: "prediction", "target", "missed" and so on.
        classes: Name and probability.
        is_wrong: Whether they are a mistake.
    """

    what: str
    classes: Sequence[tuple[str, float | None]]
    is_wrong: bool = False


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with a prediction, or with an image.

    Attributes:
        row: Row of the samples of the evaluation.
        classes: What was predicted, and what is there.
    """

    row: int
    classes: Sequence[Named]


@dataclass(frozen=True, slots=True)
class Mistakes:
    """The predictions that are wrong, or the images that are none of the classes.

    Attributes:
        number: How many there are.
        sentence: How many there are, and in which order they come.
        worst: The first of them.
    """

    number: int
    sentence: str
    worst: Sequence[Mistake]


@dataclass(frozen=True, slots=True)
class Panels:
    """What a task shows; none of it has to be there.

    Attributes:
        facts: More of the result, as text.
        weakest_by: The column of the metric's rows by which they are sorted, the lowest first; empty: as they are.
        samples: Rows of the samples that are worth a look; None: any.
        confusions: Confusion matrix of the classes.
        reliability: Bins of confidence, the lowest first.
        mistakes: The worst predictions.
        scatters: One for each number that is predicted.
        refused: Images that are none of the classes, as far as the network can tell.
    """

    facts: Mapping[str, str] = field(default_factory=dict)
    weakest_by: str = ""
    samples: Sequence[int] | None = None
    confusions: Confusions | None = None
    reliability: Sequence[Bin] = ()
    mistakes: Mistakes | None = None
    scatters: Sequence[Scatter] = ()
    refused: Mistakes | None = None
