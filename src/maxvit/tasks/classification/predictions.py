"""What probabilities say: the best classes, as a line, as plain values and as a row, also next to what is true."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from maxvit.config import THRESHOLD
from maxvit.tasks.protocols import Cell

LIMIT = 1.0  # of novelty; above it an image is none of the classes


class Judged(Tensor):
    """Probabilities (classes,) of an image that is known to be like those of training, or not.

    Attributes:
        novelty: See `maxvit.layers.novelty.Novelty`. What is computed of the probabilities is a plain tensor, without.
    """

    novelty: float
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def __deepcopy__(self, memo: dict[int, Any]) -> "Judged":
        copied = self.clone().as_subclass(Judged)
        copied.novelty = self.novelty
        return copied


def judged(probabilities: Tensor, novelty: Tensor | None) -> list[Tensor]:
    """Each image's probabilities, (classes,) on the CPU, with its novelty where that is known.

    Args:
        probabilities: (B, classes).
        novelty: (B,), or None.
    """
    if novelty is None:
        return list(probabilities.cpu())
    found = [one.as_subclass(Judged) for one in probabilities.cpu()]
    for one, value in zip(found, novelty.float().tolist(), strict=True):
        one.novelty = value
    return cast(list[Tensor], found)


def novelty_of(prediction: Tensor) -> float | None:
    """How far an image is from those of training, 1 at the limit; None: it is not known."""
    return prediction.novelty if isinstance(prediction, Judged) else None


class Best(NamedTuple):
    """The most probable classes of an image.

    Attributes:
        classes: Name and probability, the most probable first.
        predicted: How many of them, the first ones, reach the threshold. None: one class of many is predicted, the
            first.
        coverage: These are a set that holds the true class so often; None: they are labels (multi-label).
        novelty: Above `LIMIT` the image is none of the classes; None: not known.
    """

    classes: list[tuple[str, float]]
    predicted: int | None
    coverage: float | None = None
    novelty: float | None = None

    def as_line(self) -> str:
        """ "cat 90.0%, dog 7.0%"; of labels "none (highest: red 4.0%)", of a set "90% set: cat 80.0%, dog 12.0%".

        Before it, where the image is so, "none of these (novelty 1.83, above 1): ".
        """
        said = [f"{name} {p:.1%}" for name, p in self.classes]
        line = f"none (highest: {said[0]})" if self.predicted == 0 else ", ".join(said[: self.predicted])
        line = line if self.coverage is None else f"{100 * self.coverage:g}% set: {line}"
        return f"none of these (novelty {self.novelty:.2f}, above {LIMIT:g}): {line}" if self.is_none else line

    def as_json(self) -> dict[str, Any]:
        """The classes; of labels, with whether each is predicted; the set, with its coverage; and the novelty."""
        classes: list[dict[str, Any]] = [{"class": name, "probability": p} for name, p in self.classes]
        if self.coverage is None and self.predicted is not None:
            classes = [{**one, "predicted": place < self.predicted} for place, one in enumerate(classes)]
        said: dict[str, Any] = {"classes": classes}
        if self.coverage is not None:
            said |= {"coverage": self.coverage, "set": self._predicted}
        return said if self.novelty is None else {**said, "novelty": self.novelty, "none_of_these": self.is_none}

    def as_row(self, top_k: int) -> dict[str, Cell]:
        """ "predicted" or "set", joined by |, and "none_of_these", where known; class_1, probability_1 and so on."""
        row: dict[str, Cell] = {}
        if self.novelty is not None:
            row |= {"none_of_these": int(self.is_none), "novelty": self.novelty}
        if self.predicted is not None:
            row["predicted" if self.coverage is None else "set"] = "|".join(self._predicted)
        for place, (name, probability) in enumerate(self.classes[:top_k], 1):
            row |= {f"class_{place}": name, f"probability_{place}": probability}
        return row

    @property
    def is_none(self) -> bool:
        """Whether the image is none of the classes."""
        return self.novelty is not None and self.novelty > LIMIT

    @property
    def _predicted(self) -> list[str]:
        return [name for name, _ in self.classes[: self.predicted]]


def best_classes(
    probabilities: Tensor,
    class_names: Sequence[str],
    top_k: int,
    threshold: float | None,
    coverage: float | None = None,
) -> Best:
    """Names and probabilities of the most probable classes.

    Args:
        probabilities: (classes,), perhaps `Judged`.
        class_names: One per class.
        top_k: How many; fewer if there are fewer.
        threshold: All classes that reach it are among them. None: one class of many is predicted.
        coverage: That of the set of those that reach it; None: they are labels.
    """
    predicted = None if threshold is None else int((probabilities >= threshold).sum())
    best = probabilities.topk(min(max(top_k, predicted or 0), len(class_names)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return Best([(class_names[c], p) for c, p in pairs], predicted, coverage, novelty_of(probabilities))


def compared_with_class(
    probabilities: Tensor, target: Tensor, class_names: Sequence[str], top_k: int
) -> dict[str, Cell]:
    """The row of an evaluation with one class an image: the true class is that with the largest share."""
    best = best_classes(probabilities, class_names, top_k, None)
    prediction, confidence = best.classes[0]
    true = int(target if target.ndim == 0 else target.argmax())
    head: dict[str, Cell] = {"target": class_names[true], "prediction": prediction, "confidence": confidence}
    return {**head, "correct": int(probabilities.argmax() == true), **best.as_row(top_k)}


def compared_with_classes(
    probabilities: Tensor, target: Tensor, class_names: Sequence[str], threshold: float | None
) -> dict[str, Cell]:
    """The row of an evaluation with any number of classes an image; each has a column, as metrics need them all."""
    found = probabilities >= (THRESHOLD if threshold is None else threshold)
    sets = ["|".join(class_names[c] for c in shown.nonzero()[:, 0].tolist()) for shown in (target, found)]
    columns = {f"probability:{name}": p for name, p in zip(class_names, probabilities.tolist(), strict=True)}
    return {"target": sets[0], "prediction": sets[1], "correct": int((found == target).all()), **columns}
