"""Multi-axis attention rollout: block and grid attention of every layer composed, from the last map to the image.

Rollout (Abnar and Zuidema, 2020, "Quantifying Attention Flow in Transformers", "Attention Rollout") multiplies the
attention of all layers, each mixed half and half with the identity for the residual. Here the product is never formed:
the relevance of the last map's tokens is carried back through one layer after another, each a set of small group
matrices. Cost and memory are linear in the pixels, and the result is that of the dense product.

Exact: the attention weights, their groups and padding, the composition of the layers, and that average pooling in the
head takes every token alike (with max pooling: the share of channels whose maximum a token holds).

Assumed: a residual and its branch weigh the same, heads weigh the same, values and feed-forward networks move nothing
between tokens (the last is exact). MBConv keeps a token where it is ("identity"), or half of it and spreads half evenly
over its 3 x 3 neighbours ("spread"); where it strides, a token stems evenly from the pixels that average pooling
gathers, at most 2 x 2. What squeeze-and-excitation tells every token of every other is left out.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from maxvit.config import check_known
from maxvit.explain.capture import Look, Looks, look, stages_of
from maxvit.explain.target import check_target
from maxvit.layers.attention import GroupAttention
from maxvit.layers.partition import Size, partition, unpartition
from maxvit.tasks.network import Network, backbone_of

Mixing = Literal["identity", "spread"]
RESIDUAL = 0.5  # the share of a token that goes around attention
MIXINGS = ("identity", "spread")


def rollout(
    network: Network, image: Tensor, target: int | None = None, mbconv: Mixing = "identity"
) -> list[npt.NDArray[np.float32]]:
    """How much of what the head sees comes from each position, by attention.

    It begins at the last map that the head sees.

    With a target it is about one class: attention counts as far as more of it would raise the class's logit (weight
    times gradient, its positive part, mean over heads; Chefer et al., 2021, "Generic Attention-model Explainability",
    Eq. 5). Where they add such matrices to the identity, whose scale then depends on the image's size, rows are here
    brought to sum to 1, so that nothing is lost or gained; a row without a positive entry keeps its token. The last
    map's tokens then count by the positive part of feature times gradient.

    Args:
        network: It is run in evaluation mode and left as it was.
        image: (C, H, W), preprocessed; any size.
        target: A class, from 0; None: attention alone, for no class in particular.
        mbconv: What MBConv is taken to do, "identity" or "spread", see above.

    Returns:
        A map (H, W) for each stage, at the resolution of the stage, with the relevance of its tokens before its first
        attention; 1 is the share that every position would have if all were alike.

    Raises:
        MaxViTError: If the image, the target or the mixing does not fit, or the attention cannot be seen.
    """
    check_known("mbconv", [mbconv], MIXINGS)
    if target is not None:
        check_target(network, target)
    looks = look(network, image, None if target is None else lambda logits: logits[target])
    with torch.no_grad():
        carried = _carry_back(network, looks, _start(network, looks), mbconv == "spread")
        return [(r * r.numel()).cpu().numpy() for r in carried]


def _start(network: Network, looks: Looks) -> Tensor:
    """The relevance of the last map's tokens, (H, W), which sums to 1."""
    features = looks.features[0].float()  # (C, H, W)
    if looks.gradient is not None:
        relevance = (features * looks.gradient[0].float()).sum(0).clamp(min=0)
    elif network.config.pool != "max":
        relevance = torch.ones_like(features[0])
    else:
        winners = features.flatten(1).argmax(1)  # (C,)
        relevance = torch.bincount(winners, minlength=features[0].numel()).float().view_as(features[0])
    return relevance / relevance.sum() if relevance.sum() > 0 else torch.full_like(relevance, 1 / relevance.numel())


def _carry_back(network: Network, looks: Looks, relevance: Tensor, spreads: bool) -> Sequence[Tensor]:
    """The relevance of each stage's tokens, (H, W), first stage first; each sums to 1."""
    config, layers, found = backbone_of(network).config, list(looks.layers), list[Tensor]()
    for stage in reversed(range(len(stages_of(network)))):
        order = config.block_orders[stage]
        first = next((i for i, part in enumerate(order) if part != "C"), 0)  # attention
        for i, part in reversed(list(enumerate(order * config.depths[stage]))):
            if part == "P":  # each gives half of the channels
                grid, block = layers.pop(), layers.pop()
                relevance = (through_attention(block, relevance) + through_attention(grid, relevance)) / 2
            elif part != "C":
                relevance = through_attention(layers.pop(), relevance)
            if i == first:
                found.append(relevance)
            if i == 0 and stage:
                relevance = unpool(relevance, looks.sides(stage))
            if part == "C" and spreads:
                relevance = spread(relevance)
    return found[::-1]


def through_attention(seen: Look, relevance: Tensor) -> Tensor:
    """From what a layer gives to what it is given, (H, W) -> (H, W): each query hands its relevance to its keys."""
    attention, hw = seen.attention, seen.hw
    weights = attention.weights(seen.tokens)[0].float()  # (G, N, T, T)
    if seen.gradient is None:
        weights = weights.mean(1)
    else:
        weights = (weights * weight_gradients(attention, seen.tokens, seen.gradient)).clamp(min=0).mean(1)
        total = weights.sum(-1, keepdim=True)  # (G, T, 1)
        itself = torch.eye(weights.shape[-1], device=weights.device)
        weights = torch.where(total > 0, weights / total.clamp(min=torch.finfo(total.dtype).tiny), itself)
    asked = _group(relevance[None, :, :, None], attention)[0]  # (G, T, 1); padding asks nothing
    given = (weights.transpose(1, 2) @ asked)[None]  # (1, G, T, 1)
    received = unpartition(given, hw, attention.groups)[0, :, :, 0]
    return RESIDUAL * relevance + (1 - RESIDUAL) * received


def weight_gradients(attention: GroupAttention, tokens: Tensor, gradient: Tensor) -> Tensor:
    """From the gradient of a layer's output to that of its attention weights: (1, H, W, C) -> (G, N, T, T).

    Head n gives query q the sum over keys k of weight times value, so the derivative is an inner product.
    """
    heads = (attention.heads, -1)
    values = attention.qkv(tokens).tensor_split(3, -1)[2]  # (1, H, W, C)
    v, g = (_group(x, attention)[0].unflatten(2, heads) for x in (values, gradient @ attention.proj.weight))
    return torch.einsum("gqnd,gknd->gnqk", g.float(), v.float())


def unpool(relevance: Tensor, hw: Size) -> Tensor:
    """Average pooling backwards: each token hands its relevance evenly to the pixels that it is the mean of."""
    row, column = (torch.full((side,), 2.0, device=relevance.device) for side in relevance.shape)
    row[-1], column[-1] = 2 - hw[0] % 2, 2 - hw[1] % 2
    share = relevance / (row[:, None] * column)
    return share.repeat_interleave(2, 0).repeat_interleave(2, 1)[: hw[0], : hw[1]]


def spread(relevance: Tensor) -> Tensor:
    """Half of it evenly to the 3 x 3 neighbours on the map, itself among them."""
    ones = torch.ones_like(relevance)
    neighbours = _sum_3x3(ones)
    return RESIDUAL * relevance + (1 - RESIDUAL) * _sum_3x3(relevance / neighbours)


def _sum_3x3(x: Tensor) -> Tensor:
    return F.avg_pool2d(x[None, None], 3, stride=1, padding=1, divisor_override=1)[0, 0]


def _group(x: Tensor, attention: GroupAttention) -> Tensor:
    """(1, H, W, C) -> (1, G, T, C)."""
    return partition(x, attention.groups)
