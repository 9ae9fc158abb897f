"""Average precision as COCO defines it, computed by COCO's own code."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from maxvit.tasks.detection.masks import coco_library
from maxvit.tasks.protocols import Predicted, Target

Entry = dict[str, Any]
_AREAS = ("all", "small", "medium", "large")
_AT = {"50": 0, "75": 5}  # of the overlaps 0.50, 0.55, ... 0.95


class AveragePrecision:
    """Counts images; see `maxvit.tasks.protocols.Metric`.

    Args:
        class_names: Class names of the labels 1, 2, 3.
        with_masks: Whether masks are compared as well as boxes.
    """

    def __init__(self, class_names: Sequence[str], with_masks: bool) -> None:
        coco_library()  # if it is missing, before any work
        self.class_names, self.with_masks = class_names, with_masks
        self._images: list[tuple[list[Entry], list[Entry]]] = []  # targets and predictions of each
        self._made: tuple[int, dict[str, npt.NDArray[np.float64]]] | None = None

    def add(self, predictions: Sequence[Predicted], targets: Sequence[Target]) -> None:
        """Count some images: predictions as `to_prediction` gives them, targets as `Objects.to_compare` does."""
        for prediction, truth in zip(predictions, targets, strict=True):
            known = {"iscrowd": truth["crowd"].int().tolist(), "area": truth["areas"].tolist()}
            self._images.append(
                (_entries(truth, known), _entries(prediction, {"score": prediction["scores"].tolist()}))
            )

    def state(self) -> Any:
        """What was counted, as something that can be pickled."""
        return self._images

    def merge(self, state: Any) -> None:
        """Count what another process has counted."""
        self._images = self._images + state

    def compute(self) -> dict[str, float]:
        """`ap` is the mean over classes and overlaps; nan where no object of the truth is concerned."""
        precision = self._precision()
        boxes = precision["bbox"]
        metrics = {"ap": _mean(boxes[..., 0])}
        metrics |= {f"ap{name}": _mean(boxes[at, ..., 0]) for name, at in _AT.items()}
        if self.with_masks:
            masks = precision["segm"]
            metrics["mask_ap"] = _mean(masks[..., 0])
            metrics |= {f"mask_ap{name}": _mean(masks[at, ..., 0]) for name, at in _AT.items()}
        return metrics | {f"ap_{name}": _mean(boxes[..., i]) for i, name in enumerate(_AREAS) if i}

    def rows(self) -> list[dict[str, str | int | float]]:
        """For each class the number of objects, and average precision as in `compute`."""
        precision = self._precision()
        numbers = [0] * len(self.class_names)
        for targets, _ in self._images:
            for entry in targets:
                numbers[entry["category_id"] - 1] += not entry["iscrowd"]
        rows: list[dict[str, str | int | float]] = []
        for k, name in enumerate(self.class_names):
            row: dict[str, str | int | float] = {"class": name, "objects": numbers[k]}
            for kind, prefix in (("bbox", ""), ("segm", "mask_")):
                if kind in precision:
                    of_class = precision[kind][:, :, k, 0]  # (overlaps, recalls)
                    row |= {f"{prefix}ap": _mean(of_class), f"{prefix}ap50": _mean(of_class[0])}
            rows.append(row)
        return rows

    def _precision(self) -> dict[str, npt.NDArray[np.float64]]:
        """(overlaps, recalls, classes, areas) of boxes and masks, -1 where there is no object; kept until more come."""
        if self._made is None or self._made[0] != len(self._images):
            kinds = ("bbox", "segm") if self.with_masks else ("bbox",)
            self._made = len(self._images), {kind: self._evaluate(kind) for kind in kinds}
        return self._made[1]

    def _evaluate(self, kind: str) -> npt.NDArray[np.float64]:
        library = coco_library()
        targets, predictions = ([image[side] for image in self._images] for side in (0, 1))
        with contextlib.redirect_stdout(io.StringIO()):  # it prints a dozen lines
            coco = library.cocoeval.COCOeval(self._as_coco(targets), self._as_coco(predictions), kind)
            areas = range(len(_AREAS) if kind == "bbox" else 1)
            coco.params.areaRng = [coco.params.areaRng[i] for i in areas]
            coco.params.areaRngLbl = [coco.params.areaRngLbl[i] for i in areas]
            coco.params.maxDets = [100]
            if not self._images:
                return np.full((10, 101, len(self.class_names), len(areas)), -1.0)
            coco.evaluate()
            coco.accumulate()
        precision: npt.NDArray[np.float64] = coco.eval["precision"][..., 0]
        return precision

    def _as_coco(self, images: list[list[Entry]]) -> Any:
        """As if it had been read from a file; ids of objects begin at 1, as 0 means that nothing matches."""
        from pycocotools.coco import COCO

        coco = COCO()
        coco.dataset = {
            "images": [{"id": i, "height": 0, "width": 0} for i in range(len(images))],  # masks bring their size
            "categories": [{"id": k + 1} for k in range(len(self.class_names))],
            "annotations": list(_numbered(images)),
        }
        coco.createIndex()
        return coco


def _entries(objects: dict[str, Any], columns: dict[str, list[Any]]) -> list[Entry]:
    """An object each, as it stands in COCO's files."""
    boxes = objects["boxes"].double()
    sides = boxes[:, 2:] - boxes[:, :2]
    columns = {
        "bbox": [[*corner, *side] for corner, side in zip(boxes[:, :2].tolist(), sides.tolist(), strict=True)],
        "category_id": objects["labels"].tolist(),
        "area": sides.prod(1).tolist(),
        "iscrowd": [0] * len(boxes),
        **columns,
    }
    if "rle" in objects:
        columns["segmentation"] = objects["rle"]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _numbered(images: list[list[Entry]]) -> Iterator[Entry]:
    number = 0
    for i, entries in enumerate(images):
        for entry in entries:
            number += 1
            yield {**entry, "id": number, "image_id": i}


def _mean(precision: npt.NDArray[np.float64]) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if len(known) else float("nan")
