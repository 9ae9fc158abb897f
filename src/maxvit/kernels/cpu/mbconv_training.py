"""MBConv in training: of the expanded maps only two are kept, the inputs of the two norms behind them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from maxvit.kernels.cpu.ctypes_calls import activation_code, address, call, structure
from maxvit.kernels.cpu.linear_training import linear_of
from maxvit.kernels.cpu.norm_training import affine, blocks, input_gradient, maps, normalized, statistics
from maxvit.layers.mbconv import MBConv, SqueezeExcite

Depthwise = structure(
    "Depthwise", longs="images height width channels stride", ints="activation symmetric", pointers="norm weights"
)


def mbconv(part: MBConv, x: Tensor) -> Tensor:
    """part(x): (B, C_in, H, W) -> (B, C, ceil(H / stride), ceil(W / stride))."""
    tokens = x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C_in), a view of channels_last memory
    first, second, third = part.pre_norm, part.expand_norm, part.depthwise_norm
    found = statistics(tokens, first)
    y = linear_of(lambda t, w, b: normalized(t, w, b, found), part.expand, tokens, first.weight, first.bias)
    code, symmetric = activation_code(part.act), part.depthwise.padding[0] == 1
    y = _Depthwise.apply(
        y,
        second.weight,
        second.bias,
        part.depthwise.weight,
        statistics(y, second),
        code,
        part.depthwise.stride[0],
        symmetric,
    )  # (B, H', W', 4C)
    y = _ExciteProject.apply(
        y,
        third.weight,
        third.bias,
        part.project.weight.flatten(1),
        part.project.bias,
        statistics(y, third),
        code,
        part.se,
        *part.se.parameters(),
    )  # (B, H', W', C)
    return part.shortcut(x) + part.drop_path(y).permute(0, 3, 1, 2)


class _Depthwise(Function):
    """depthwise(act(norm(x))); keeps x."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        kernel: Tensor,
        found: Tensor,
        code: int,
        stride: int,
        symmetric: bool,
    ) -> Tensor:
        ctx.facts = stride, code, symmetric
        ctx.save_for_backward(x, weight, bias, kernel, found)
        norm, taps = affine(found, weight, bias), kernel.flatten(1).t().contiguous()  # (9, C)
        y = x.new_empty(x.shape[0], -(-x.shape[1] // stride), -(-x.shape[2] // stride), x.shape[3])
        call("depthwise", Depthwise(*x.shape, *ctx.facts, address(norm), address(taps)), x, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, kernel, found = ctx.saved_tensors
        norm, taps = affine(found, weight, bias), kernel.flatten(1).t().contiguous()
        out, sums = torch.empty_like(x), x.new_empty(x.shape[0], 2, x.shape[3])
        by_image = x.new_empty(x.shape[0], 9, x.shape[3])
        convolution = Depthwise(*x.shape, *ctx.facts, address(norm), address(taps))
        call("depthwise_gradient", convolution, x, grad.contiguous(), out, sums, by_image)
        of_norm = input_gradient(x, out, sums, found, weight)
        return out, *of_norm, by_image.sum(0).t().reshape(kernel.shape), None, None, None, None


class _ExciteProject(Function):
    """project(se(act(norm(x)))); keeps x."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        project: Tensor,
        project_bias: Tensor | None,
        found: Tensor,
        code: int,
        se: SqueezeExcite,
        *excite: Tensor,
    ) -> Tensor:
        batch, pixels, channels = x.shape[0], x.shape[1:3].numel(), x.shape[3]
        norm, sums, y = affine(found, weight, bias), x.new_empty(batch, blocks(x), channels), torch.empty_like(x)
        call("pool", maps(x, code, norm), x, sums)
        mean = sums.sum(1)[:, :, None, None] / pixels  # (B, C, 1, 1)
        scale = se.scale(mean)
        call("apply", maps(x, code, norm, scale), x, y)
        ctx.code, ctx.has_bias = code, project_bias is not None
        ctx.save_for_backward(x, weight, bias, project, found, mean, *excite)
        return F.linear(y, project, project_bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, project, found, *leaves = ctx.saved_tensors
        batch, pixels, channels = x.shape[0], x.shape[1:3].numel(), x.shape[3]
        rows, inner = grad.flatten(0, 2), grad @ project  # (M, C), (B, H, W, 4C)
        norm, y, sums = affine(found, weight, bias), torch.empty_like(x), x.new_empty(batch, blocks(x), channels)
        leaves = [t.detach().requires_grad_() for t in leaves]  # a parameter's own hooks would be called here and again
        with torch.enable_grad():
            mean, reduce, reduce_bias, expand, expand_bias = leaves
            scale = F.conv2d(F.silu(F.conv2d(mean, reduce, reduce_bias)), expand, expand_bias).sigmoid()  # (B, C, 1, 1)
        call("scale_gradient", maps(x, ctx.code, norm, scale), x, inner, y, sums)
        of_project = rows.t() @ y.flatten(0, 2), rows.sum(0) if ctx.has_bias else None
        del y
        pull, *of_excite = torch.autograd.grad(scale, leaves, sums.sum(1)[:, :, None, None])
        pull = pull / pixels
        sums = x.new_empty(batch * blocks(x), 2, channels)
        call("apply_gradient", maps(x, ctx.code, norm, scale, pull), x, inner, inner, sums)
        return inner, *input_gradient(x, inner, sums, found, weight), *of_project, None, None, None, *of_excite
