"""How far what is painted is from what was hidden (SimMIM, arXiv 2111.09886, "Prediction targets")."""

from torch import Tensor


def hidden_error(painted: Tensor, hidden: Tensor, images: Tensor) -> Tensor:
    """The mean absolute error of hidden pixels, over all images and channels.

    Args:
        painted: (B, C, H, W) float32.
        hidden: (B, 1, H, W) bool.
        images: (B, C, H, W), normalised.

    Returns:
        ().
    """
    errors = (painted - images.float()).abs() * hidden
    return errors.sum() / (hidden.sum() * images.shape[1])
