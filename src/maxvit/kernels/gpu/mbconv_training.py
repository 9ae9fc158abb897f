"""MBConv in training: of the expanded maps only two are kept, the inputs of the two norms behind them.

What is between them is computed again in backward. The 1 x 1 products are PyTorch's.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from maxvit.kernels.gpu.activation import formula
from maxvit.kernels.gpu.depthwise_training import depthwise
from maxvit.kernels.gpu.excitation import pooled, scale_gradient
from maxvit.kernels.gpu.normalization import apply, input_gradient
from maxvit.kernels.gpu.statistics import statistics
from maxvit.kernels.gpu.support import compute_type, operator
from maxvit.layers.mbconv import MBConv


def mbconv(part: MBConv, x: Tensor) -> Tensor:
    """part(x) of a layer that trains, with batch statistics.

    Args:
        part: Its parameters may be float32 where maps are not.
        x: (B, C_in, H, W), float32, bfloat16 or float16. Under autocast, products and maps are of autocast's type.

    Returns:
        (B, C, ceil(H / stride), ceil(W / stride)).

    Raises:
        ValueError: If a norm sees one value of a channel, as `nn.BatchNorm2d` does.
    """
    tokens = x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C_in), a view of channels_last memory
    dtype = compute_type(x)
    first, second, third = part.pre_norm, part.expand_norm, part.depthwise_norm
    act, se = formula(part.act), part.se
    y = norm_expand(
        tokens, first.weight, first.bias, statistics(tokens, first), part.expand.weight, dtype
    )  # (B, H, W, 4C)
    y = depthwise(part.depthwise, y, second.weight, second.bias, statistics(y, second), act)  # (B, H', W', 4C)
    layers = (
        se.reduce.weight,
        se.reduce.bias,
        se.expand.weight,
        se.expand.bias,
        part.project.weight,
        part.project.bias,
    )
    y = excite_project(y, third.weight, third.bias, statistics(y, third), *layers, act)  # (B, H', W', C)
    return part.shortcut(x) + part.drop_path(y).permute(0, 3, 1, 2)


@operator("maxvit::norm_expand")
def norm_expand(x: Tensor, weight: Tensor, bias: Tensor, found: Tensor, layer: Tensor, dtype: torch.dtype) -> Tensor:
    """A 1 x 1 convolution of norm(x), which keeps x only.

    Args:
        x: (B, H, W, C), dense.
        weight: Weight of the norm, (C,).
        bias: Bias of the norm, (C,).
        found: Its `statistics` of x. Gradients take into account that they depend on x.
        layer: Weights of the convolution, (C_out, C, 1, 1).
        dtype: Type of the product.

    Returns:
        (B, H, W, C_out).
    """
    return F.linear(apply(x, weight, bias, found, "none", dtype), layer.flatten(1).to(dtype))


@operator("maxvit::norm_expand_gradient")
def norm_expand_gradient(
    x: Tensor, weight: Tensor, bias: Tensor, found: Tensor, layer: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of `norm_expand`'s x, weight, bias and layer, from that of its result."""
    grad = grad.contiguous()
    made = apply(x, weight, bias, found, "none", grad.dtype)
    of_layer = grad.flatten(0, 2).t() @ made.flatten(0, 2)
    of_norm = input_gradient(x, grad @ layer.flatten(1).to(grad.dtype), weight, bias, found, "none")
    return *of_norm, of_layer.reshape(layer.shape).to(layer.dtype)


@operator("maxvit::excite_project")
def excite_project(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    found: Tensor,
    reduce: Tensor,
    reduce_bias: Tensor,
    expand: Tensor,
    expand_bias: Tensor,
    project: Tensor,
    project_bias: Tensor,
    act: str,
) -> Tensor:
    """project(se(act(norm(x)))), which keeps x only.

    Args:
        x: (B, H, W, C), dense.
        weight: Weight of the norm, (C,).
        bias: Bias of the norm, (C,).
        found: Its `statistics` of x. Gradients take into account that they depend on x.
        reduce: Weights of squeeze-and-excitation's first layer, (S, C, 1, 1).
        reduce_bias: (S,).
        expand: Weights of its second, (C, S, 1, 1).
        expand_bias: (C,).
        project: (C_out, C, 1, 1).
        project_bias: (C_out,).
        act: "tanh" or "erf".

    Returns:
        (B, H, W, C_out) in x's type.
    """
    mean = pooled(x, weight, bias, found, act)
    *_, scale = _excite(mean.to(x.dtype), reduce, reduce_bias, expand, expand_bias)
    y = apply(x, weight, bias, found, act, x.dtype, scale)
    return F.linear(y, project.flatten(1).to(x.dtype), project_bias.to(x.dtype))


