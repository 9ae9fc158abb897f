"""What probabilities say: the best classes, as a line, as plain values and as a row, also next to what is true."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from maxvit.config import THRESHOLD
from maxvit.tasks.task import Cell


class Best(NamedTuple):
    """The most probable classes of an image.

    Attributes:
        classes: Name and probability, the most probable first.
        predicted: Multi-label: how many of them, the first ones, reach the threshold. None: one class of many is
            predicted, the first.
    """

    classes: list[tuple[str, float]]
    predicted: int | None

    def as_line(self) -> str:
        """ "cat 90.0%, dog 7.0%"; or multi-label "none (highest: red 4.0%)"."""
        said = [f"{name} {p:.1%}" for name, p in self.classes]
        return f"none (highest: {said[0]})" if self.predicted == 0 else ", ".join(said[: self.predicted])

    def as_json(self) -> dict[str, Any]:
        """The classes; multi-label, with whether each is predicted."""
        classes: list[dict[str, Any]] = [{"class": name, "probability": p} for name, p in self.classes]
        if self.predicted is not None:
            classes = [{**one, "predicted": place < self.predicted} for place, one in enumerate(classes)]
        return {"classes": classes}

    def as_row(self, top_k: int) -> dict[str, Cell]:
        """Multi-label "predicted", joined by |; class_1, probability_1 and so on."""
        row: dict[str, Cell] = {}
        if self.predicted is not None:
            row["predicted"] = "|".join(name for name, _ in self.classes[: self.predicted])
        for place, (name, probability) in enumerate(self.classes[:top_k], 1):
            row |= {f"class_{place}": name, f"probability_{place}": probability}
        return row


def best_classes(probabilities: Tensor, class_names: Sequence[str], top_k: int, threshold: float | None) -> Best:
    """Names and probabilities of the most probable classes.

    Args:
        probabilities: (classes,).
        class_names: One per class.
        top_k: How many; fewer if there are fewer.
        threshold: Multi-label: all classes that reach it are among them. None: one class of many is predicted.
    """
    predicted = None if threshold is None else int((probabilities >= threshold).sum())
    best = probabilities.topk(min(max(top_k, predicted or 0), len(class_names)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return Best([(class_names[c], p) for c, p in pairs], predicted)


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
