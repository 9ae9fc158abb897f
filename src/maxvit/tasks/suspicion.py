"""A label that looks wrong, as a task finds it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A label that looks wrong.

    Attributes:
        image: Index of the image.
        given: Index of the class that it has as its label.
        likely: Index of the class that it looks like.
        likely_probability: Probability of that class, 0 to 1, from a regression that did not see the image.
        given_probability: Probability of the class that is given.
    """

    image: int
    given: int
    likely: int
    likely_probability: float
    given_probability: float

    def to_json(self, names: Sequence[str], class_names: Sequence[str]) -> dict[str, Any]:
        """As plain values, image and classes by their names."""
        return {
            "image": names[self.image],
            "class": class_names[self.given],
            "probability": self.given_probability,
            "likely": class_names[self.likely],
            "likely_probability": self.likely_probability,
        }
