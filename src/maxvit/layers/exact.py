"""The widest floating point of a device."""

from torch import Tensor


def widest(tensor: Tensor) -> Tensor:
    """In float64; on Apple's GPUs, which have none, in float32."""
    return tensor.float() if tensor.device.type == "mps" else tensor.double()
