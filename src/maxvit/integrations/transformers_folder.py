"""A classifier as a folder for transformers, which is imported only when one is written."""

from pathlib import Path

import torch

from maxvit import storage
from maxvit.errors import MaxViTError
from maxvit.tasks.network import Network, TaskNetwork


def save_transformers(model: Network, folder: str | Path) -> None:
    """Write a classifier as a folder that transformers loads, and `maxvit.load_model` too.

    transformers loads it by `AutoModelForImageClassification.from_pretrained(folder)`, `AutoImageProcessor` and
    `pipeline("image-classification", folder)`, once `maxvit.integrations.transformers` was imported; or with
    `trust_remote_code=True` where maxvit is installed.

    Args:
        model: For images, with two classes or more, or multi-label.
        folder: It is made if it does not exist; files of these names in it are replaced.

    Raises:
        MaxViTError: If it is for another task or other classes, transformers is not installed, or the folder cannot be
            written.
    """
    from maxvit.integrations.transformers import (
        MaxViTWrapperConfig,
        MaxViTWrapperForImageClassification,
        MaxViTWrapperImageProcessor,
    )

    if isinstance(model, TaskNetwork):
        raise MaxViTError(f"the network is for {model.settings.name}, and a classifier is wanted: write it with save")
    config = model.config
    if config.dims != 2 or config.num_classes < (1 if config.multi_label else 2):
        raise MaxViTError(
            f"the network is for maps of {config.dims} sides and {config.num_classes} classes; transformers takes "
            "images, and two classes or more"
        )
    model.check_savable()
    storage.check_folder(Path(folder))
    with torch.device("meta"):
        wrapper = MaxViTWrapperForImageClassification(MaxViTWrapperConfig.of(model))
    wrapper.load_state_dict(model.state_dict(), assign=True)
    wrapper.save_pretrained(folder)
    MaxViTWrapperImageProcessor(model.preprocessing.to_dict()).save_pretrained(folder)
