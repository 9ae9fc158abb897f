"""Features of the network that comes with the package, as it is."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maxvit.create import create_model
from maxvit.kernels.optimize import optimize
from maxvit.layers.inner_head import InnerHead, field_means

MODEL = "maxvit_micro"
_FIELDS = 4  # a side


class FrozenFeatures:
    """The second and the third stage's maps in 4 x 4 fields; the last stage has not learned.

    Args:
        device: Where to compute.

    Attributes:
        width: Number of features.
    """

    def __init__(self, device: torch.device) -> None:
        self.network = optimize(create_model(MODEL, pretrained=True).to(device))
        self.device = device
        self.width = _FIELDS**2 * sum(self.network.config.channels[1:3])

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> npt.NDArray[np.float16]:
        """Features (B, width) of pictures (B, H, W, 3) uint8."""
        spec = self.network.preprocessing
        mean, std = torch.tensor(spec.mean, device=self.device), torch.tensor(spec.std, device=self.device)
        images = ((pixels.to(self.device) / 255 - mean) / std).permute(0, 3, 1, 2)  # (B, 3, H, W)
        return (
            field_means(self.network.forward_pyramid(images, InnerHead.strides), _FIELDS)
            .cpu()
            .numpy()
            .astype(np.float16)
        )
