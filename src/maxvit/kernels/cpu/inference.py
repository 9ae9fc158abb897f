"""Stem and blocks on the native CPU kernels: one call each, the same numbers as `maxvit.layers`.

A block's map goes through MBConv, block attention and grid attention in tiles that stay in the processor's cache; its
weights are packed in the order in which the kernels read them.
"""

import ctypes
import functools
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maxvit.errors import MaxViTError
from maxvit.kernels.cpu.build import load, widths
from maxvit.kernels.cpu.ctypes_calls import activation_code, address, call, structure
from maxvit.kernels.cpu.packing import Packing, attention_weights, mbconv_weights, pack, rows, transformed
from maxvit.kernels.gradients import refuse_gradients
from maxvit.layers.block import MaxViTBlock
from maxvit.layers.gather import group_indices
from maxvit.layers.partition import Axis, Groups, Size
from maxvit.model import MaxViT, Stem

_operators = torch.library.Library("maxvit", "DEF")
_operators.define("native_stem(Tensor images, Tensor[] weights, int activation, int symmetric, int width) -> Tensor")
_operators.define(
    "native_block(Tensor x, Tensor[] mbconv, int[] mbconv_facts, Tensor[] block, Tensor[] grid, int[] sizes,"
    " int[] activations, float epsilon, int width) -> Tensor"
)


def unsupported(model: MaxViT, width: int | None = None) -> str:
    """Why these kernels cannot serve a network, in a few words; nothing where they can.

    Args:
        model: The network.
        width: Those of this width alone; None: of any.

    Raises:
        KernelsUnavailable: If they cannot be compiled here.
    """
    like = next(model.parameters())
    if like.device.type != "cpu" or like.dtype != torch.float32:
        return f"they compute in float32 on the CPU, and the network is {like.dtype} on {like.device.type}"
    width = width or width_for(model)
    if odd := _odd(model, width):
        return f"they take channels and head_dim in multiples of {width}, not {odd[0]}"
    load(width)
    return ""


def lacking(packing: Packing) -> str:
    """Why a precision cannot be had on this processor, in a few words; nothing where it can."""
    if packing.precision != "fp16" or load(packing.width).maxvit_halves():
        return ""
    return (
        "this processor does not multiply 16-bit floats (AVX512-FP16 or ARM's FP16), or the compiler does not know it"
    )


def width_for(model: MaxViT) -> int:
    """The first width that divides a network's channels; the last, if none does."""
    return next((width for width in widths() if not _odd(model, width)), widths()[-1])


def _odd(model: MaxViT, width: int) -> list[int]:
    config = model.config
    return [n for n in (config.stem_channels, *config.channels, config.head_dim) if n % width]


