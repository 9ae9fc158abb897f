"""What block and grid attention look at."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from maxvit.errors import MaxViTError
from maxvit.layers.attention import GroupAttention
from maxvit.layers.modes import evaluating
from maxvit.layers.partition import padded_size, real_tokens, unpartition
from maxvit.model import MaxViT, MaxViTBlock


@dataclass(frozen=True, slots=True)
class AttentionMap:
    """How much attention each position of a feature map receives.

    Attributes:
        stage: 1 to 4.
        axis: "block" or "grid".
        values: (H, W) float32; 1 is the share that every position would get if all were alike.
    """

    stage: int
    axis: str
    values: npt.NDArray[np.float32]


def attention_maps(model: MaxViT, image: Tensor) -> list[AttentionMap]:
    """Run one image and look at the last block of each stage.

    Args:
        model: The network; it is run in evaluation mode and left as it was.
        image: (C, H, W), preprocessed.

    Returns:
        Block, then grid attention of each stage whose map has more than one token: what each token receives from the
        tokens of its group, mean over heads and queries, times the tokens of the group.
    """
    found: list[AttentionMap] = []
    handles = []
    for number, stage in enumerate(model.stages, start=1):
        block = list(stage.children())[-1]
        if not isinstance(block, MaxViTBlock):
            raise MaxViTError("attention cannot be seen in an optimised network: give the original")
        for layer in (block.block_attention, block.grid_attention):
            handles.append(layer.attention.register_forward_hook(_recorder(found, number)))
    try:
        with evaluating(model), torch.inference_mode():
            model(image[None].to(next(model.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    return [m for m in found if m.values.size > 1]


def received(attention: GroupAttention, x: Tensor) -> Tensor:
    """What each token receives: (1, H, W, C) -> (H, W). Padding neither gives nor receives."""
    hw = (x.shape[1], x.shape[2])
    weights = attention.weights(x)[0].float().mean(1)  # (G, T, T): query, key
    real = real_tokens(hw, attention.size, attention.axis, x.device)
    if real is not None:
        weights = weights * real[:, :, None]  # padding asks nothing
    share = weights.sum(1)[None, :, :, None]  # (1, G, T, 1): the mean over the queries, times as many keys
    whole = unpartition(share, padded_size(hw, attention.size), attention.size, attention.axis)
    return whole[0, : hw[0], : hw[1], 0]


def _recorder(found: list[AttentionMap], stage: int) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
    def record(attention: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        assert isinstance(attention, GroupAttention)
        found.append(AttentionMap(stage, attention.axis, received(attention, inputs[0]).cpu().numpy()))

    return record
