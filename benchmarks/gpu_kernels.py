"""Each kernel beside PyTorch's own operators: one row of KERNELS says what both do with a layer and a map.

Bytes are the least that must move: parameters and inputs once, results once; in training the same again, and a gradient
for each input. Operations are those of matrix products and convolutions, three times as many in training.
"""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from gpu_setting import Cell, Setting
from gpu_timing import Answer, Run, Work, comparison
from torch import Tensor, nn

from maxvit.config import MaxViTConfig
from maxvit.kernels.folding import fold_for_inference
from maxvit.kernels.gpu.attention import attend
from maxvit.kernels.gpu.attention_inference import attend_fixed, padded_bias
from maxvit.kernels.gpu.feedforward import feedforward
from maxvit.kernels.gpu.linear import normed_linear
from maxvit.kernels.gpu.mbconv import TritonMBConv
from maxvit.kernels.gpu.mbconv_training import mbconv
from maxvit.kernels.gpu.product import projected
from maxvit.model import MaxViT, MaxViTBlock

OURS, THEIRS, COMPILED = "maxvit, Triton", "PyTorch", "PyTorch, compiled"
CLOSE, CLOSE_GRADIENTS = 0.02, 0.05  # bfloat16 keeps 8 bits, and the kernels' own tests judge them more strictly
Layer = Any  # that both take: a module whose parameters count
Shape = tuple[int, int, int, int]  # (B, H, W, C)


