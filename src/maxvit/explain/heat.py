"""The colours of a map."""

import numpy as np
import numpy.typing as npt
from PIL import Image

# viridis, at equal steps
HEAT = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], np.float32)


def heat(values: npt.NDArray[np.float32], top: float) -> Image.Image:
    """One pixel a position, coloured from 0 to `top`; what is not finite counts as 0."""
    at = np.clip(np.nan_to_num(values) / top, 0, 1)
    anchors = np.linspace(0, 1, len(HEAT))
    colours = np.stack([np.interp(at, anchors, channel) for channel in HEAT.T], -1)  # (H, W, 3)
    return Image.fromarray(colours.round().astype(np.uint8))