@operator("maxvit::excite_project_gradient")
def excite_project_gradient(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    found: Tensor,
    reduce: Tensor,
    reduce_bias: Tensor,
    expand: Tensor,
    expand_bias: Tensor,
    project: Tensor,
    project_bias: Tensor,
    grad: Tensor,
    act: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of `excite_project`'s tensors but `found`, in their order, from that of its result."""
    grad, dtype = grad.contiguous(), x.dtype
    mean = pooled(x, weight, bias, found, act).to(dtype)
    before, squeezed, scale = _excite(mean, reduce, reduce_bias, expand, expand_bias)
    rows, inner = grad.flatten(0, 2), grad @ project.flatten(1).to(dtype)  # (M, C_out), (B, H, W, C)
    y, of_scale = scale_gradient(x, inner, weight, bias, found, act, scale)
    of_project = rows.t() @ y.flatten(0, 2)
    del y
    of_expanded = (of_scale * scale * (1 - scale)).to(dtype)  # (B, C), before the sigmoid
    of_squeezed = of_expanded @ expand.flatten(1).to(dtype)
    of_reduced = torch.ops.aten.silu_backward(of_squeezed, before)  # (B, S)
    pull = (of_reduced @ reduce.flatten(1).to(dtype)).float() / x.shape[1:3].numel()
    of_norm = input_gradient(x, inner, weight, bias, found, act, scale, pull)
    return (
        *of_norm,
        (of_reduced.t() @ mean).reshape(reduce.shape).to(reduce.dtype),
        of_reduced.sum(0, dtype=reduce_bias.dtype),
        (of_expanded.t() @ squeezed).reshape(expand.shape).to(expand.dtype),
        of_expanded.sum(0, dtype=expand_bias.dtype),
        of_project.reshape(project.shape).to(project.dtype),
        rows.sum(0, dtype=project_bias.dtype),
    )


def _excite(
    mean: Tensor, reduce: Tensor, reduce_bias: Tensor, expand: Tensor, expand_bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What squeeze-and-excitation scales by, (B, C) in float32, behind its values before SiLU and after, (B, S)."""
    dtype = mean.dtype
    before = F.linear(mean, reduce.flatten(1).to(dtype), reduce_bias.to(dtype))
    squeezed = F.silu(before)
    expanded = F.linear(squeezed, expand.flatten(1).to(dtype), expand_bias.to(dtype))
    return before, squeezed, expanded.float().sigmoid()


@norm_expand.register_fake
def _expand_shapes(x: Tensor, weight: Tensor, bias: Tensor, found: Tensor, layer: Tensor, dtype: torch.dtype) -> Tensor:
    return x.new_empty(*x.shape[:3], layer.shape[0], dtype=dtype)


@norm_expand_gradient.register_fake
def _expand_gradient_shapes(
    x: Tensor, weight: Tensor, bias: Tensor, found: Tensor, layer: Tensor, grad: Tensor
) -> tuple[Tensor, ...]:
    return tuple(map(torch.empty_like, (x, weight, bias, layer)))


@excite_project.register_fake
def _excite_project_shapes(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    found: Tensor,
    reduce: Tensor,
    reduce_bias: Tensor,
    expand: Tensor,
    expand_bias: Tensor,
    project: Tensor,
    project_bias: Tensor,
    act: str,
) -> Tensor:
    return x.new_empty(*x.shape[:3], project.shape[0])


@excite_project_gradient.register_fake
def _excite_project_gradient_shapes(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    found: Tensor,
    reduce: Tensor,
    reduce_bias: Tensor,
    expand: Tensor,
    expand_bias: Tensor,
    project: Tensor,
    project_bias: Tensor,
    grad: Tensor,
    act: str,
) -> tuple[Tensor, ...]:
    layers = (reduce, reduce_bias, expand, expand_bias, project, project_bias)
    return tuple(map(torch.empty_like, (x, weight, bias, *layers)))


def _keep_expand(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:-1])


def _differentiate_expand(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    *of_norm, of_layer = norm_expand_gradient(*ctx.saved_tensors, grad)
    return *of_norm, None, of_layer, None


def _keep_excite_project(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.act = inputs
    ctx.save_for_backward(*tensors)


def _differentiate_excite_project(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    of_x, of_weight, of_bias, *of_layers = excite_project_gradient(*ctx.saved_tensors, grad, ctx.act)
    return of_x, of_weight, of_bias, None, *of_layers, None


norm_expand.register_autograd(_differentiate_expand, setup_context=_keep_expand)
excite_project.register_autograd(_differentiate_excite_project, setup_context=_keep_excite_project)
