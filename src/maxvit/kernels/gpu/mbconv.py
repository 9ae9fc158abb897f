"""MBConv's hidden map for inference, by one kernel or two."""

from torch import Tensor

from maxvit.kernels.gpu.activation import is_erf
from maxvit.kernels.gpu.depthwise import filtered
from maxvit.kernels.gpu.expand import WIDEST, expanded_filtered
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
    if _in_one_pass(x):
        one: tuple[Tensor, Tensor] = expanded_filtered(x, weight, expand.bias, taps, depthwise.bias, *facts)
        return one
    hidden = activated(x, weight, expand.bias, is_erf(part.act))  # (B, H, W, C)
    two: tuple[Tensor, Tensor] = filtered(hidden, taps, depthwise.bias, *facts)
    return two


def _in_one_pass(x: Tensor) -> bool:
    """Whether the expanded map should stay on the chip. Predicted by counting, not measured: nothing ran on a GPU yet.

    For each number of the expanded map, one pass saves four trips to memory (written, read and written by GELU, read),
    8 bytes in 16-bit types. It pays with reading x again from the L2 cache for each block of 64 channels, with shifted
    tiles that fill about nine tenths of their slots: 2 * C_in / 64 / 0.9 bytes, 4.5 at 128 channels and 9 at 256. L2 is
    about twice as fast as memory, but a product of a tile this small is slower than PyTorch's, which counts more the
    longer it is. So up to 128, where also a block's weights still fit next to the tiles. In float32 the product is the
    time, not the trips, and PyTorch's is the better one.
    """
    return x.element_size() == 2 and x.shape[3] <= WIDEST
