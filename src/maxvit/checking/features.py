"""Features of the network that comes with the package, as it is."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from maxvit.create import create_model
from maxvit.kernels.optimize import optimize

_MODEL = "maxvit_micro"
STRIDES = (8, 16)  # of the stages that have learned, but the first
_FIELDS = 4  # a side
_DIMENSIONS = 256  # that the features are reduced to


class FrozenFeatures:
    """The second and the third stage's maps in 4 x 4 fields; the last stage has not learned.

    Args:
        device: Where to compute.

    Attributes:
        width: Number of features.
    """

    def __init__(self, device: torch.device) -> None:
        self.network = optimize(create_model(_MODEL, pretrained=True).to(device))
        self.device = device
        self.width = _FIELDS**2 * sum(self.network.config.channels[1:3])

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> npt.NDArray[np.float16]:
        """Features (B, width) of pictures (B, H, W, 3) uint8."""
        spec = self.network.preprocessing
        mean, std = torch.tensor(spec.mean, device=self.device), torch.tensor(spec.std, device=self.device)
        images = ((pixels.to(self.device) / 255 - mean) / std).permute(0, 3, 1, 2)  # (B, 3, H, W)
        return fields(self.network.forward_pyramid(images, STRIDES)).cpu().numpy().astype(np.float16)


def fields(maps: Iterable[Tensor]) -> Tensor:
    """The means of maps (B, C, H, W) in 4 x 4 fields: (B, F)."""
    return torch.cat([functional.adaptive_avg_pool2d(each, _FIELDS).flatten(1) for each in maps], 1)


def reduce(features: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """The main directions of standardised features: (n, F) -> (n, D), D at most 256.

    A direction's deviation becomes its root: the main ones count most, and the others are still heard. The same
    features give the same directions.
    """
    normed = torch.from_numpy(features.astype(np.float32))
    normed -= normed.mean(0)
    normed /= normed.std(0, correction=0).clamp_min(1e-6)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        _, _, directions = torch.pca_lowrank(normed, q=min(_DIMENSIONS, *normed.shape), center=False)
    found = normed @ directions
    return (found / found.std(0, correction=0).clamp_min(1e-6).sqrt()).numpy()
