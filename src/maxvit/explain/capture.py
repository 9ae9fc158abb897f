"""One look at an image: what goes into every attention layer, and if wanted how a score depends on what comes out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maxvit.errors import MaxViTError
from maxvit.layers.attention import GroupAttention
from maxvit.layers.block import MaxViTBlock
from maxvit.layers.images import check_images
from maxvit.layers.modes import evaluating
from maxvit.layers.multiaxis import AttentionLayer
from maxvit.layers.parallel import ParallelAttention
from maxvit.layers.partition import Axis, Size
from maxvit.layers.plain_head import PlainHead
from maxvit.tasks.network import Network, backbone_of, has_own_head, last_stride


@dataclass(frozen=True, slots=True)
class Look:
    """One attention layer at work on one image.

    Attributes:
        stage: From 1.
        block: Block of the stage, from 1.
        attention: The layer.
        tokens: What it was given, (1, H, W, C).
        gradient: Gradient of the score with respect to its output, (1, H, W, C); None where no score was asked for.
    """

    stage: int
    block: int
    attention: GroupAttention
    tokens: Tensor
    gradient: Tensor | None

    @property
    def axis(self) -> Axis:
        """ "block" or "grid"."""
        return self.attention.axis

    @property
    def hw(self) -> Size:
        """Sides of the map."""
        return self.tokens.shape[1], self.tokens.shape[2]


@dataclass(frozen=True, slots=True)
class Looks:
    """Every attention layer in the order of the network, and the last map that the head pools, with its gradient.

    Attributes:
        image_size: (H, W) of the image.
        layers: Those of every block, by default block, then grid attention.
        features: The map, (1, C, H, W).
        gradient: Gradient of the score with respect to it; None where no score was asked for.
    """

    image_size: Size
    layers: list[Look]
    features: Tensor
    gradient: Tensor | None

    def sides(self, stage: int) -> Size:
        """(H, W) of a stage's maps, which counts from 1."""
        stride = 2 ** (stage + 1)
        return tuple(-(-side // stride) for side in self.image_size)


def stages_of(network: Network) -> list[nn.Module]:
    """Those whose maps the head sees, or needs for one that it sees.

    Raises:
        MaxViTError: If there are none.
    """
    stages = list(backbone_of(network).stages)[: last_stride(network).bit_length() - 2]  # the first has a stride of 4
    if not stages:
        raise MaxViTError("the head of this network sees the stem alone, so there is no attention to show")
    return stages


def pooled_map(network: Network) -> nn.Module:
    """What gives the last map that the head sees; before a norm of each position, the norm, as pooling follows that.

    Behind a layer norm nothing depends on how large a position's features are, so that before it the sum over them of
    feature times gradient is 0 everywhere.
    """
    head = backbone_of(network).head
    plain = has_own_head(network) and isinstance(head, PlainHead) and last_stride(network) == 32
    return head.norm if plain else stages_of(network)[-1]


def attention_layers(network: Network) -> list[tuple[int, int, GroupAttention]]:
    """(stage, block, layer) of every attention below the head, both numbers from 1, in the order of the network.

    Raises:
        MaxViTError: If the network is an optimised one, which has none that could be looked at.
    """
    if (dims := backbone_of(network).config.dims) != 2:
        raise MaxViTError(f"attention is shown over images, and this network takes maps of {dims} sides")
    found = []
    for s, stage in enumerate(stages_of(network), start=1):
        for b, block in enumerate(stage.children(), start=1):
            found += [(s, b, layer) for layer in _attentions(block)]
    return found


def _attentions(block: nn.Module) -> list[GroupAttention]:
    """The attention of a block's parts, in their order."""
    if not isinstance(block, MaxViTBlock):
        raise MaxViTError("attention cannot be seen in an optimised network: give the original")
    found = []
    for part in block:
        if isinstance(part, AttentionLayer):
            found.append(part.attention)
        elif isinstance(part, ParallelAttention):
            found += [part.block, part.grid]
    return found


def look(network: Network, image: Tensor, score: Callable[[Tensor], Tensor] | None = None) -> Looks:
    """Run one image.

    Args:
        network: It is run in evaluation mode, plainly, and left as it was, without gradients.
        image: (C, H, W), preprocessed; any size.
        score: From the logits (num_classes,) to a number, whose gradients are wanted; None: no gradients, less memory,
            and the head is not run.

    Raises:
        MaxViTError: If the image does not fit the network, or its attention cannot be seen.
    """
    layers, last = attention_layers(network), pooled_map(network)
    batch = one_image(network, image).requires_grad_(score is not None)
    watched = [*(attention for _, _, attention in layers), last]
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def keep(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        seen[module] = inputs[0], output

    handles = [module.register_forward_hook(keep) for module in watched]
    try:
        with evaluating(network), torch.set_grad_enabled(score is not None):
            if score is None:
                (features,) = backbone_of(network).forward_pyramid(batch, [last_stride(network)])
                if last not in seen:
                    last(features)
                gradients: Sequence[Tensor | None] = [None] * len(watched)
            else:
                number = score(network(batch)[0])
                gradients = torch.autograd.grad(number, [seen[module][1] for module in watched])
    finally:
        for handle in handles:
            handle.remove()
    looks = [
        Look(stage, block, attention, seen[attention][0].detach(), gradient)
        for (stage, block, attention), gradient in zip(layers, gradients[:-1], strict=True)
    ]
    return Looks(batch.shape[2:], looks, seen[last][1].detach(), gradients[-1])


def one_image(network: Network, image: Tensor) -> Tensor:
    """A batch of one, where the network is and of its type: (C, H, W) -> (1, C, H, W), a tensor of its own.

    Raises:
        MaxViTError: If it does not fit the network.
    """
    if image.ndim != 3:
        raise MaxViTError(f"the image has shape {tuple(image.shape)}; it takes one preprocessed image, (C, H, W)")
    weight, batch = next(network.parameters()), image[None].detach()
    if batch.is_floating_point():
        batch = batch.to(weight.device, weight.dtype, copy=True)
    check_images(batch, network.config.in_channels, weight.dtype)
    return batch