class NativeStem(nn.Module):
    """`maxvit.model.Stem` with its norm folded; its second convolution in fp16, if the precision is that."""

    def __init__(self, stem: Stem, packing: Packing) -> None:
        super().__init__()
        self.width = width = packing.width
        self.activation, self.symmetric = activation_code(stem.act), stem.conv1.padding[0] == 1
        more = -stem.conv1.out_channels % width  # channels of zeros, which stay zero through the activation
        weight, bias = rows(stem.conv1)
        first = pack(F.pad(weight, (0, 0, 0, more)), F.pad(bias, (0, more)), Packing(width))
        _keep(self, "conv1_", first)
        _keep(self, "conv2_", transformed(stem.conv2, Packing(width) if packing.precision == "int8" else packing, more))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, ceil(H / 2), ceil(W / 2))."""
        refuse_gradients(images)
        return torch.ops.maxvit.native_stem(images, list(self.buffers()), self.activation, self.symmetric, self.width)


class NativeBlock(nn.Module):
    """`maxvit.layers.block.MaxViTBlock` with its norms folded."""

    def __init__(self, block: MaxViTBlock, packing: Packing) -> None:
        super().__init__()
        mbconv, self.width = block.mbconv, packing.width
        self.activations = [activation_code(mbconv.act), activation_code(block.block_attention.ffn.act)]
        self.epsilon = block.block_attention.norm1.eps
        attention = block.block_attention.attention
        self.sizes = [attention.heads, *attention.size, *block.grid_attention.attention.size]
        self.facts = [
            mbconv.depthwise.stride[0],
            3 if mbconv.shortcut.wide else 2,
            mbconv.depthwise.stride[0] == 1 or mbconv.depthwise.padding[0] == 1,
        ]
        self.mbconv, self.block, self.grid = nn.Module(), nn.Module(), nn.Module()
        _keep(self.mbconv, "weight", mbconv_weights(mbconv, packing))
        _keep(self.block, "weight", attention_weights(block.block_attention, packing))
        _keep(self.grid, "weight", attention_weights(block.grid_attention, packing))

    @property
    def weights(self) -> list[list[Tensor]]:
        """Those of MBConv, of block attention and of grid attention."""
        parts = (self.mbconv, self.block, self.grid)
        return [[*part._buffers.values()] for part in parts]  # type: ignore[list-item] # buffers() takes a millisecond

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, H', W'), sides halved (rounded up) if the block strides."""
        refuse_gradients(x)
        mbconv, *attention = self.weights
        rest = self.sizes, self.activations, self.epsilon, self.width
        return torch.ops.maxvit.native_block(x, mbconv, self.facts, *attention, *rest)


def _keep(module: nn.Module, name: str, tensors: Sequence[Tensor]) -> None:
    for i, tensor in enumerate(tensors):
        module.register_buffer(f"{name}{i}", tensor.detach().contiguous())


WEIGHTS = ("data", "bias", "scale", "sum")


def _weights(*names: str) -> str:
    """Fields of each struct Weights."""
    return " ".join(f"{name}_{kind}" for name in names for kind in WEIGHTS)


CWeights = structure("Weights", pointers=" ".join(WEIGHTS))
CStem = structure(
    "Stem", longs="channels_in hidden channels", ints="activation symmetric", pointers=_weights("first", "second")
)
CImages = structure("Images", longs="number height width image channel row pixel", pointers="data")
CMBConv = structure(
    "MBConv",
    longs="channels_in hidden out squeezed stride pool",
    ints="activation symmetric",
    pointers=f"{_weights('expand')} depthwise depthwise_bias reduce reduce_bias excite excite_bias "
    + _weights("project", "shortcut"),
)
CAttentionLayer = structure(
    "AttentionLayer",
    longs="channels heads tokens hidden",
    floats="epsilon",
    ints="activation",
    pointers=f"{_weights('qkv')} position {_weights('proj', 'expand', 'project')}",
)
CGroups = structure("Groups", longs="count pixels", pointers="start pixel slot")


@functools.lru_cache(maxsize=64)
def real_groups(hw: Size, size: Size, axis: Axis) -> ctypes.Structure:
    """The real tokens of all groups, one group after the other, as struct Groups with the tensors that it points to.

    Those are int32: where each group starts (G + 1), each token's pixel (H * W), its place in a whole group (H * W).
    """
    pixel, real = group_indices(hw, Groups(size, axis), torch.device("cpu"))  # (G, T)
    start = F.pad(real.sum(1).cumsum(0), (1, 0))
    slot = torch.arange(real.shape[1]).expand_as(real)
    tensors = start.int(), pixel[real].int(), slot[real].int()
    groups = CGroups(len(real), hw[0] * hw[1], *map(address, tensors))
    groups.tensors = tensors
    return groups


def check_floats(x: Tensor, weight: Tensor) -> None:
    """Raises `MaxViTError` where the kernels would take other numbers for floats."""
    if x.dtype != torch.float32 or weight.dtype != torch.float32:
        raise MaxViTError(
            f"the native kernels compute in float32, and maps are {x.dtype} here, weights {weight.dtype}: convert the"
            " original, then optimise that; under autocast use backend='torch'"
        )


