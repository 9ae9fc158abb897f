"""Whether contenders compute the same, before any of them is timed."""

from dataclasses import dataclass

import numpy as np

from maxvit.benchmark.job import Contender, Precision, What
from maxvit.benchmark.runners import Answer

# the largest difference over the deviation
LIMITS: dict[tuple[What, Precision], float] = {
    ("inference", "fp32"): 1e-4,
    ("training", "fp32"): 1e-3,  # a gradient has passed the network twice, and batch statistics
    ("inference", "bf16"): 0.2,  # 8 bits of mantissa through some fifty layers
    ("training", "bf16"): 0.5,
}


@dataclass(frozen=True, slots=True)
class Agreement:
    """How near answers are to those of the plain network in fp32.

    Attributes:
        difference: The largest one over the deviation of the plain network's numbers (of the loss: over itself).
        top1: Share of images whose class is the same; None of training.
        images: How many images were compared.
    """

    difference: float
    top1: float | None
    images: int


def compare(answer: Answer, truth: Answer, images: int) -> Agreement:
    """Agreement of logits; or of a loss and a gradient, whose larger difference counts."""
    differences = []
    for name, given in answer.items():
        wanted = truth[name][: len(given)] if name == "logits" else truth[name]
        if given.shape != wanted.shape:
            return Agreement(float("inf"), None, images)
        scale = np.std(wanted) if wanted.size > 1 else np.abs(wanted).max()
        differences.append(float(np.abs(given - wanted).max() / scale))
    top1 = None
    if "logits" in answer:
        given = answer["logits"]
        top1 = float(np.mean(given.argmax(1) == truth["logits"][: len(given)].argmax(1)))
    return Agreement(max(differences), top1, images)


def why_refused(found: Agreement, contender: Contender, what: What, precision: Precision) -> str | None:
    """Why it is not timed, or None."""
    limit = LIMITS[what, precision]
    if not np.isfinite(found.difference):
        return "its answers are not finite, or of another shape"
    if contender.exact and found.difference > limit:
        return f"its answers differ by {found.difference:.1e} of their deviation, and {limit:g} is allowed"
    return None
