"""Whether a map shows what the prediction rests on: deletion and insertion (Petsiuk et al., 2018, arXiv 1806.07421)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from maxvit.errors import MaxViTError
from maxvit.explain.capture import one_image
from maxvit.explain.geometry import enlarge
from maxvit.explain.target import check_target
from maxvit.layers.modes import evaluating
from maxvit.tasks import task_for
from maxvit.tasks.network import Network

BLUR = 1 / 16  # deviation of the blur over the shorter side: 14 pixels at 224


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """How a class's probability follows the pixels that a map calls important.

    Attributes:
        deletion: Area under the probability as the most relevant pixels are blurred first; the lower, the better.
        insertion: Area as they are given back first to a blurred image; the higher, the better.
        deleted: The probability after each step, from the whole image to the blurred one.
        inserted: From the blurred image to the whole one.
    """

    deletion: float
    insertion: float
    deleted: list[float]
    inserted: list[float]


def faithfulness(
    network: Network,
    image: Tensor,
    relevance: npt.NDArray[np.float32],
    target: int,
    steps: int = 32,
    batch_size: int = 16,
) -> Faithfulness:
    """Measure a map of any method.

    What is removed is replaced by a strong blur of the image (a Gaussian; its deviation is a 16th of the shorter side),
    in both scores; the paper removes to grey and inserts into a blur.

    Args:
        network: It is run in evaluation mode and left as it was.
        image: (C, H, W), preprocessed.
        relevance: (h, w), of any resolution, brought to that of the image bilinearly; only its order counts. Pixels
            that are alike are taken row by row.
        target: The class whose probability is followed, from 0.
        steps: In which all pixels are removed.
        batch_size: Images in one forward.

    Raises:
        MaxViTError: If class, image or map do not fit.
    """
    check_target(network, target)
    if min(steps, batch_size) < 1:
        raise MaxViTError(f"steps is {steps} and batch_size {batch_size}; both take whole numbers from 1 up")
    if relevance.ndim != 2 or not relevance.size or not np.isfinite(relevance).all():
        raise MaxViTError(f"the map has shape {relevance.shape}; it takes finite numbers, (height, width)")
    whole = one_image(network, image)[0]  # (C, H, W)
    blurred = blur(whole)
    rank = ranks(relevance, (whole.shape[1], whole.shape[2])).to(whole.device)
    bounds = torch.linspace(0, rank.numel(), steps + 1, device=whole.device)
    chosen = rank < bounds[:, None, None]  # (steps + 1, H, W)
    deleted, inserted = [], []
    with evaluating(network), torch.inference_mode():
        for some in chosen.split(batch_size):
            deleted += _probabilities(network, torch.where(some[:, None], blurred, whole), target)
            inserted += _probabilities(network, torch.where(some[:, None], whole, blurred), target)
    return Faithfulness(_area(deleted), _area(inserted), deleted, inserted)


def ranks(relevance: npt.NDArray[np.float32], hw: tuple[int, int]) -> Tensor:
    """The place of each pixel in order of relevance, the most relevant 0: (h, w) -> (H, W) int64."""
    values = enlarge(torch.from_numpy(np.ascontiguousarray(relevance, np.float32)), hw, "bilinear")
    order = values.flatten().sort(descending=True, stable=True).indices
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(order))).view(hw)


def blur(image: Tensor) -> Tensor:
    """The baseline: (C, H, W) -> (C, H, W)."""
    deviation = min(image.shape[1:]) * BLUR
    return tv.gaussian_blur(image, [2 * round(3 * deviation) + 1] * 2, [deviation] * 2)


def _probabilities(network: Network, images: Tensor, target: int) -> list[float]:
    sizes = [(images.shape[2], images.shape[3])] * len(images)
    return [float(probabilities[target]) for probabilities in task_for(network).predict(network, images, sizes)]


def _area(probabilities: list[float]) -> float:
    """Under the curve, over the share of pixels from 0 to 1, by trapezoids."""
    ends = (probabilities[0] + probabilities[-1]) / 2
    return (sum(probabilities) - ends) / (len(probabilities) - 1)
