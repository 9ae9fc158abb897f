"""Which images to evaluate a network on: not those that it learned from, where its checkpoint knows which they are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from maxvit.data.dataset import LabelledImages, Splits
from maxvit.data.record import fingerprint
from maxvit.errors import MaxViTError


def without_training(
    images: LabelledImages,
    place: str,
    provenances: Sequence[Mapping[str, Any]],
    redraw: Callable[[float, int], Splits],
    everything: bool = False,
) -> tuple[LabelledImages, str]:
    """The images that training held out, of data without a test or validation part that it trained on.

    Args:
        images: What the data holds out itself, else all of it: as `load_eval` gives them.
        place: Place of the data.
        provenances: Provenance of each network that predicts; of several, the images count that all of them held out.
        redraw: Reads the data and splits it as training does, from the share that is held out and the seed.
        everything: Evaluate on all images of such data.

    Returns:
        The images, and what a person should know of them; nothing, if there is nothing to know.

    Raises:
        MaxViTError: If `everything` is wanted of data that has a part of its own for this, or no image was held out by
            all networks.
    """
    if images.part != "all":
        if everything:
            raise MaxViTError(
                f"{place} has a part {images.part} to evaluate on, and --all is for data without: leave it out"
            )
        return images, ""
    if everything:
        return images, ""
    found = [_held_out(place, provenance, redraw) for provenance in provenances]
    known = [names for names in found if names is not None]
    if any(names == set() for names in known):
        return images, (
            f"{place} has changed since the training, so it is not known which images were held out: evaluated on all "
            f"{len(images):,}, those of training among them"
        )
    if not known:
        return images, ""
    held_out = set.intersection(*known)
    chosen = images.subset([i for i, name in enumerate(images.names) if name in held_out])
    if not len(chosen):
        raise MaxViTError(
            f"no image of {place} was held out by all {len(provenances)} networks, so none is new to them: evaluate on "
            "other data; --all evaluates on all, those of training among them"
        )
    number = f"{len(chosen):,} of {len(images):,}"
    sentence = f"evaluated on the {number} images that training held out: they chose the best epoch"
    return replace(chosen, part="val"), f"{sentence}; --all evaluates on all"


def _held_out(place: str, provenance: Mapping[str, Any], redraw: Callable[[float, int], Splits]) -> set[str] | None:
    """The names of the images that the training of one network held out; none, if the data has changed since.

    None, if training was on other data, or is not known.
    """
    known, recipe = provenance.get("images"), provenance.get("recipe")
    if not known or not recipe:
        return None
    try:
        data = redraw(float(recipe["data"]["val_fraction"]), int(recipe["seed"]))
    except MaxViTError:
        data = None  # it cannot be split, so training was on other data
    if data is not None and known == fingerprints(data):
        return set(data.val.names)
    return set() if Path(str(provenance.get("data"))).resolve() == Path(place).resolve() else None


def fingerprints(data: Splits) -> dict[str, str]:
    """The fingerprints of the training and validation images, as a checkpoint keeps them."""
    return {"train": fingerprint(data.train), "val": fingerprint(data.val)}
