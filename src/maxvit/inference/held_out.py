"""Which images to evaluate a network on: not those that it learned from, where its checkpoint knows which they are."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from maxvit.data.dataset import LabelledImages, Splits
from maxvit.data.record import fingerprint
from maxvit.errors import MaxViTError


def without_training(
    images: LabelledImages,
    place: str,
    provenance: Mapping[str, Any],
    redraw: Callable[[float, int], Splits],
    everything: bool = False,
) -> tuple[LabelledImages, str]:
    """The images that training held out, of data without a test or validation part that it trained on.

    Args:
        images: What the data holds out itself, else all of it: as `load_eval` gives them.
        place: Place of the data.
        provenance: Provenance of the network.
        redraw: Reads the data and splits it as training does, from the share that is held out and the seed.
        everything: Evaluate on all images of such data.

    Returns:
        The images, and what a person should know of them; nothing, if there is nothing to know.

    Raises:
        MaxViTError: If `everything` is wanted of data that has a part of its own for this.
    """
    if images.part != "all":
        if everything:
            raise MaxViTError(
                f"{place} has a part {images.part} to evaluate on, and --all is for data without: leave it out"
            )
        return images, ""
    known, recipe = provenance.get("images"), provenance.get("recipe")
    if everything or not known or not recipe:
        return images, ""
    try:
        data = redraw(float(recipe["data"]["val_fraction"]), int(recipe["seed"]))
    except MaxViTError:
        data = None  # it cannot be split, so training was on other data
    if data is not None and known == fingerprints(data):
        held_out = set(data.val.names)
        chosen = images.subset([i for i, name in enumerate(images.names) if name in held_out])
        number = f"{len(chosen):,} of {len(images):,}"
        sentence = f"evaluated on the {number} images that training held out: they chose the best epoch"
        return replace(chosen, part="val"), f"{sentence}; --all evaluates on all"
    if Path(str(provenance.get("data"))).resolve() == Path(place).resolve():
        return images, (
            f"{place} has changed since the training, so it is not known which images were held out: evaluated on all "
            f"{len(images):,}, those of training among them"
        )
    return images, ""


def fingerprints(data: Splits) -> dict[str, str]:
    """The fingerprints of the training and validation images, as a checkpoint keeps them."""
    return {"train": fingerprint(data.train), "val": fingerprint(data.val)}
