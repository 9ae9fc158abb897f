"""A whole network in one call of the native CPU kernels, from images to the maps that are wanted."""

import ctypes
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.modules import module as all_modules
from torch.utils._python_dispatch import _get_current_dispatch_mode

from maxvit.kernels.cpu.ctypes_calls import call
from maxvit.kernels.cpu.inference import (
    CAttentionLayer,
    CMBConv,
    CStem,
    NativeBlock,
    NativeStem,
    c_images,
    c_layers,
    c_mbconv,
    c_stem,
    check_floats,
)
from maxvit.kernels.gradients import refuse_gradients
from maxvit.layers.partition import Size
from maxvit.model import MaxViT

SIZES = 32  # of images, for which is known what there is to compute


class _Block(ctypes.Structure):
    _fields_ = (
        ("mbconv", CMBConv),
        ("layers", CAttentionLayer * 2),
        ("groups", ctypes.c_void_p * 2),
        ("last", ctypes.c_long),
    )


class _Network(ctypes.Structure):
    _fields_ = (("stem", CStem), ("blocks", ctypes.c_long), ("block", ctypes.POINTER(_Block)))


class NativeNetwork:
    """Stem and blocks, whose weights stay where they are.

    Args:
        stem: The stem.
        stages: The blocks of each stage.

    Attributes:
        parts: Stem and blocks, in their order.
    """

    def __init__(self, stem: NativeStem, stages: Sequence[Sequence[NativeBlock]]) -> None:
        self.stem, self.stages = stem, stages
        self.parts: list[nn.Module] = [stem, *(block for stage in stages for block in stage)]
        self._stem_weights = list(stem.buffers())
        blocks = [stage[-1] for stage in stages]
        self._channels = [self._stem_weights[5].shape[1], *(block.weights[0][11].numel() for block in blocks)]
        self._known: dict[tuple[Size, int], ctypes.Structure] = {}

    def __call__(self, images: Tensor, strides: Sequence[int]) -> dict[int, Tensor]:
        """The maps at some of the strides 2, 4, 8, 16 and 32.

        Args:
            images: (B, C_in, H, W).
            strides: Which.

        Returns:
            By stride s, (B, C, ceil(H / s), ceil(W / s)).
        """
        refuse_gradients(images)
        check_floats(images, self._stem_weights[1])
        number, channels_in, *sides = images.shape
        depth = max(strides).bit_length() - 2  # stages
        key = (sides[0], sides[1]), depth
        if key not in self._known:
            if len(self._known) >= SIZES:
                self._known.clear()
            self._known[key] = self._network(channels_in, *key)
        network = self._known[key]
        maps, addresses = dict[int, Tensor](), (ctypes.c_void_p * (depth + 1))()
        for i, channels in enumerate(self._channels[: depth + 1]):
            if (stride := 2 << i) in strides:
                shape = (number, channels, *(-(-side // stride) for side in sides))
                maps[stride] = torch.empty(shape, memory_format=torch.channels_last)
                addresses[i] = maps[stride].data_ptr()
        call("network", network, c_images(images), addresses, of_width=self.stem.width)
        return maps

    def _network(self, channels_in: int, hw: Size, depth: int) -> ctypes.Structure:
        """Struct Network for images of a size, up to so many stages, with what it points to."""
        found, used, hw = list[_Block](), list[ctypes.Structure](), _halved(hw)
        for stage in self.stages[:depth]:
            for block in stage:
                mbconv, *attention = block.weights
                part = c_mbconv(mbconv, block.facts, block.activations[0])
                hw = _halved(hw) if part.stride == 2 else hw
                layers, groups = zip(
                    *c_layers(attention, hw, block.sizes, block.activations[1], block.epsilon), strict=True
                )
                places = [ctypes.addressof(one) for one in groups]
                found.append(_Block(part, layers, tuple(places), block is stage[-1]))
                used += groups
        blocks = (_Block * len(found))(*found)
        stem = c_stem(self._stem_weights, channels_in, self.stem.activation, self.stem.symmetric)
        network = _Network(stem, len(blocks), blocks)
        network.used = used
        return network


def is_seen(model: MaxViT, images: Tensor) -> bool:
    """Whether somebody looks at stem, stages or blocks, or at each operation: a hook, a profiler, a compiler, ..."""
    if all_modules._global_forward_hooks or all_modules._global_forward_pre_hooks:
        return True
    parts = (model.stem, *model.stages, *chain(*(stage.children() for stage in model.stages)))
    if any(part._forward_hooks or part._forward_pre_hooks for part in parts) or torch._C._autograd._profiler_enabled():
        return True
    is_plain = type(images) is Tensor and not torch._C._functorch.is_functorch_wrapped_tensor(images)
    return not is_plain or torch.compiler.is_compiling() or _get_current_dispatch_mode() is not None


def _halved(hw: Size) -> Size:
    return -(-hw[0] // 2), -(-hw[1] // 2)
