"""The MaxViT network (arXiv 2204.01697): stem, four stages of blocks, head. NCHW in and out, channels_last inside.

    image -> stem /2 -> stage /4 -> stage /8 -> stage /16 -> stage /32 -> pool, norm, dense, tanh -> classifier

Every block is MBConv, then block attention, then grid attention, see `maxvit.layers.block`. With windows of 1 or 3
sides it takes sequences (B, C, L), or volumes and video (B, C, T, H, W), instead of images (B, C, H, W). Reference: the
official TensorFlow model. Where others compute otherwise, layers read it from the configuration's dialect.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from maxvit.config import OFFICIAL, Dialect, MaxViTConfig, Preprocessing, official_preprocessing
from maxvit.description import checked_names
from maxvit.errors import MaxViTError
from maxvit.hub.mixin import HubModel
from maxvit.layers.activation import conv_activation
from maxvit.layers.block import MaxViTBlock
from maxvit.layers.images import check_images, fix_sides
from maxvit.layers.initialize import initialize
from maxvit.layers.inner_head import InnerHead, make_inner_head
from maxvit.layers.mbconv import SAME_CONV, batch_norm
from maxvit.layers.novelty import Novelty, pooled_maps
from maxvit.layers.plain_head import PlainHead, pooled
from maxvit.layers.recompute import recompute
from maxvit.timm_names import TimmNames


class Stem(nn.Module):
    """Two 3 x 3 convolutions (paper, Figure 2, S0); the first halves the image. No norm or activation follows."""

    def __init__(self, config: MaxViTConfig) -> None:
        super().__init__()
        channels, dialect = config.stem_channels, config.dialect
        hidden = config.stem_hidden_channels or channels
        conv = SAME_CONV[config.dims]
        self.conv1 = conv(config.in_channels, hidden, stride=2, bias=dialect.conv_bias, dialect=dialect)
        self.norm = batch_norm(hidden, dialect, config.dims)
        self.act = conv_activation(dialect)
        self.conv2 = conv(hidden, channels, stride=1, bias=dialect.conv_bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, ceil(H / 2), ceil(W / 2))."""
        return self.conv2(self.act(self.norm(self.conv1(x))))


class Stage(nn.Sequential):
    """Blocks, one after the other; with `gradient_checkpointing`, while training, each computed again in backward."""

    gradient_checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, ceil(H / 2), ceil(W / 2))."""
        for block in self:
            x = recompute(block, x) if self.gradient_checkpointing and self.training else block(x)
        return x


class Head(nn.Module):
    """Pool, layer norm, dense, tanh, then the classifier (paper, App. A.1; official model, "head")."""

    def __init__(self, channels: int, num_classes: int, pool: str, dialect: Dialect = OFFICIAL) -> None:
        super().__init__()
        self.pool = pool
        self.norm = nn.LayerNorm(channels, eps=dialect.layer_norm_eps)
        self.dense = nn.Linear(channels, channels)
        self.classifier = nn.Linear(channels, num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, C, H, W) -> (B, num_classes), or the (B, C) that the classifier sees; with no pool (B, C, H, W)."""
        if not self.pool:
            return self.dense(self.norm(x.movedim(1, -1))).tanh().movedim(-1, 1)  # each position by itself
        x = self.dense(self.norm(pooled(x, self.pool))).tanh()
        return x if pre_logits else self.classifier(x)