@dataclass(frozen=True)
class Kernel:
    """What is compared.

    Attributes:
        name: Name of the cell.
        layer: The part of a block that it computes.
        width: Channels of the map that goes in, over the block's.
        expansion: Channels of the map that comes out, over the block's.
        ours: Called with the layer and a map (B, H, W, C).
        theirs: The same in PyTorch's operators.
        flops: Operations of a pixel that comes out, from the layer and the channels that go in.
        inference: Whether it is timed forward.
        training: Whether it is timed forward and backward. Layers of those that are not have batch norms folded.
        autocast: Whether parameters are float32 where maps are not.
        strided: Whether it is of a stage's first block, whose input is the map of the stage before.
    """

    name: str
    layer: Callable[[MaxViTBlock], Layer]
    width: int
    expansion: int
    ours: Callable[[Layer, Tensor], Answer]
    theirs: Callable[[Layer, Tensor], Answer]
    flops: Callable[[Layer, int], float]
    inference: bool = True
    training: bool = True
    autocast: bool = False
    strided: bool = False

    def prepare(self, config: MaxViTConfig, stage: int, batch: int, dtype: torch.dtype) -> tuple[Layer, Shape, Shape]:
        """The layer in a stage, counted from 1, and the shapes of the maps that go in and come out."""
        network = MaxViT(config).train()
        blocks = (network if self.training else fold_for_inference(network)).stages[stage - 1]
        layer = self.layer(blocks[0 if self.strided else -1])
        layer = layer.to(None if self.autocast else dtype).to(memory_format=torch.channels_last)
        height, width = (-(-s // 2 ** (stage + 1)) for s in config.image_size)
        channels = config.channels[stage - 1]
        out = (batch, height, width, self.expansion * channels)
        if self.strided:
            return layer, (batch, 2 * height, 2 * width, layer.expand.in_channels), out
        return layer, (batch, height, width, self.width * channels), out


def _bare_attention(axis: str) -> Callable[[MaxViTBlock], Layer]:
    """Attention without its projections."""

    def part(block: MaxViTBlock) -> Layer:
        attention = getattr(block, f"{axis}_attention").attention
        attention.register_buffer("padded", padded_bias(attention))
        attention.qkv = attention.proj = nn.Identity()
        return attention

    return part


def _our_attention(layer: Layer, x: Tensor) -> Tensor:
    return attend(layer, x) if x.requires_grad else attend_fixed(layer, layer.padded, x)


def _norm_and_linear(block: MaxViTBlock) -> Layer:
    layer = block.block_attention
    return nn.Sequential(layer.norm1, layer.attention.qkv)


def _our_norm_and_linear(layer: Layer, x: Tensor) -> Tensor:
    norm, linear = layer
    return normed_linear(x, norm.weight, norm.bias, linear.weight, linear.bias, norm.eps)


def _projection(block: MaxViTBlock) -> Layer:
    return block.block_attention.attention.proj


def _our_projection(layer: Layer, x: Tensor) -> Tensor:
    return projected(x, None, layer.weight, layer.bias, x)


def _feedforward(block: MaxViTBlock) -> Layer:
    return nn.Sequential(block.block_attention.norm2, block.block_attention.ffn)


def _our_feedforward(layer: Layer, x: Tensor) -> Tensor:
    norm, ffn = layer
    weights = (ffn.expand.weight, ffn.expand.bias, ffn.project.weight, ffn.project.bias)
    return feedforward(x, norm.weight, norm.bias, *weights, None, norm.eps, False)


def _folded_mbconv(block: MaxViTBlock) -> Layer:
    block.mbconv.ours = TritonMBConv(block.mbconv)
    return block.mbconv


def _our_folded_mbconv(layer: Layer, x: Tensor) -> Tensor:
    return layer.ours(x.permute(0, 3, 1, 2))


def _their_folded_mbconv(layer: Layer, x: Tensor) -> Tensor:
    return layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _mbconv(block: MaxViTBlock) -> Layer:
    return block.mbconv


def _their_mbconv(layer: Layer, x: Tensor) -> Answer:
    return layer(x.permute(0, 3, 1, 2))


def _our_mbconv(layer: Layer, x: Tensor) -> Tensor:
    return mbconv(layer, x.permute(0, 3, 1, 2))


def _linear_flops(layer: Layer, channels: int) -> float:
    """Operations of all products of a row with a matrix, and of filters of nine."""
    return 2 * sum(p.numel() for p in layer.parameters() if p.ndim > 1)


def _attention_flops(layer: Layer, channels: int) -> float:
    return 4 * layer.size[0] * layer.size[1] * channels / 3


def _mbconv_flops(layer: Layer, channels: int) -> float:
    """But for squeeze-and-excitation, which sees one pixel an image."""
    before = layer.expand.weight.numel() * layer.depthwise.stride[0] ** 2
    behind = sum(p.numel() for p in layer.project.parameters() if p.ndim > 1)
    return 2 * (before + layer.depthwise.weight.numel() + behind)


KERNELS = (
    Kernel("block attention", _bare_attention("block"), 3, 1, _our_attention, lambda a, x: a(x), _attention_flops),
    Kernel("grid attention", _bare_attention("grid"), 3, 1, _our_attention, lambda a, x: a(x), _attention_flops),
    Kernel("feed-forward", _feedforward, 1, 1, _our_feedforward, lambda a, x: x + a(x), _linear_flops),
    Kernel("norm and linear", _norm_and_linear, 1, 3, _our_norm_and_linear, lambda a, x: a(x), _linear_flops),
    Kernel("projection", _projection, 1, 1, _our_projection, lambda a, x: a(x) + x, _linear_flops, training=False),
    Kernel(
        "MBConv",
        _folded_mbconv,
        1,
        1,
        _our_folded_mbconv,
        _their_folded_mbconv,
        _mbconv_flops,
        training=False,
    ),
    Kernel(
        "MBConv, strided",
        _folded_mbconv,
        1,
        1,
        _our_folded_mbconv,
        _their_folded_mbconv,
        _mbconv_flops,
        training=False,
        strided=True,
    ),
    Kernel("MBConv", _mbconv, 1, 1, _our_mbconv, _their_mbconv, _mbconv_flops, inference=False, autocast=True),
    Kernel(
        "MBConv, strided",
        _mbconv,
        1,
        1,
        _our_mbconv,
        _their_mbconv,
        _mbconv_flops,
        inference=False,
        autocast=True,
        strided=True,
    ),
)


def kernel_cells() -> Iterator[Cell]:
    """At every stage of MaxViT-T at 224; attention at its larger windows too."""
    for stage in (1, 2, 3, 4):
        for kernel in KERNELS:
            for trains in [False] * kernel.inference + [True] * kernel.training:
                yield _cell(kernel, 224, stage, trains)
    for side in (384, 512):
        for kernel in KERNELS[:2]:
            for trains in (False, True):
                yield _cell(kernel, side, 1, trains)


def _cell(kernel: Kernel, side: int, stage: int, trains: bool) -> Cell:
    what = "training" if trains else "inference"
    name = f"{kernel.name}, {what}, tiny {side}, stage {stage}"
    ready = 15.0 if _compared_with_the_compiler(kernel, stage, trains) else 1.5
    return comparison(name, lambda setting: _work(kernel, side, stage, trains, setting), budget_s=0.5, ready_s=ready)


def _compared_with_the_compiler(kernel: Kernel, stage: int, trains: bool) -> bool:
    """In the first stage; MBConv's training in all, for it is there that the compiler may be the faster one."""
    return stage == 1 or (trains and kernel.autocast)


def _work(kernel: Kernel, side: int, stage: int, trains: bool, setting: Setting) -> Work:
    config, batch = setting.config("maxvit_tiny", side), setting.batch(128)
    config = dataclasses.replace(config, drop_path_rate=0.0)  # or every contender would drop others
    with setting.device:
        layer, shape, out_shape = kernel.prepare(config, stage, batch, setting.dtype)
    x = torch.randn(shape, device=setting.device, dtype=setting.dtype)

    def run(function: Callable[[Layer, Tensor], Answer]) -> Run:
        leaves = [x.clone().requires_grad_(trains), *layer.parameters()]

        def forward() -> Answer:
            with torch.set_grad_enabled(trains), setting.autocast(kernel.autocast):
                return function(layer, leaves[0])

        if not trains:
            return forward
        out = forward()
        assert isinstance(out, Tensor)
        random = torch.Generator(setting.device).manual_seed(0)
        grad = torch.empty_like(out).copy_(torch.randn(out.shape, generator=random, device=setting.device))

        def step() -> Answer:
            out = forward()
            of_x, *_ = torch.autograd.grad(out, leaves, grad)  # some parameters have none but noise, before a norm
            return out, of_x

        return step

    functions = {OURS: kernel.ours, THEIRS: kernel.theirs}
    contenders = {name: lambda function=function: run(function) for name, function in functions.items()}
    if setting.compiles and _compared_with_the_compiler(kernel, stage, trains):
        contenders[COMPILED] = lambda: run(torch.compile(kernel.theirs))
    inputs, out = x.nbytes + sum(p.nbytes for p in layer.parameters()), prod(out_shape) * x.itemsize
    return Work(
        contenders=contenders,
        close=CLOSE_GRADIENTS if trains else CLOSE,
        flops=prod(out_shape[:3]) * kernel.flops(layer, shape[3]) * (3 if trains else 1),
        bytes=2 * (inputs + out) + inputs if trains else inputs + out,
        images=batch,
    )
