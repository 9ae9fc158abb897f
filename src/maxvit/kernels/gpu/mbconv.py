"""MBConv's hidden map for inference, by two kernels: expansion and GELU, then all that follows."""

from torch import Tensor

from maxvit.kernels.gpu.activation import is_erf
from maxvit.kernels.gpu.depthwise import filtered
from maxvit.kernels.gpu.product import activated
from maxvit.layers.mbconv import MBConv


def hidden_map(part: MBConv, x: Tensor) -> tuple[Tensor, Tensor]:
    """What squeeze-and-excite of a layer gets, and its mean.

    Args:
        part: Its batch norms are folded into its convolutions, see `maxvit.kernels.folding`.
        x: (B, H, W, C_in), dense; float32, bfloat16 or float16, as the layer.

    Returns:
        (B, H', W', C) of the same type, with C hidden channels, and its mean over H' and W', (B, C) in float32.
    """
    expand, depthwise = part.expand, part.depthwise
    assert expand.bias is not None
    assert depthwise.bias is not None
    weight, taps = expand.weight.flatten(1), depthwise.weight.flatten(1).t()  # (C, C_in), (9, C)
    facts = depthwise.stride[0], depthwise.padding[0] == 1, is_erf(part.act)
    hidden = activated(x, weight, expand.bias, facts[2])  # (B, H, W, C)
    out: tuple[Tensor, Tensor] = filtered(hidden, taps, depthwise.bias, *facts)
    return out
