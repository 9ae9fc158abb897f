"""How much attention each position receives from the others of its group."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maxvit.explain.capture import look
from maxvit.layers.attention import GroupAttention
from maxvit.layers.partition import real_tokens, unpartition
from maxvit.tasks.network import Network


@dataclass(frozen=True, slots=True)
class AttentionMap:
    """How much attention each position of a feature map receives.

    Attributes:
        stage: 1 to 4.
        axis: "block" or "grid"; or "rollout", of which it is a map beside them.
        values: (H, W) float32; 1 is the share that every position would get if all were alike.
    """

    stage: int
    axis: str
    values: npt.NDArray[np.float32]


def attention_maps(network: Network, image: Tensor) -> list[AttentionMap]:
    """Run one image and look at the last block of each stage.

    Args:
        network: It is run in evaluation mode and left as it was.
        image: (C, H, W), preprocessed.

    Returns:
        Block, then grid attention of each stage whose map has more than one token: what each token receives from the
        tokens of its group, mean over heads and queries, times the tokens of the group.

    Raises:
        MaxViTError: If the image does not fit the network, or its attention cannot be seen.
    """
    looks = look(network, image).layers
    last = {seen.stage: seen.block for seen in looks}
    found = []
    with torch.no_grad():
        for seen in looks:
            if seen.block == last[seen.stage] and seen.hw != (1, 1):
                values = received(seen.attention, seen.tokens).cpu().numpy()
                found.append(AttentionMap(seen.stage, seen.axis, values))
    return found


def received(attention: GroupAttention, x: Tensor) -> Tensor:
    """What each token receives: (1, H, W, C) -> (H, W). Padding neither gives nor receives."""
    hw = (x.shape[1], x.shape[2])
    weights = attention.weights(x)[0].float().mean(1)  # (G, T, T): query, key
    real = real_tokens(hw, attention.groups, x.device)
    if real is not None:
        weights = weights * real[:, :, None]  # padding asks nothing
    share = weights.sum(1)[None, :, :, None]  # (1, G, T, 1): the mean over the queries, times as many keys
    return unpartition(share, hw, attention.groups)[0, :, :, 0]
