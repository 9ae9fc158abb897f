"""Random weights with which every part of a network matters: nothing is zero, one, or too small to be seen."""

import torch
from torch import nn

from maxvit import MaxViT
from maxvit.config import VARIANTS


def fill(model: nn.Module) -> nn.Module:
    """Give a network of any package such weights and batch statistics; in evaluation mode."""
    for name, tensor in model.state_dict().items():
        if name.endswith(("relative_position_bias_table", "bias.table")):
            tensor.normal_(std=0.5)
        elif name.endswith(("bias", "running_mean")):
            tensor.normal_(std=0.1)
        elif name.endswith(("running_var", "gamma", "scale")) or (name.endswith("weight") and tensor.ndim == 1):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith("weight"):
            tensor.normal_(std=tensor[0].numel() ** -0.5)
    return model.eval()


def digits() -> MaxViT:
    """`maxvit_micro` with names for its ten classes."""
    torch.manual_seed(0)
    model = fill(MaxViT(VARIANTS["maxvit_micro"], class_names=[f"digit {i}" for i in range(10)]))
    assert isinstance(model, MaxViT)
    return model
