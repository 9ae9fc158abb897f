"""Weights and images that all contenders of a case share, as files: workers are told names alone."""

import dataclasses
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from maxvit.benchmark.job import Weights
from maxvit.benchmark.peers import torchvision_network
from maxvit.checkpoints.timm import save_for_timm
from maxvit.checkpoints.torchvision import from_torchvision
from maxvit.config import MaxViTConfig, Size
from maxvit.description import describe
from maxvit.model import MaxViT

SEED = 0


def write_weights(folder: Path, config: MaxViTConfig, image_size: Size, weights: Weights) -> None:
    """Write one network as our file, and as one for the package that has it too.

    Args:
        folder: Gets official.safetensors and of_timm.safetensors; or torchvision.safetensors and
            of_torchvision.safetensors.
        config: Windows are those of `image_size`.
        image_size: (height, width).
        weights: Which network.

    Raises:
        MaxViTError: If torchvision has no such network.
    """
    torch.manual_seed(SEED)
    if weights == "official":
        model = MaxViT(config)
        fill(model)
        model.save(folder / "official.safetensors")
        if config.window_size == config.grid_size and image_size == tuple(32 * side for side in config.window_size):
            save_for_timm(model, folder / "of_timm.safetensors")
        return
    theirs = torchvision_network(config, image_size, 0.0)
    fill(theirs)
    state = theirs.state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "of_torchvision.safetensors")
    ours, preprocessing, tensors = from_torchvision(state)
    ours = dataclasses.replace(ours, drop_path_rate=config.drop_path_rate)
    MaxViT.restore(tensors, describe(ours, preprocessing, None, {}), "torchvision").save(
        folder / "torchvision.safetensors"
    )


def write_images(folder: Path, number: int, config: MaxViTConfig, image_size: Size) -> None:
    """Write normal numbers as images.safetensors: images (number, C, H, W) float32, labels (number,) int64."""
    random = torch.Generator().manual_seed(SEED)
    images = torch.randn(number, config.in_channels, *image_size, generator=random)
    labels = torch.randint(max(config.num_classes, 1), (number,), generator=random)
    save_file({"images": images, "labels": labels}, folder / "images.safetensors")


def fill(model: nn.Module) -> None:
    """Random weights and batch statistics with which every part matters, so that one left out is seen."""
    for name, tensor in model.state_dict().items():
        if name.endswith(("relative_position_bias_table", "bias.table")):
            tensor.normal_(std=0.5)
        elif name.endswith(("bias", "running_mean")):
            tensor.normal_(std=0.1)
        elif name.endswith(("running_var", "gamma", "scale")) or (name.endswith("weight") and tensor.ndim == 1):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith("weight"):
            tensor.normal_(std=tensor[0].numel() ** -0.5)
