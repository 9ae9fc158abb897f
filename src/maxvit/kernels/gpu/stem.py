"""The stem for inference: its first convolution with the GELU after it in one kernel, the second by PyTorch.

Letters: B batch, H W image sides, H' W' sides after the stride, C_in C channels.
"""

import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor, nn

from maxvit.kernels.gpu.activation import constant, gelu, is_erf, named
from maxvit.kernels.gpu.depthwise import Sides
from maxvit.kernels.gpu.support import operator, precision
from maxvit.kernels.gradients import refuse_gradients
from maxvit.model import Stem

PIXELS, CHANNELS, TAPS = 128, 64, 32  # of a tile; 27 taps of an image of three channels are one tile


class TritonStem(nn.Module):
    """`maxvit.model.Stem` with its norm folded."""

    weight: Tensor

    def __init__(self, stem: Stem) -> None:
        super().__init__()
        conv = stem.conv1
        assert conv.bias is not None
        self.symmetric, self.erf, self.conv2 = conv.padding[0] == 1, is_erf(stem.act), stem.conv2
        self.register_buffer("weight", filters(conv.weight.detach()))
        self.register_buffer("bias", conv.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, H', W')."""
        refuse_gradients(x)
        hidden: Tensor = convolved(x, self.weight, self.bias, self.symmetric, self.erf)
        out: Tensor = self.conv2(hidden.permute(0, 3, 1, 2))
        return out


def filters(weight: Tensor) -> Tensor:
    """A convolution's weight (C, C_in, 3, 3) as the kernel reads it: row by row, channels last, whole tiles."""
    flat = weight.permute(0, 2, 3, 1).flatten(1)  # (C, 9 C_in)
    return F.pad(flat, (0, -flat.shape[1] % TAPS))


@operator("maxvit::convolved")
def convolved(x: Tensor, weight: Tensor, bias: Tensor, symmetric: bool, erf: bool) -> Tensor:
    """GELU of a 3 x 3 convolution of stride 2. No gradients.

    Args:
        x: (B, C_in, H, W) in any memory format; float32, bfloat16 or float16.
        weight: What `filters` makes of the weight, of x's type.
        bias: (C,).
        symmetric: Padding, see `maxvit.layers.mbconv.SameConv2d`.
        erf: GELU's formula, see `maxvit.kernels.gpu.activation.is_erf`.

    Returns:
        (B, H', W', C), of x's type.
    """
    batch, inputs, height, width = x.shape
    channels, out = len(weight), _shape(x, weight, bias, symmetric, erf)
    sides = Sides.of(height, width, 2, symmetric)
    tiles = triton.cdiv(sides.columns, PIXELS)
    if out.numel():
        _convolve[batch * sides.rows * tiles, triton.cdiv(channels, CHANNELS)](
            x,
            weight.contiguous(),
            bias,
            out,
            tiles,
            *x.stride(),
            *sides,
            INPUTS=inputs,
            C=channels,
            PIXELS=PIXELS,
            CHANNELS=CHANNELS,
            TAPS=TAPS,
            FORMULA=constant(x, named(erf)),
            PRECISION=precision(x),
            num_warps=4,
        )
    return out


@triton.jit
def _convolve(
    x,
    weight,
    bias,
    out,
    tiles,
    of_image,
    of_channel,
    of_row,
    of_column,
    height,
    width,
    rows,
    columns,
    above,
    left,
    INPUTS: tl.constexpr,
    C: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
    TAPS: tl.constexpr,
    FORMULA: tl.constexpr,
    PRECISION: tl.constexpr,
):
    line, column = tl.program_id(0) // tiles, tl.program_id(0) % tiles * PIXELS + tl.arange(0, PIXELS)
    image, i, j = (line // rows).to(tl.int64), line % rows * 2 - above, column * 2 - left
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    x += image * of_image
    sums = tl.zeros([PIXELS, CHANNELS], tl.float32)
    for start in range(0, 9 * INPUTS, TAPS):
        k = start + tl.arange(0, TAPS)
        down, right = i + k // (3 * INPUTS), k // INPUTS % 3  # [TAPS]
        near = j[:, None] + right[None, :]  # [PIXELS, TAPS]
        there = ((down >= 0) & (down < height) & (k < 9 * INPUTS))[None, :] & (near >= 0) & (near < width)
        at = (j * of_column)[:, None] + (down * of_row + right * of_column + k % INPUTS * of_channel)[None, :]
        a = tl.load(x + at, mask=there, other=0.0)
        place = weight + channel[None, :] * tl.cdiv(9 * INPUTS, TAPS) * TAPS + k[:, None]
        w = tl.load(place, mask=(channel < C)[None, :], other=0.0)  # [TAPS, CHANNELS]
        sums = tl.dot(a, w, sums, input_precision=PRECISION)
    sums += tl.load(bias + channel, mask=channel < C, other=0.0).to(tl.float32)[None, :]
    at = out + line.to(tl.int64) * columns * C + column[:, None] * C + channel[None, :]
    mask = (column < columns)[:, None] & (channel < C)[None, :]
    tl.store(at, gelu(sums, FORMULA).to(out.dtype.element_ty), mask=mask)


@convolved.register_fake
def _shape(x: Tensor, weight: Tensor, bias: Tensor, symmetric: bool, erf: bool) -> Tensor:
    return x.new_empty(x.shape[0], -(-x.shape[2] // 2), -(-x.shape[3] // 2), len(weight))
