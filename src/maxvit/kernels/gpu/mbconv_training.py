"""MBConv in training: of the expanded maps only two are kept, the inputs of the two norms behind them.

What is between them is computed again in backward. The 1 x 1 products are PyTorch's.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from maxvit.kernels.gpu.activation import formula
from maxvit.kernels.gpu.casting import cast
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
    first, second, third = part.pre_norm, part.expand_norm, part.depthwise_norm
    act, se = formula(part.act), part.se
    weights = part.expand.weight, se.reduce.weight, se.expand.weight, part.project.weight
    biases = [bias for bias in (se.reduce.bias, se.expand.bias, part.project.bias) if bias is not None]
    expand, reduce, excite, project, *biases = cast(compute_type(x), *weights, *biases)
    y = norm_expand(tokens, first.weight, first.bias, statistics(tokens, first), expand)  # (B, H, W, 4C)
    y = depthwise(part.depthwise, y, second.weight, second.bias, statistics(y, second), act)  # (B, H', W', 4C)
    layers = reduce, biases[0], excite, biases[1], project, biases[2]
    y = excite_project(y, third.weight, third.bias, statistics(y, third), *layers, act)[0]  # (B, H', W', C)
    return part.shortcut(x) + part.drop_path(y).permute(0, 3, 1, 2)


@operator("maxvit::norm_expand")
def norm_expand(x: Tensor, weight: Tensor, bias: Tensor, found: Tensor, layer: Tensor) -> Tensor:
    """A linear layer of norm(x), which keeps x only.

    Args:
        x: (B, H, W, C), dense.
        weight: Weight of the norm, (C,).
        bias: Bias of the norm, (C,).
        found: Its `statistics` of x. Gradients take into account that they depend on x.
        layer: (C_out, C), of the type of the product.

    Returns:
        (B, H, W, C_out), of the layer's type.
    """
    return F.linear(apply(x, weight, bias, found, "none", layer.dtype), layer)


@operator("maxvit::norm_expand_gradient")
def norm_expand_gradient(
    x: Tensor, weight: Tensor, bias: Tensor, found: Tensor, layer: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of `norm_expand`'s x, weight, bias and layer, from that of its result."""
    grad = grad.contiguous()
    made = apply(x, weight, bias, found, "none", grad.dtype)
    of_layer = grad.flatten(0, 2).t() @ made.flatten(0, 2)
    del made
    return *input_gradient(x, grad @ layer, weight, bias, found, "none"), of_layer


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
) -> tuple[Tensor, Tensor]:
    """project(se(act(norm(x)))); of maps it keeps x only.

    Args:
        x: (B, H, W, C), dense.
        weight: Weight of the norm, (C,).
        bias: Bias of the norm, (C,).
        found: Its `statistics` of x. Gradients take into account that they depend on x.
        reduce: Squeeze-and-excitation's first layer, (S, C). All layers are of x's type.
        reduce_bias: (S,).
        expand: Its second, (C, S).
        expand_bias: (C,).
        project: (C_out, C).
        project_bias: (C_out,).
        act: "tanh" or "erf".

    Returns:
        (B, H, W, C_out), and for backward the mean of act(norm(x)) over each image, (B, C); both in x's type.
    """
    mean = pooled(x, weight, bias, found, act)
    *_, scale = _excite(mean, reduce, reduce_bias, expand, expand_bias)
    return F.linear(apply(x, weight, bias, found, act, x.dtype, scale), project, project_bias), mean


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
    mean: Tensor,
    grad: Tensor,
    act: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of `excite_project`'s tensors but `found`, in their order, from that of its first result."""
    grad = grad.contiguous()
    before, squeezed, scale = _excite(mean, reduce, reduce_bias, expand, expand_bias)
    rows, inner = grad.flatten(0, 2), grad @ project  # (M, C_out), (B, H, W, C)
    y, of_scale = scale_gradient(x, inner, weight, bias, found, act, scale)
    of_project = rows.t() @ y.flatten(0, 2)
    del y
    of_expanded = torch.ops.aten.sigmoid_backward(of_scale, scale)  # (B, C)
    of_reduced = torch.ops.aten.silu_backward(of_expanded @ expand, before)  # (B, S)
    of_norm = input_gradient(x, inner, weight, bias, found, act, scale, of_reduced @ reduce)
    return (
        *of_norm,
        of_reduced.t() @ mean,
        of_reduced.sum(0),
        of_expanded.t() @ squeezed,
        of_expanded.sum(0),
        of_project,
        rows.sum(0),
    )


def _excite(
    mean: Tensor, reduce: Tensor, reduce_bias: Tensor, expand: Tensor, expand_bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What squeeze-and-excitation scales by, (B, C), behind its values before SiLU and after, (B, S)."""
    before = F.linear(mean, reduce, reduce_bias)
    squeezed = F.silu(before)
    return before, squeezed, F.linear(squeezed, expand, expand_bias).sigmoid()


@norm_expand.register_fake
def _expand_shapes(x: Tensor, weight: Tensor, bias: Tensor, found: Tensor, layer: Tensor) -> Tensor:
    return layer.new_empty(*x.shape[:3], layer.shape[0])


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
) -> tuple[Tensor, Tensor]:
    return x.new_empty(*x.shape[:3], project.shape[0]), x.new_empty(x.shape[0], x.shape[3])


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
    mean: Tensor,
    grad: Tensor,
    act: str,
) -> tuple[Tensor, ...]:
    layers = (reduce, reduce_bias, expand, expand_bias, project)
    return (*map(torch.empty_like, (x, weight, bias, *layers)), project.new_empty(project.shape[0]))


def _keep_expand(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate_expand(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    *of_norm, of_layer = norm_expand_gradient(*ctx.saved_tensors, grad)
    return *of_norm, None, of_layer


def _keep_excite_project(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, _, ctx.act = inputs  # but the last bias
    ctx.save_for_backward(*tensors, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # no zeros for it


def _differentiate_excite_project(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    of_x, of_weight, of_bias, *of_layers = excite_project_gradient(*ctx.saved_tensors, grad, ctx.act)
    return of_x, of_weight, of_bias, None, *of_layers, None


norm_expand.register_autograd(_differentiate_expand, setup_context=_keep_expand)
excite_project.register_autograd(_differentiate_excite_project, setup_context=_keep_excite_project)