def _native_stem(images: Tensor, weights: list[Tensor], activation: int, symmetric: int, width: int) -> Tensor:
    check_floats(images, weights[1])
    out = _stem_shape(images, weights)
    call("stem", c_stem(weights, images.shape[1], activation, symmetric), c_images(images), out, of_width=width)
    return out


def c_stem(weights: Sequence[Tensor], channels_in: int, activation: int, symmetric: int) -> ctypes.Structure:
    """Struct Stem."""
    return CStem(channels_in, weights[1].numel(), weights[5].shape[1], activation, symmetric, *map(address, weights))


def c_images(images: Tensor) -> ctypes.Structure:
    """As struct Images, which does not hold the tensor."""
    (number, _, *hw), strides = images.shape, images.stride()
    return CImages(number, *hw, *strides, address(images))


def _native_block(
    x: Tensor,
    mbconv: list[Tensor],
    facts: list[int],
    block: list[Tensor],
    grid: list[Tensor],
    sizes: list[int],
    activations: list[int],
    epsilon: float,
    width: int,
) -> Tensor:
    check_floats(x, mbconv[1])
    x = x.contiguous(memory_format=torch.channels_last)
    out = _block_shape(x, mbconv, facts)
    (batch, _, *hw_in), hw = x.shape, (out.shape[2], out.shape[3])
    call("mbconv", c_mbconv(mbconv, facts, activations[0]), batch, *hw_in, x, out, of_width=width)
    for layer, groups in c_layers((block, grid), hw, sizes, activations[1], epsilon):
        call("attention_layer", layer, groups, batch, out, of_width=width)
    return out


def c_weights(tensors: Sequence[Tensor]) -> ctypes.Structure:
    """Struct Weights."""
    return CWeights(*map(address, tensors))


def c_mbconv(weights: Sequence[Tensor], facts: Sequence[int], activation: int) -> ctypes.Structure:
    """Struct MBConv."""
    stride, pool, symmetric = facts
    hidden, channels = weights[1].numel(), weights[11].numel()
    shape = (weights[0].numel() // hidden, hidden, channels, weights[7].numel(), stride, pool)
    return CMBConv(*shape, activation, symmetric, *map(address, weights))


def c_layers(
    weights: Sequence[Sequence[Tensor]], hw: Size, sizes: Sequence[int], activation: int, epsilon: float
) -> Iterator[tuple[ctypes.Structure, ctypes.Structure]]:
    """Structs AttentionLayer of block and grid attention over a map, each with its struct Groups."""
    heads, *windows = sizes
    for axis, own, size in (("block", weights[0], windows[:2]), ("grid", weights[1], windows[2:])):
        tokens, hidden, channels = size[0] * size[1], own[10].numel(), own[6].numel()
        layer = CAttentionLayer(channels, heads, tokens, hidden, epsilon, activation, *map(address, own))
        yield layer, real_groups(hw, (size[0], size[1]), axis)


def _stem_shape(images: Tensor, weights: list[Tensor], *_: object) -> Tensor:
    shape = (len(images), weights[5].shape[1], *((side + 1) // 2 for side in images.shape[2:]))
    return torch.empty(shape, dtype=images.dtype, device=images.device, memory_format=torch.channels_last)


def _block_shape(x: Tensor, mbconv: list[Tensor], facts: list[int], *_: object) -> Tensor:
    shape = (len(x), mbconv[11].shape[0], *((side + facts[0] - 1) // facts[0] for side in x.shape[2:]))
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


_operators.impl("native_stem", _native_stem, "CPU")
_operators.impl("native_block", _native_block, "CPU")
torch.library.register_fake("maxvit::native_stem", _stem_shape)
torch.library.register_fake("maxvit::native_block", _block_shape)
