"""Which weights training starts from: those of a run; or where nobody says it, the best that can be had here."""

from pathlib import Path

from maxvit.config import variant_name
from maxvit.create import look_for_weights, shipped_weights
from maxvit.errors import MaxViTError
from maxvit.tasks import load, task_for
from maxvit.tasks.network import has_own_head

FOLDER, PUBLISHED = "folder", "finetune-folder"  # recipes: for weights of the package, and for published ones
ON_GPU, ON_CPU = "maxvit_tiny:in1k-224", "maxvit_pico:rmlp-in1k-256"
SHORT = [
    "optimization.epochs=5",
    "optimization.warmup_epochs=0.5",
    "model.frozen_stages=2",
    "data.workers=0",
]  # on a CPU


def choose_start(model: str | None, on_gpu: bool) -> tuple[str, list[str], str]:
    """Published weights, from the hub or its cache; else those that come with the package.

    Args:
        model: The variant that was asked for; None: one that fits the machine.
        on_gpu: Whether there is a GPU.

    Returns:
        A recipe, settings to override, and in a sentence why there is nothing better; empty: there is not.

    Raises:
        MaxViTError: If a variant was asked for whose weights cannot be had.
    """
    wanted = model or (ON_GPU if on_gpu else ON_CPU)
    if model is not None and recipe_for(model) == FOLDER:
        return FOLDER, [f"model.name={model}"], ""
    if reason := why_not(wanted):
        if model is not None:
            raise MaxViTError(f"{reason}; --scratch starts from random weights")
        return FOLDER, [], reason
    name, _, tag = wanted.partition(":")
    settings = [f"model.name={name}", f"model.pretrained={tag or 'true'}"]
    return PUBLISHED, settings if on_gpu else [*settings, *SHORT], ""


def why_not(wanted: str) -> str:
    """Why published weights cannot be had, in a sentence; empty: they can."""
    try:
        look_for_weights(wanted)
    except MaxViTError as error:
        return f"the published weights {wanted} cannot be had: {str(error).partition(', and ')[0]}"
    return ""


def start_from(checkpoint: Path) -> tuple[str, str]:
    """The weights of a run or a checkpoint; of another task's network, the backbone alone.

    Returns:
        The variant, and a sentence that says so.

    Raises:
        MaxViTError: If it cannot be read, or is of no variant.
    """
    network = load(checkpoint)
    name = variant_name(network.config)
    if name is None:
        raise MaxViTError(
            f"{checkpoint} holds a network that is not one of maxvit list, and training starts from those alone"
        )
    what = "the weights" if has_own_head(network) else "the backbone, without the head,"
    return name, f"starts from {what} of {checkpoint}, which was trained for {task_for(network).name}"


def recipe_for(variant: str) -> str:
    """The recipe that classifies a folder from weights of a variant; that of published ones, unless it is small."""
    return FOLDER if shipped_weights(variant) else PUBLISHED
