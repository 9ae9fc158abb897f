"""One look at an image: what goes into every attention layer, and if wanted how a score depends on what comes out."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maxvit.errors import MaxViTError
from maxvit.layers.attention import GroupAttention
from maxvit.layers.modes import evaluating
from maxvit.layers.partition import Size
from maxvit.model import MaxViT, MaxViTBlock, check_images


@dataclass(frozen=True, slots=True)
class Look:
    """One attention layer at work on one image.

    Attributes:
        stage: From 1.
        block: Of the stage, from 1.
        attention: The layer.
        tokens: What it was given, (1, H, W, C).
        gradient: Of the score with respect to its output, (1, H, W, C); None where no score was asked for.
    """

    stage: int
    block: int
    attention: GroupAttention
    tokens: Tensor
    gradient: Tensor | None

    @property
    def hw(self) -> Size:
        """Sides of the map."""
        return self.tokens.shape[1], self.tokens.shape[2]


@dataclass(frozen=True, slots=True)
class Looks:
    """Every attention layer in the order of the network, the last map with the gradient of it, and the logits.

    Attributes:
        layers: Block, then grid attention of every block.
        features: The last stage's map, (1, C, H, W).
        gradient: Of the score with respect to it; None where no score was asked for.
        logits: (num_classes,).
    """

    layers: list[Look]
    features: Tensor
    gradient: Tensor | None
    logits: Tensor


def attention_layers(model: MaxViT) -> list[tuple[int, int, GroupAttention]]:
    """(stage, block, layer) of every attention, both numbers from 1, in the order of the network.

    Raises:
        MaxViTError: If the network is an optimised one, which has none that could be looked at.
    """
    found = []
    for s, stage in enumerate(model.stages, start=1):
        for b, block in enumerate(stage.children(), start=1):
            if not isinstance(block, MaxViTBlock):
                raise MaxViTError("attention cannot be seen in an optimised network: give the original")
            found += [(s, b, layer.attention) for layer in (block.block_attention, block.grid_attention)]
    return found


def look(model: MaxViT, image: Tensor, score: Callable[[Tensor], Tensor] | None = None) -> Looks:
    """Run one image.

    Args:
        model: The network; it is run in evaluation mode, plainly, and left as it was, without gradients.
        image: (C, H, W), preprocessed; any size.
        score: From the logits (num_classes,) to a number, whose gradients are wanted; None: no gradients, less memory.

    Raises:
        MaxViTError: If the image does not fit the network, or its attention cannot be seen.
    """
    batch = one_image(model, image)
    layers = attention_layers(model)
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def keep(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        seen[module] = inputs[0], output

    handles = [attention.register_forward_hook(keep) for _, _, attention in layers]
    try:
        with evaluating(model), torch.set_grad_enabled(score is not None):
            features = model.forward_features(batch.requires_grad_(score is not None))
            logits = model.forward_head(features)[0]
            outputs = [seen[attention][1] for _, _, attention in layers]
            wanted = [*outputs, features]
            gradients = torch.autograd.grad(score(logits), wanted) if score else [None] * len(wanted)
    finally:
        for handle in handles:
            handle.remove()
    looks = [
        Look(stage, block, attention, seen[attention][0].detach(), gradient)
        for (stage, block, attention), gradient in zip(layers, gradients[:-1], strict=True)
    ]
    return Looks(looks, features.detach(), gradients[-1], logits.detach())


def one_image(model: MaxViT, image: Tensor) -> Tensor:
    """A batch of one, where the network is and of its type: (C, H, W) -> (1, C, H, W), a tensor of its own.

    Raises:
        MaxViTError: If it does not fit the network.
    """
    if image.ndim != 3:
        raise MaxViTError(f"the image has shape {tuple(image.shape)}; it takes one preprocessed image, (C, H, W)")
    weight, batch = model.head.dense.weight, image[None].detach()
    if batch.is_floating_point():
        batch = batch.to(weight.device, weight.dtype, copy=True)
    check_images(batch, model.config.in_channels, weight.dtype)
    return batch
