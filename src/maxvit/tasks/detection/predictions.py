"""Predictions in the pixels of the image as it was decoded, and how they are told and written.

A prediction is a dictionary: "boxes" (n, 4) float32 left, top, right, bottom; "labels" (n,) int64, 1 for the first
class; "scores" (n,) float32, the highest first; and of detectors of masks "rle", n masks as pycocotools takes them.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

from maxvit.config import Size
from maxvit.errors import MaxViTError
from maxvit.storage import write_atomically
from maxvit.tasks.detection.masks import as_coco, encode
from maxvit.tasks.detection.objects import Ids
from maxvit.tasks.protocols import Predicted

_OFFICIAL = re.compile(r"(?:COCO_\w+_)?([0-9]{12})")  # names of COCO's own files hold the image's id; others may not
_SURE = 0.5  # the score from which an object is shown and told


def to_prediction(found: dict[str, Tensor], prepared: Size, size: Size) -> Predicted:
    """What a head found in an image of `prepared` pixels, in those of the original, on the CPU.

    Args:
        found: "boxes", "labels", "scores" and perhaps "masks" (n, h, w), probabilities within each box.
        prepared: (height, width) that the head saw.
        size: (height, width) of the original.
    """
    order = found["scores"].argsort(descending=True, stable=True)
    found = {name: tensor[order].detach().float().cpu() for name, tensor in found.items()}
    stretch = torch.tensor([size[1] / prepared[1], size[0] / prepared[0]] * 2)
    edges = torch.tensor([size[1], size[0]] * 2, dtype=torch.float32)
    boxes = (found["boxes"] * stretch).clamp(min=torch.zeros(4), max=edges)
    prediction: Predicted = {"boxes": boxes, "labels": found["labels"].long(), "scores": found["scores"]}
    if "masks" in found:  # one after another: a hundred at once are a hundred times the image
        prediction["rle"] = [_paste(mask, box, size) for mask, box in zip(found["masks"], boxes, strict=True)]
    return prediction


def _paste(mask: Tensor, box: Tensor, size: Size) -> dict[str, Any]:
    whole = paste_masks_in_image(mask[None, None], box[None], size)[0, 0] >= 0.5  # (H, W)
    return as_coco(encode(whole.numpy().astype(np.uint8)), size)


def sure(prediction: Predicted) -> Predicted:
    """The objects with a score of at least 0.5; without one, the best."""
    number = max(int((prediction["scores"] >= _SURE).sum()), 1)
    return {name: values[:number] for name, values in prediction.items()}


def sentence(prediction: Predicted, class_names: Sequence[str]) -> str:
    """How many of each class, with the best score of each."""
    prediction = sure(prediction)
    labels = prediction["labels"].tolist()
    numbers, best = Counter(labels), dict(zip(labels[::-1], prediction["scores"].tolist()[::-1], strict=True))
    parts = [f"{number} {class_names[label - 1]} ({best[label]:.2f})" for label, number in numbers.items()]
    return ", ".join(parts) or "nothing found"


def as_dict(prediction: Predicted, class_names: Sequence[str]) -> dict[str, Any]:
    """All objects as plain values: class, score, box [left, top, right, bottom] and perhaps a mask."""
    columns = zip(
        prediction["boxes"].tolist(), prediction["labels"].tolist(), prediction["scores"].tolist(), strict=True
    )
    objects: list[dict[str, Any]] = [
        {"class": class_names[label - 1], "score": score, "box": box} for box, label, score in columns
    ]
    for item, mask in zip(objects, prediction.get("rle", []), strict=False):
        item["mask"] = _as_text(mask)
    return {"objects": objects}


def _as_text(mask: dict[str, Any]) -> dict[str, Any]:
    return {"size": mask["size"], "counts": mask["counts"].decode("ascii")}


def check_out(out: Path) -> None:
    """Refuse, by `MaxViTError`, a file that is not named .json."""
    if out.suffix.lower() != ".json":
        raise MaxViTError(
            f"{out} is not a .json file, which COCO's results are: give one, such as {out.with_suffix('.json').name}"
        )


def write_results(
    predictions: Iterable[tuple[str, Predicted, Ids | None]], out: Path, class_names: Sequence[str]
) -> None:
    """Write COCO's results: a list of an object each.

    Args:
        predictions: Name of the image, prediction, and the ids of its data set. Where these are None, image_id is there
            for images that are named as COCO's own are; category ids are COCO's where all classes are COCO's, else
            1, 2, 3 in the order of the classes.
        out: A file.
        class_names: Class names of the network.

    Raises:
        MaxViTError: If `out` is not named .json, or cannot be written.
    """
    check_out(out)
    usual = category_ids(class_names)

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8") as file:
            file.write("[")
            between = "\n"
            for name, prediction, ids in predictions:
                image, categories = (_usual_id(name), usual) if ids is None else (ids.image, ids.categories)
                for result in _results(name, prediction, image, categories):
                    file.write(between + json.dumps(result))
                    between = ",\n"
            file.write("\n]\n")

    write_atomically(out, write)


def _usual_id(name: str) -> int | None:
    """The id in the name of an image of COCO's."""
    numbered = _OFFICIAL.fullmatch(Path(name).stem)
    return int(numbered[1]) if numbered else None


def _results(name: str, prediction: Predicted, image_id: int | None, ids: Sequence[int]) -> Iterable[dict[str, Any]]:
    image = {} if image_id is None else {"image_id": image_id}
    masks = prediction.get("rle", [None] * len(prediction["labels"]))
    columns = (prediction["boxes"].tolist(), prediction["labels"].tolist(), prediction["scores"].tolist(), masks)
    for (left, top, right, bottom), label, score, mask in zip(*columns, strict=True):
        box = [round(v, 2) for v in (left, top, right - left, bottom - top)]
        result = {**image, "file_name": name, "category_id": ids[label - 1], "bbox": box, "score": round(score, 5)}
        yield result if mask is None else {**result, "segmentation": _as_text(mask)}


def category_ids(class_names: Sequence[str]) -> list[int]:
    """COCO's ids, which have gaps, where all classes are COCO's; else from 1 on."""
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    official = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]  # 91 names; those of the gaps are "N/A"
    if all(name in official and name != "N/A" for name in class_names):
        return [official.index(name) for name in class_names]
    return list(range(1, len(class_names) + 1))
