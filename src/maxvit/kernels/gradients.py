"""Kernels for inference have no backward."""

import torch
from torch import Tensor

from maxvit.errors import MaxViTError


def refuse_gradients(x: Tensor) -> None:
    """Raises `MaxViTError` where gradients with respect to a kernel's input are asked for: they would be None."""
    if x.requires_grad and torch.is_grad_enabled():
        raise MaxViTError(
            "an optimised network gives no gradients with respect to its images: use the original for them; otherwise"
            " call it under torch.no_grad(), or give images.detach()"
        )
