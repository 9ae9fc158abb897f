"""What can be changed of a network that exists: classifier, pool, channels of the images, sizes of windows."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import torch.nn.functional as F
from torch import Size, Tensor, nn

from maxvit.config import Pool, Sides
from maxvit.description import checked_names
from maxvit.layers.attention import GroupAttention
from maxvit.layers.initialize import initialize
from maxvit.layers.inner_head import InnerHead, make_inner_head
from maxvit.layers.novelty import Novelty
from maxvit.saving import SavedNetwork


class AdjustableNetwork(SavedNetwork):
    """What `MaxViT` can be given after it was made.

    Attributes:
        stem: The first layers.
        stages: Blocks.
        head: The last layers.
        novelty: How far an image is from those of training; None: it was not fitted.
    """

    stem: Any
    stages: nn.ModuleList
    head: Any
    inner_head: InnerHead | None
    novelty: Novelty | None

    def reset_classifier(
        self,
        num_classes: int,
        global_pool: Pool | None = None,
        class_names: Sequence[str] | None = None,
        multi_label: bool = False,
        inner_fields: int = 0,
    ) -> None:
        """Put a new classifier on top, freshly initialised. Everything else keeps its weights.

        Args:
            num_classes: 0 removes the classifier.
            global_pool: As `set_pool` takes it; None: as it is.
            class_names: One per class; None where they are not known.
            multi_label: What it will learn, whatever the old one did: each class as a yes/no question; False: one class
                of many.
            inner_fields: Fields on a side of inner maps that are classified too, see `InnerHead`; 0: none.

        Raises:
            MaxViTError: If a value is out of range, or there are classes and no pool.
        """
        pool = self.config.pool if global_pool is None else global_pool
        config = dataclasses.replace(self.config, num_classes=0, pool=pool, inner_fields=inner_fields)
        config = config.for_classes(num_classes, multi_label)
        names = checked_names(class_names, num_classes)
        like = self.head.norm.weight
        classifier = nn.Linear(config.channels[-1], num_classes) if num_classes else nn.Identity()
        self.head.classifier = classifier.apply(initialize).to(like.device, like.dtype)
        self.head.pool = pool
        self.inner_head = make_inner_head(config)
        if self.inner_head is not None:
            self.inner_head.apply(initialize).to(like.device, like.dtype)
        self.config, self.class_names, self.novelty = config, names, None

    def set_novelty(self, novelty: Novelty | None) -> None:
        """Have a score for images of none of the classes, fitted to these weights; or None."""
        self.novelty = novelty
        self.config = dataclasses.replace(self.config, novelty_centres=0 if novelty is None else len(novelty.centres))

    def set_pool(self, pool: Pool) -> None:
        """Make one position of the last map's: by "avg" or "max", or "" for none, which allows no classifier."""
        self.config = dataclasses.replace(self.config, pool=pool)
        self.head.pool = pool

    def set_in_channels(self, in_channels: int) -> None:
        """Take images of another number of channels, by adapting the weights of the first convolution.

        To 1 channel: their sum, so that a grey image is answered as if it were copied into all of them. To others: the
        channels' weights repeated in turn and scaled by old / new, so that features keep their size. `preprocessing`
        follows: the mean of `mean` and `std` for 1 channel, and again for 3; for other counts 0.5 each.
        """
        old, new = self.config.in_channels, in_channels
        config = dataclasses.replace(self.config, in_channels=new)
        conv = self.stem.conv1
        weight = conv.weight.detach()  # (C, old, 3, 3)
        if new == 1:
            weight = weight.sum(1, keepdim=True)
        elif new != old:
            weight = weight[:, [i % old for i in range(new)]] * (old / new)  # (C, new, 3, 3)
        conv.weight, conv.in_channels = nn.Parameter(weight, conv.weight.requires_grad), new
        self.config, self.preprocessing = config, self.preprocessing.for_channels(new)

    def set_image_size(self, image_size: int | Sides) -> None:
        """Scale windows and grids to an image size: per side ceil(side / 32), as the official fine-tuning does.

        The learned bias tables stay as they are and are resized bilinearly on use, so setting a size back is exact.
        """
        self.config = self.config.resized(image_size)
        for layer in self.modules():
            if isinstance(layer, GroupAttention):
                layer.bias.size = self.config.window_size if layer.axis == "block" else self.config.grid_size
        self.preprocessing = dataclasses.replace(self.preprocessing, image_size=self.config.frame_size)

    def inflated(self, image_size: int | Sides | None = None, window_size: int | Sides | None = None) -> Self:
        """A network for volumes and video, (B, in_channels, T, H, W), with the weights of this one for images.

        A volume that repeats an image along T is answered as the image is here: convolutions hold the image's kernel at
        their middle and zeros before and after it, position biases are the same for all offsets in time.

        Args:
            image_size: (time, height, width) that it is made for; windows and grids become ceil(side / 32). None: this
                network's sides, with time as long as the height.
            window_size: Tokens of windows and grids, (time, height, width); None: see above.

        Raises:
            MaxViTError: If this is not a network for images, a size does not fit, or no such network answers the same.
        """
        config = self.config.inflated(image_size, window_size)
        network = self.outline(config)
        tensors = self.state_dict()
        state = {name: _inflated(tensors[name], wanted.shape) for name, wanted in network.state_dict().items()}
        network.load_state_dict(state, assign=True)
        network.preprocessing = dataclasses.replace(self.preprocessing, image_size=config.frame_size)
        network.class_names, network.provenance = self.class_names, dict(self.provenance)
        return network.requires_grad_().train(self.training)

    def set_gradient_checkpointing(self, enabled: bool = True) -> None:
        """While training, keep each block's input only and compute the rest again in backward: less memory."""
        for stage in self.stages:
            stage.gradient_checkpointing = enabled  # type: ignore[assignment]

    def set_any_size(self, enabled: bool = True) -> None:
        """Compute with one graph for every image size, for export: the same answers, more slowly."""
        for layer in self.modules():
            if isinstance(layer, GroupAttention):
                layer.any_size = enabled


def _inflated(tensor: Tensor, shape: Size) -> Tensor:
    """A parameter for images as one for volumes of this shape."""
    if tensor.ndim == 2 and len(shape) == 2:  # of an MLP's position bias, from offsets: it does not look at time
        return F.pad(tensor, (shape[1] - tensor.shape[1], 0))
    if tensor.ndim == 3:  # a table of position biases (N, h, w): the same for all offsets in time
        return tensor[:, None].expand(shape).contiguous()
    if tensor.ndim == 4:  # a kernel (C_out, C_in, h, w)
        before = (shape[2] - 1) // 2
        return F.pad(tensor[:, :, None], (0, 0, 0, 0, before, before))
    return tensor.clone()
