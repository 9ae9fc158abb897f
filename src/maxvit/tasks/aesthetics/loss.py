"""The earth mover's distance between two distributions of scores."""

import torch
from torch import Tensor


def earth_movers_distance(predictions: Tensor, targets: Tensor, exponent: float) -> Tensor:
    """For each image ((1 / N) sum_k |P_k - Q_k|^r)^(1 / r), with the cumulative sums P and Q of N shares each.

    It is 0 for equal distributions, and (1 - 1 / N)^(1 / r) if all of one is at the first score and all of the other
    at the last. Where they are equal its gradient is 0, as that of PyTorch's norms.

    Args:
        predictions: (B, N) shares, rows that sum to 1.
        targets: Likewise.
        exponent: r, from 1 up.

    Returns:
        (B,), in single precision at least.

    Reference:
        NIMA (arXiv 1709.05424), equation 1; MaxViT, App. A.3, "normalised Earth Mover's Distance" with r = 2.
    """
    exact = torch.promote_types(predictions.dtype, torch.float32)  # sums of 16-bit shares lose what is to be learned
    gaps = (predictions.to(exact) - targets.to(exact)).cumsum(1)  # (B, N)
    return torch.linalg.vector_norm(gaps, exponent, dim=1) / gaps.shape[1] ** (1 / exponent)
