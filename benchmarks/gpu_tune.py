"""Other tiles, programs, warps and stages for the kernels, each timed in a CUDA graph: all times are kept.

A candidate changes constants of the kernels' modules and options of the launch, for as long as one call is captured. So
nothing of the kernels is written twice, and what turns out to be best is one number to change there.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any
from unittest.mock import patch

import torch
from gpu_setting import Cell, Result, Setting
from gpu_timing import difference, one_time, reason
from torch import Tensor
from triton.runtime.jit import JITFunction

from maxvit.kernels.gpu.attention import group_attention, group_attention_gradient
from maxvit.kernels.gpu.attention_inference import group_attention_fixed, padded
from maxvit.kernels.gpu.depthwise import filtered
from maxvit.kernels.gpu.depthwise_training import norm_depthwise, norm_depthwise_gradient
from maxvit.kernels.gpu.feedforward import feedforward
from maxvit.kernels.gpu.linear import normed_linear
from maxvit.kernels.gpu.normalization import normalized, normalized_gradient
from maxvit.kernels.gpu.product import activated, projected

Call = Callable[[], Tensor]
BUDGET_S = 0.04  # of a candidate


@dataclass(frozen=True)
class Candidate:
    """What is changed: constants, as "module.NAME", and options of all launches."""

    constants: Mapping[str, object]
    options: Mapping[str, object]

    @property
    def name(self) -> str:
        """All that is changed."""
        return " ".join(f"{k}={v}" for k, v in (*self.constants.items(), *self.options.items())) or "as it is"

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Change it, for a while."""
        plain = JITFunction.run

        def run(kernel: Any, *arguments: Any, **named: Any) -> Any:
            return plain(kernel, *arguments, **{**named, **self.options})

        with ExitStack() as stack:
            for name, value in self.constants.items():
                module, constant = name.split(".")
                stack.enter_context(patch.object(import_module(f"maxvit.kernels.gpu.{module}"), constant, value))
            if self.options:
                stack.enter_context(patch.object(JITFunction, "run", run))
            yield


def candidates(**choices: tuple[object, ...]) -> list[Candidate]:
    """The kernels as they are, and all combinations; a name is an option, or a constant as module__NAME."""
    found = [Candidate({}, {})]
    for values in itertools.product(*choices.values()):
        given = {name.replace("__", "."): value for name, value in zip(choices, values, strict=True)}
        constants = {name: value for name, value in given.items() if "." in name}
        found.append(Candidate(constants, {name: value for name, value in given.items() if "." not in name}))
    return found


def tune_cells() -> Iterator[Cell]:
    """By what a network spends on them: inference first."""
    for name, make, options in _cells():
        yield Cell(name, partial(_tuned, make, options), seconds=1.0 + len(options) * (BUDGET_S + 0.5))


def _tuned(make: Callable[[Setting], Call], options: list[Candidate], setting: Setting, deadline: float) -> Result:
    call, rows, wanted = make(setting), {}, None
    for candidate in options[:2] if setting.dry else options:
        if time.monotonic() > deadline:
            rows[candidate.name] = {"missing": "no time was left"}
            continue
        try:
            with candidate.in_use():
                answer = call().clone()
                wanted = answer if wanted is None else wanted
                off = difference((answer,), (wanted,))
                rows[candidate.name] = {"difference": off, **one_time(call, setting, BUDGET_S)}
        except Exception as error:  # what does not fit on the chip
            rows[candidate.name] = {"missing": reason(error)}
    return rows


def _cells() -> Iterator[tuple[str, Callable[[Setting], Call], list[Candidate]]]:
    warps, stages = (2, 4, 8), (1, 2, 3)
    windows = ((256, 56, 64, 7), (64, 96, 96, 12), (64, 128, 64, 16), (64, 24, 384, 12), (256, 14, 256, 7))
    strips, norms = ((256, 112, 2, 256), (256, 56, 1, 256), (256, 14, 1, 1024), (64, 24, 1, 1536)), (64, 128, 256)
    shapes = ((256, 56, 64, 256), (256, 28, 512, 128), (256, 14, 256, 1024), (256, 14, 1024, 256))
    attending = candidates(num_warps=(4, 8), num_stages=stages, attention_inference__PROGRAMS=(2048, 8192))
    filtering = candidates(num_warps=warps, depthwise__COLUMNS=(4, 8), depthwise__PROGRAMS=(2048, 8192))
    multiplying = candidates(num_warps=(4, 8), num_stages=(2, 3, 4), maxnreg=(128, None))
    for images, side, channels, window in windows:
        name = f"attention, {images} x {side} x {side} x {channels}, {window} x {window}"
        yield name, partial(_attention, images, side, channels, window), attending
    for images, side, stride, channels in strips:
        name = f"depthwise, {images} x {side} x {side} x {channels}, stride {stride}"
        yield name, partial(_depthwise, images, side, stride, channels), filtering
    for images, side, inner, outer in shapes:
        size = f"{images} x {side} x {side}, {inner} to {outer}"
        yield f"product, {size}", partial(_product, images, side, inner, outer), multiplying
    for channels in norms:
        side = 56 * 64 // channels
        options = candidates(num_warps=(4, 8), num_stages=(1, 2, 3))
        yield f"feed-forward, {channels} channels", partial(_feedforward, side, channels), options
        yield f"norm and linear, {channels} channels", partial(_normed_linear, side, channels), options
    walking = candidates(
        num_warps=warps,
        strips__PIXELS=((4, 8), (4, 16), (4, 32)),
        strips__NUMBERS=(256, 512, 1024),
        maxnreg=(None, 168),
    )
    for backward, stride, side, channels in ((True, 2, 112, 256), (False, 2, 112, 256), (True, 1, 56, 256)):
        name = f"depthwise, training, {'backward' if backward else 'forward'}, stride {stride}"
        yield name, partial(_depthwise_training, backward, side, stride, channels), walking
    passing = candidates(num_warps=(4, 8), maps__PROGRAMS=(512, 1024, 2048))
    for backward in (True, False):
        name = f"norm and GELU, training, {'backward' if backward else 'forward'}"
        yield name, partial(_norm, backward), passing
    attending = candidates(num_warps=(4, 8), num_stages=(1, 2))
    for window, side in ((7, 56), (12, 96)):
        yield f"attention, training, backward, {window} x {window}", partial(_attention_back, side, window), attending


