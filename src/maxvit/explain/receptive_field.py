"""How far a stage sees: the effective receptive field (Luo et al., 2016, arXiv 1701.04128)."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maxvit.errors import MaxViTError
from maxvit.explain.target import check_stage
from maxvit.layers.modes import evaluating
from maxvit.tasks.network import Network, backbone_of

TWO_DEVIATIONS = 1 - 0.9545  # of the peak: the paper counts the pixels above it


def receptive_field(network: Network, images: Tensor, stage: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """How much the central token of a stage's map depends on each pixel.

    The root of the mean square, over images, of the gradient of a random direction of the token's channels (fresh for
    each image), which estimates the norm of the Jacobian. The paper takes the mean gradient of one unit; channels and
    images of opposite sign would cancel in it.

    Args:
        network: It is run in evaluation mode and left as it was.
        images: (B, C, H, W), preprocessed; the more, the smoother.
        stage: From 1.
        seed: Seed of the directions.

    Returns:
        (H, W), 1 at the pixel that counts most.

    Raises:
        MaxViTError: If the images do not fit, or there is no such stage.
    """
    check_stage(network, stage)
    if images.ndim == 4 and not len(images):
        raise MaxViTError("no images were given, and a receptive field is a mean over images: give one at least")
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(images.shape[-2:], dtype=torch.float64)
    backbone, device = backbone_of(network), next(network.parameters()).device
    with evaluating(network), torch.enable_grad():
        for image in images.detach().to(device).split(1):
            image = image.clone().requires_grad_()
            features = backbone.forward_pyramid(image, [2 ** (stage + 1)])[0][0]  # (C, H, W)
            token = features[:, features.shape[1] // 2, features.shape[2] // 2]
            direction = torch.randn(len(token), generator=generator).to(token)
            (gradient,) = torch.autograd.grad(token @ direction, image)
            total += gradient[0].cpu().double().square().sum(0)
    field = total.sqrt()
    return (field / field.max().clamp(min=torch.finfo(field.dtype).tiny)).float().numpy()


def effective_side(field: npt.NDArray[np.float32]) -> float:
    """Pixels of the side of a square as large as the part of a field above 4.55 % of its peak (paper, Section 3)."""
    return float(np.sqrt((field > TWO_DEVIATIONS * field.max()).sum()))
