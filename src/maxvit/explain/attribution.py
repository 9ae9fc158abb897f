"""Grad-CAM and integrated gradients, by captum."""

from types import ModuleType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maxvit.errors import MaxViTError, require
from maxvit.explain.capture import one_image, pooled_map, stages_of
from maxvit.explain.target import check_stage, check_target
from maxvit.layers.modes import evaluating
from maxvit.tasks.network import Network, backbone_of


def grad_cam(network: Network, image: Tensor, target: int, stage: int = 4) -> npt.NDArray[np.float32]:
    """Where a stage holds what speaks for a class (Selvaraju et al., 2017, arXiv 1610.02391).

    Args:
        network: It is run in evaluation mode and left as it was. An optimised one has no gradients.
        image: (C, H, W), preprocessed; any size.
        target: A class, from 0.
        stage: Whose last map is weighted, from 1; the later, the more it knows of classes, the earlier, the finer.

    Returns:
        (H, W) of the stage's map, from 0 up.

    Raises:
        MaxViTError: If class, stage or image do not fit, or captum is missing.
    """
    check_target(network, target)
    check_stage(network, stage)
    layer = list(backbone_of(network).stages[stage - 1].children())[-1]
    if stage == len(stages_of(network)):
        layer = pooled_map(network)
    with evaluating(network), torch.enable_grad():
        method = _captum().LayerGradCam(network, layer)
        found = method.attribute(one_image(network, image).requires_grad_(), target, relu_attributions=True)
    return found[0, 0].detach().float().cpu().numpy()


def integrated_gradients(
    network: Network, image: Tensor, target: int, baseline: Tensor | None = None, steps: int = 32, batch_size: int = 8
) -> npt.NDArray[np.float32]:
    """What each pixel adds to a class's logit on the way from a baseline (Sundararajan et al., 2017, arXiv 1703.01365).

    Args:
        network: It is run in evaluation mode and left as it was. An optimised one has no gradients.
        image: (C, H, W), preprocessed; any size.
        target: A class, from 0.
        baseline: (C, H, W); None: zeros, which is the mean colour of the data where `preprocessing` centres it.
        steps: Points of the integral (Gauss-Legendre).
        batch_size: Images in one forward and backward.

    Returns:
        (H, W), the sum over the channels; all together are the logit's difference between image and baseline, up to
        the error of the integral.

    Raises:
        MaxViTError: If class, image or baseline do not fit, or captum is missing.
    """
    check_target(network, target)
    if min(steps, batch_size) < 1:
        raise MaxViTError(f"steps is {steps} and batch_size {batch_size}; both take whole numbers from 1 up")
    if baseline is not None and baseline.shape != image.shape:
        raise MaxViTError(
            f"the baseline has shape {tuple(baseline.shape)} and the image {tuple(image.shape)}: give one of that shape"
        )
    batch = one_image(network, image)
    start = torch.zeros_like(batch) if baseline is None else baseline[None].to(batch)
    with evaluating(network), torch.enable_grad():
        method = _captum().IntegratedGradients(network)
        found = method.attribute(batch, start, target, n_steps=steps, internal_batch_size=batch_size)
    return found[0].detach().sum(0).float().cpu().numpy()


def _captum() -> ModuleType:
    require("an explanation by gradients", "captum")
    import captum.attr

    return captum.attr