def _map(setting: Setting, images: int, side: int, channels: int) -> Tensor:
    side, channels = (8, 16) if setting.dry else (side, channels)
    shape = setting.batch(images), side, side, channels
    return torch.randn(shape, device=setting.device, dtype=setting.dtype)


def _weights(x: Tensor, *shape: int) -> Tensor:
    return torch.randn(shape, device=x.device, dtype=x.dtype) / shape[-1] ** 0.5


def _attention(images: int, side: int, channels: int, window: int, setting: Setting) -> Call:
    x = _map(setting, images, side, channels)
    window, heads = (4, 1) if setting.dry else (window, channels // 32)
    qkv = torch.cat([x, x.flip(0), x.flip(1)], 3)
    bias = torch.randn(heads, window**2, window**2, device=x.device)
    padded_bias = padded(bias)
    if setting.dry:
        return lambda: group_attention(qkv, bias, (window, window), "grid")[0]
    return lambda: group_attention_fixed(qkv, padded_bias, (window, window), "grid")


def _attention_back(side: int, window: int, setting: Setting) -> Call:
    x = _map(setting, 128, side, 64)
    window, heads = (4, 1) if setting.dry else (window, 2)
    qkv = torch.cat([x, x.flip(0), x.flip(1)], 3)
    bias = torch.randn(heads, window**2, window**2, device=x.device)
    out, log_sum = group_attention(qkv, bias, (window, window), "grid")
    return lambda: group_attention_gradient(qkv, bias, out, log_sum, x, (window, window), "grid")[0]


def _depthwise(images: int, side: int, stride: int, channels: int, setting: Setting) -> Call:
    x = _map(setting, images, side, channels)
    taps, bias = torch.randn(9, x.shape[3], device=x.device), torch.randn(x.shape[3], device=x.device)
    return lambda: filtered(x, taps, bias, stride, False, False)[0]


def _product(images: int, side: int, inner: int, outer: int, setting: Setting) -> Call:
    x = _map(setting, images, side, inner)
    weight, bias = _weights(x, outer, x.shape[3]), torch.randn(outer, device=x.device)
    if outer > inner:
        return lambda: activated(x, weight, bias, False)
    scale, residual = torch.rand(len(x), x.shape[3], device=x.device).to(x.dtype), _weights(x, *x.shape[:3], outer)
    return lambda: projected(x, scale, weight, bias, residual)


def _norm_of(x: Tensor) -> tuple[Tensor, Tensor]:
    return torch.rand(x.shape[3], device=x.device) + 0.5, torch.randn(x.shape[3], device=x.device)


def _normed_linear(side: int, channels: int, setting: Setting) -> Call:
    x = _map(setting, 256, side, channels)
    weight, bias = _weights(x, 3 * x.shape[3], x.shape[3]), torch.randn(3 * x.shape[3], device=x.device)
    norm = _norm_of(x)
    return lambda: normed_linear(x, *norm, weight, bias, 1e-5)


def _feedforward(side: int, channels: int, setting: Setting) -> Call:
    x = _map(setting, 256, side, channels)
    c = x.shape[3]
    given = (*_norm_of(x), _weights(x, 4 * c, c), torch.randn(4 * c, device=x.device), _weights(x, c, 4 * c))
    bias = torch.randn(c, device=x.device)
    return lambda: feedforward(x, *given, bias, None, 1e-5, False)


def _depthwise_training(backward: bool, side: int, stride: int, channels: int, setting: Setting) -> Call:
    x = _map(setting, 128, side, channels)
    found = torch.stack([torch.zeros(x.shape[3]), torch.ones(x.shape[3])]).to(x.device)
    given = (x, *_norm_of(x), found, torch.randn(x.shape[3], 1, 3, 3, device=x.device))
    if not backward:
        return lambda: norm_depthwise(*given, "tanh", stride, False)
    grad = torch.randn_like(norm_depthwise(*given, "tanh", stride, False))
    return lambda: norm_depthwise_gradient(*given, grad, "tanh", stride, False)[0]


def _norm(backward: bool, setting: Setting) -> Call:
    x = _map(setting, 128, 112, 64)
    found = torch.stack([torch.zeros(x.shape[3]), torch.ones(x.shape[3])]).to(x.device)
    given = (x, *_norm_of(x), found)
    if not backward:
        return lambda: normalized(*given, "tanh")
    grad = torch.randn_like(x)
    return lambda: normalized_gradient(*given, grad, "tanh")[0]
