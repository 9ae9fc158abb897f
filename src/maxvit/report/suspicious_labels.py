"""What a report shows of labels that look wrong."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from maxvit.data.dataset import LabelledImages
from maxvit.data.images import decode_shown
from maxvit.errors import MaxViTError
from maxvit.report.page import Picture, SuspiciousLabels
from maxvit.tasks.network import Network
from maxvit.tasks.panels import MOST_MISTAKES, Mistake, Mistakes, Named
from maxvit.training.suspicious_labels import read_suspicious

_SIDE = 192  # pixels of a picture


def suspicious_labels(run: Path, network: Network, images: LabelledImages, data: str) -> SuspiciousLabels | None:
    """What the first look of a run has found; None: labels were not judged.

    Args:
        run: The run folder.
        network: It says how images are decoded.
        images: Those of training. One that is gone, or cannot be read any more, is not shown.
        data: Place of the data.

    Raises:
        MaxViTError: If what was found is damaged.
    """
    if (found := read_suspicious(run)) is None:
        return None
    number, first = len(found), found[:MOST_MISTAKES]
    correct = f"to correct {'it' if number == 1 else 'them'}: maxvit check {shlex.quote(data)} --out FOLDER"
    return SuspiciousLabels(
        found,
        _verdict(number, correct),
        Mistakes(
            number,
            f"{number:,} training {'image looks' if number == 1 else 'images look'} like another class to a regression "
            "on the others; the least probable label comes first. Some labels may be right: look at each. "
            f"{correct[0].upper()}{correct[1:]}.",
            [_wrong(row, one) for row, one in enumerate(first)],
        ),
        _pictures(first, network, images),
    )


def _verdict(number: int, correct: str) -> str:
    if not number:
        return ""
    looks, them = ("1 training label looks", "it") if number == 1 else (f"{number:,} training labels look", "them")
    return f"{looks} wrong: the report shows {them}; {correct}"


def _wrong(row: int, one: Mapping[str, Any]) -> Mistake:
    return Mistake(
        row,
        [
            Named("label", [(one["class"], None)], is_wrong=True),
            Named("looks like", [(one["likely"], one["likely_probability"])]),
        ],
    )


def _pictures(found: Sequence[Mapping[str, Any]], network: Network, images: LabelledImages) -> dict[int, Picture]:
    """By the row of `found`."""
    wanted = {one["image"] for one in found}
    places = {name: i for i, name in enumerate(images.names) if name in wanted}
    pictures = {}
    for row, one in enumerate(found):
        if (place := places.get(one["image"])) is not None:
            try:
                image = decode_shown(images.sources[place], network.preprocessing)
            except MaxViTError:  # it could be read then; the report is about more than this image
                continue
            image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
            pictures[row] = Picture(one["image"], image)
    return pictures