class MaxViT(TimmNames, HubModel):
    """MaxViT, as `config` describes it.

    Args:
        config: Shape of the network.
        preprocessing: What the weights expect of an image; None: the official evaluation's at the config's size.
        class_names: One per class; None where they are not known.

    Attributes:
        provenance: Where the weights come from (data set, command, versions); travels with the checkpoint.
        novelty: Beside the path to the classes: how far an image is from those of training; None: it was not fitted.
    """

    stem: Stem
    head: Head | PlainHead
    inner_head: InnerHead | None  # classes from inner maps too, where `config.inner_fields` says so

    def __init__(
        self,
        config: MaxViTConfig,
        preprocessing: Preprocessing | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        preprocessing = preprocessing or official_preprocessing(config.frame_size)
        self.preprocessing = preprocessing.for_channels(config.in_channels)
        self.class_names = checked_names(class_names, config.num_classes)
        self.provenance: dict[str, Any] = {}

        dialect = config.dialect
        make_head = Head if dialect.head == "dense" else PlainHead
        self.stem = Stem(config)
        self.stages = nn.ModuleList()
        width = config.stem_channels
        sizes = (config.window_size, config.grid_size, config.head_dim, config.expansion, config.se_ratio)
        for channels, order, rates in zip(config.channels, config.block_orders, config.drop_path_rates(), strict=True):
            stage = Stage()
            for i, rate in enumerate(rates):
                stride = 2 if i == 0 else 1
                stage.append(MaxViTBlock(width, channels, stride, order, *sizes, rate, config.bias_table_size, dialect))
                width = channels
            self.stages.append(stage)
        self.head = make_head(width, config.num_classes, config.pool, dialect)
        self.inner_head = make_inner_head(config)
        self.novelty = Novelty(sum(config.channels), config.novelty_centres) if config.novelty_centres else None
        self.apply(initialize)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores.

        Args:
            images: (B, in_channels, H, W), floating point, normalised; H and W from 32 up, any other number.

        Returns:
            Logits (B, num_classes); with no classifier, the features before it: (B, C), or (B, C, H / 32, W / 32) with
            no pool either.

        Raises:
            MaxViTError: If the shape or the type does not fit.
        """
        return self._classify(self._maps_at(images, (32,) if self.inner_head is None else (8, 16, 32)))

    def forward_features(self, images: Tensor) -> Tensor:
        """The last stage's map: (B, in_channels, H, W) -> (B, C, ceil(H / 32), ceil(W / 32))."""
        return self._maps_at(images, (32,))[32]

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """From `forward_features` to logits, or to what the classifier sees (after norm, dense and tanh).

        With `config.inner_fields` the logits are the last stage's part of `forward`'s.
        """
        return self.head(features, pre_logits)

    def forward_novelty(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and how far each image is from those of training (B,), for a network that has `novelty`."""
        assert self.novelty is not None
        maps = self._maps_at(images, (4, 8, 16, 32))
        return self._classify(maps), self.novelty(pooled_maps(list(maps.values())))

    def _classify(self, maps: Mapping[int, Tensor]) -> Tensor:
        """From the stages' maps, by stride, to logits."""
        scores: Tensor = self.head(maps[32])
        return scores if self.inner_head is None else scores + self.inner_head([maps[8], maps[16]])

    def forward_pyramid(
        self,
        images: Tensor,
        strides: Sequence[int] = (4, 8, 16, 32),
        after_stem: Callable[[Tensor], Tensor] | None = None,
    ) -> list[Tensor]:
        """Maps at several strides, for detection and segmentation.

        Args:
            images: As in `forward`.
            strides: Some of 2 (the stem), 4, 8, 16 and 32; in the order wanted.
            after_stem: Changes the stem's map (B, C, ceil(H / 2), ceil(W / 2)) before the stages see it, as masked
                pre-training does; None: nothing does.

        Returns:
            For each stride s a map (B, pyramid_channels[s], ceil(H / s), ceil(W / s)).
        """
        if unknown := [s for s in strides if s not in self.pyramid_channels]:
            raise MaxViTError(f"strides {unknown} do not exist; choose from {list(self.pyramid_channels)}")
        if after_stem is None:
            maps = self._maps_at(images, strides)
        else:
            maps = self._at(strides, self._maps(images, after_stem))
        return [maps[s] for s in strides]

    @property
    def pyramid_channels(self) -> dict[int, int]:
        """Channels of the map at each stride."""
        return dict(zip((2, 4, 8, 16, 32), (self.config.stem_channels, *self.config.channels), strict=True))

    def any_weight(self) -> Tensor:
        """One whose type and device speak for all, also where kernels hold most or layers are quantised."""
        return next(t for t in chain(self.parameters(), self.buffers()) if t.is_floating_point())

    def _maps_at(self, images: Tensor, strides: Sequence[int]) -> dict[int, Tensor]:
        """The maps at some strides; what is above the last is not computed."""
        return self._at(strides, self._maps(images))

    def _at(self, strides: Sequence[int], maps: Iterator[Tensor]) -> dict[int, Tensor]:
        """Those of all maps that are at some strides."""
        computed = (stride for stride in self.pyramid_channels if stride <= max(strides, default=0))
        return {stride: x for stride, x in zip(computed, maps, strict=False) if stride in strides}

    def _maps(self, images: Tensor, after_stem: Callable[[Tensor], Tensor] | None = None) -> Iterator[Tensor]:
        """The stem's output, then each stage's."""
        check_images(images, self.config.in_channels, self.any_weight().dtype, self.config.dims)
        fix_sides(images)
        channels_last = images.movedim(1, -1).contiguous().movedim(-1, 1)  # in steps that vmap knows
        x = self.stem(channels_last)
        if after_stem is not None:
            x = after_stem(x)
        yield x
        for stage in self.stages:
            x = stage(x)
            yield x

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that are not decayed: biases, norms, position biases (official settings), scales."""
        return {name for name, p in self.named_parameters() if p.ndim < 2 or ".bias." in name}


torch.fx.wrap("check_images")  # they branch on sizes, which FX proxies cannot
torch.fx.wrap("pooled")


def check_network(network: object) -> None:
    """Refuse what is not a whole network of this package. Raises `MaxViTError`."""
    if not isinstance(getattr(network, "config", None), MaxViTConfig):
        raise MaxViTError(
            f"a {type(network).__name__} was given; only a whole network that maxvit made is taken, such as "
            "create_model and load return: a network of your own runs in PyTorch, and torch.compile can make it faster"
        )
