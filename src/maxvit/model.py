"""The MaxViT network (arXiv 2204.01697): stem, four stages of blocks, head. NCHW in and out, channels_last inside.

    image -> stem /2 -> stage /4 -> stage /8 -> stage /16 -> stage /32 -> pool, norm, dense, tanh -> classifier

Every block is MBConv, then block attention, then grid attention. Reference: the official TensorFlow model.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from maxvit import storage
from maxvit.config import SMALLEST_SIDE, THRESHOLD, MaxViTConfig, Pool, Preprocessing, Size, official_preprocessing
from maxvit.errors import MaxViTError
from maxvit.hub.mixin import HubModel
from maxvit.layers.attention import GroupAttention, RelativePositionBias
from maxvit.layers.compiling import fix_sides
from maxvit.layers.mbconv import MBConv, SameConv2d, batch_norm
from maxvit.layers.multiaxis import LN_EPS, BlockAttention, GridAttention
from maxvit.layers.recompute import recompute
from maxvit.timm_names import TimmNames

FORMAT = "maxvit"  # how our own files call themselves
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)  # types that weights may have


class Stem(nn.Module):
    """Two 3 x 3 convolutions (paper, Figure 2, S0); the first halves the image. No norm or activation follows."""

    def __init__(self, in_channels: int, channels: int, symmetric: bool = False) -> None:
        super().__init__()
        self.conv1 = SameConv2d(in_channels, channels, stride=2, symmetric=symmetric)
        self.norm = batch_norm(channels)
        self.act = nn.GELU(approximate="tanh")
        self.conv2 = SameConv2d(channels, channels, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, ceil(H / 2), ceil(W / 2))."""
        return self.conv2(self.act(self.norm(self.conv1(x))))


class MaxViTBlock(nn.Module):
    """MBConv, block attention, grid attention (paper, Figure 2). The five branches share one drop path rate."""

    def __init__(self, config: MaxViTConfig, in_channels: int, channels: int, stride: int, drop_path: float) -> None:
        super().__init__()
        shared = (config.head_dim, config.expansion, drop_path, config.bias_table_size)
        mbconv = (config.expansion, config.se_ratio, drop_path, config.arithmetic)
        self.mbconv = MBConv(in_channels, channels, stride, *mbconv)
        self.block_attention = BlockAttention(channels, config.window_size, *shared)
        self.grid_attention = GridAttention(channels, config.grid_size, *shared)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, H', W'), sides halved (rounded up) if the block strides."""
        return self.grid_attention(self.block_attention(self.mbconv(x)))


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

    def __init__(self, channels: int, num_classes: int, pool: str) -> None:
        super().__init__()
        self.pool = pool
        self.norm = nn.LayerNorm(channels, eps=LN_EPS)
        self.dense = nn.Linear(channels, channels)
        self.classifier = nn.Linear(channels, num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, C, H, W) -> (B, num_classes), or the (B, C) that the classifier sees; with no pool (B, C, H, W)."""
        if not self.pool:
            return self.dense(self.norm(x.movedim(1, -1))).tanh().movedim(-1, 1)  # each position by itself
        x = x.mean((2, 3)) if self.pool == "avg" else x.amax((2, 3))
        x = self.dense(self.norm(x)).tanh()
        return x if pre_logits else self.classifier(x)


class MaxViT(nn.Module, HubModel, TimmNames):
    """MaxViT, as `config` describes it.

    Args:
        config: Shape of the network.
        preprocessing: What the weights expect of an image; None: the official evaluation's at the config's size.
        class_names: One per class; None where they are not known.

    Attributes:
        provenance: Where the weights come from (data set, command, versions); travels with the checkpoint.
    """

    def __init__(
        self,
        config: MaxViTConfig,
        preprocessing: Preprocessing | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        preprocessing = preprocessing or official_preprocessing(config.image_size)
        self.preprocessing = _for_channels(preprocessing, config.in_channels)
        self.class_names = _checked_names(class_names, config.num_classes)
        self.provenance: dict[str, Any] = {}

        self.stem = Stem(config.in_channels, config.stem_channels, config.arithmetic.padding == "symmetric")
        self.stages = nn.ModuleList()
        width = config.stem_channels
        for channels, rates in zip(config.channels, config.drop_path_rates(), strict=True):
            stage = Stage()
            for i, rate in enumerate(rates):
                stage.append(MaxViTBlock(config, width, channels, stride=2 if i == 0 else 1, drop_path=rate))
                width = channels
            self.stages.append(stage)
        self.head = Head(width, config.num_classes, config.pool)
        self.apply(initialize)
        for module in self.modules():
            if isinstance(module, nn.GELU) and config.arithmetic.gelu == "erf":
                module.approximate = "none"

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
        return self.head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """The last stage's map: (B, in_channels, H, W) -> (B, C, ceil(H / 32), ceil(W / 32))."""
        *_, features = self._maps(images)
        return features

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """From `forward_features` to logits, or to what the classifier sees (after norm, dense and tanh)."""
        return self.head(features, pre_logits)

    def forward_pyramid(self, images: Tensor, strides: Sequence[int] = (4, 8, 16, 32)) -> list[Tensor]:
        """Maps at several strides, for detection and segmentation.

        Args:
            images: As in `forward`.
            strides: Some of 2 (the stem), 4, 8, 16 and 32; in the order wanted.

        Returns:
            For each stride s a map (B, pyramid_channels[s], ceil(H / s), ceil(W / s)).
        """
        if unknown := [s for s in strides if s not in self.pyramid_channels]:
            raise MaxViTError(f"strides {unknown} do not exist; choose from {list(self.pyramid_channels)}")
        wanted = [stride for stride in self.pyramid_channels if stride <= max(strides, default=0)]
        maps = dict(zip(wanted, self._maps(images), strict=False))  # what lies above is not computed
        return [maps[s] for s in strides]

    @property
    def pyramid_channels(self) -> dict[int, int]:
        """Channels of the map at each stride."""
        return dict(zip((2, 4, 8, 16, 32), (self.config.stem_channels, *self.config.channels), strict=True))

    def any_weight(self) -> Tensor:
        """One whose type and device speak for all, also where kernels hold most or layers are quantised."""
        return next(t for t in chain(self.parameters(), self.buffers()) if t.is_floating_point())

    def _maps(self, images: Tensor) -> Iterator[Tensor]:
        """The stem's output, then each stage's."""
        check_images(images, self.config.in_channels, self.any_weight().dtype)
        fix_sides(images)
        channels_last = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # in steps that vmap knows
        x = self.stem(channels_last)
        yield x
        for stage in self.stages:
            x = stage(x)
            yield x

    def reset_classifier(
        self,
        num_classes: int,
        global_pool: Pool | None = None,
        class_names: Sequence[str] | None = None,
        multi_label: bool = False,
    ) -> None:
        """Put a new classifier on top, freshly initialised. Everything else keeps its weights.

        Args:
            num_classes: 0 removes the classifier.
            global_pool: As `set_pool` takes it; None: as it is.
            class_names: One per class; None where they are not known.
            multi_label: What it will learn, whatever the old one did: each class as a yes/no question; False: one class
                of many.

        Raises:
            MaxViTError: If a value is out of range, or there are classes and no pool.
        """
        pool = self.config.pool if global_pool is None else global_pool
        config = dataclasses.replace(
            self.config, num_classes=num_classes, pool=pool, multi_label=multi_label, threshold=THRESHOLD
        )
        names = _checked_names(class_names, num_classes)
        like = self.head.dense.weight
        classifier = nn.Linear(config.channels[-1], num_classes) if num_classes else nn.Identity()
        self.head.classifier = classifier.apply(initialize).to(like.device, like.dtype)
        self.head.pool = pool
        self.config, self.class_names = config, names

    def set_pool(self, pool: Pool) -> None:
        """Make one position of the last map's: by "avg" or "max", or "" for none, which allows no classifier."""
        self.config = dataclasses.replace(self.config, pool=pool)
        self.head.pool = pool

    def set_in_channels(self, in_channels: int) -> None:
        """Take images of another number of channels, by adapting the weights of the first convolution.

        To 1 channel: their sum, so that a grey image is answered as if it were copied into all of them. To others: the
        channels' weights repeated in turn and scaled by old / new, so that features keep their size. `preprocessing`
        follows: the mean of `mean` and `std` for 1 channel, and again for 3; for other counts, which no picture has,
        it is left as it is.
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
        self.config, self.preprocessing = config, _for_channels(self.preprocessing, new)

    def set_image_size(self, image_size: int | Size) -> None:
        """Scale windows and grids to an image size: per side ceil(side / 32), as the official fine-tuning does.

        The learned bias tables stay as they are and are resized bilinearly on use, so setting a size back is exact.
        """
        self.config = self.config.resized(image_size)
        for layer in self.modules():
            if isinstance(layer, GroupAttention):
                layer.bias.size = self.config.window_size if layer.axis == "block" else self.config.grid_size
        self.preprocessing = dataclasses.replace(self.preprocessing, image_size=self.config.image_size)

    def set_gradient_checkpointing(self, enabled: bool = True) -> None:
        """While training, keep each block's input only and compute the rest again in backward: less memory."""
        for stage in self.modules():
            if isinstance(stage, Stage):
                stage.gradient_checkpointing = enabled

    def set_any_size(self, enabled: bool = True) -> None:
        """Compute with one graph for every image size, for export: the same answers, more slowly."""
        for layer in self.modules():
            if isinstance(layer, GroupAttention):
                layer.any_size = enabled

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that are not decayed: biases, norms and bias tables (official settings)."""
        return {name for name, p in self.named_parameters() if p.ndim < 2 or name.endswith("bias.table")}

    def save(self, path: str | Path) -> None:
        """Write weights, configuration, preprocessing, class names and provenance into one safetensors file.

        Another `head.classifier` is followed, see `metadata`.

        Raises:
            MaxViTError: If a layer was put in the place of another, which no configuration describes, or the file
                cannot be written; a file that was there before is untouched.
        """
        self.check_savable()
        storage.save(path, self.state_dict(), self.metadata())

    def check_savable(self) -> None:
        """Refuse a network that could not be read back. Raises `MaxViTError` as `save` does."""
        check_same(self, self.outline(self._described()[0]))

    @classmethod
    def load(cls, path: str | Path, dtype: torch.dtype = torch.float32) -> Self:
        """Read what `save` wrote, in evaluation mode. `maxvit.load_model` reads files of other programs too.

        Args:
            path: A file, or a folder that holds one, see `maxvit.load_model`.
            dtype: Of the network, whatever the file's.

        Raises:
            MaxViTError: If the file is missing, damaged or not ours, or `dtype` is not a floating-point type.
        """
        state, metadata = storage.load(path)
        return cls.restore(state, metadata, str(path), dtype)

    @classmethod
    def outline(cls, config: MaxViTConfig) -> Self:
        """The network without memory for its tensors, on the meta device: their names, shapes and types.

        Raises:
            MaxViTError: If it is too large to exist.
        """
        try:
            with torch.device("meta"):
                return cls(config)
        except (RuntimeError, OverflowError, TypeError) as error:
            raise MaxViTError(f"the network is too large to exist ({str(error).splitlines()[0]})") from error

    def metadata(self) -> dict[str, Any]:
        """What a checkpoint says beside its tensors.

        Where a `head.classifier` (`nn.Linear` or `nn.Identity`) of another number of classes was put in place, it says
        what it would after `reset_classifier` with that number, and `class_names` if they were set anew.

        Raises:
            MaxViTError: If `class_names` are of another number of classes.
        """
        config, names = self._described()
        return describe(config, self.preprocessing, names, self.provenance)

    def _described(self) -> tuple[MaxViTConfig, list[str] | None]:
        """Configuration and class names, of the classifier that is there."""
        classifier, config, names = getattr(self.head, "classifier", None), self.config, self.class_names
        if isinstance(classifier, nn.Linear | nn.Identity):
            classes = classifier.out_features if isinstance(classifier, nn.Linear) else 0
            if classes != config.num_classes:
                names = None if names is not None and len(names) == config.num_classes else names
                config = dataclasses.replace(config, num_classes=classes, multi_label=False, threshold=THRESHOLD)
        return config, _checked_names(names, config.num_classes)

    @classmethod
    def restore(
        cls, state: Mapping[str, Tensor], metadata: Mapping[str, Any], source: str, dtype: torch.dtype = torch.float32
    ) -> Self:
        """Make the network that a checkpoint describes, with its weights, in evaluation mode.

        Args:
            state: As `state_dict` gives it.
            metadata: As `metadata` gives it.
            source: Where they come from, for messages.
            dtype: Of the network; weights of another type are converted, those of this type are used as they are.

        Raises:
            MaxViTError: If they are not ours, or an entry is missing, left over or of another shape; or if `dtype` is
                not a floating-point type.
        """
        check_dtype(dtype)
        if isinstance(task := metadata.get("task"), dict):
            name = task.get("name")
            raise MaxViTError(f"{source} holds a network for {name} (see maxvit.load): a classifier is wanted")
        if metadata.get("format") != FORMAT:
            raise MaxViTError(f"{source} was not written by maxvit; maxvit.load_model reads files of other programs")
        try:
            config = MaxViTConfig.from_dict(metadata["config"])
            preprocessing = Preprocessing.from_dict(metadata["preprocessing"])
            class_names = _checked_names(metadata.get("class_names"), config.num_classes)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise MaxViTError(f"the description in {source} cannot be used: {error}") from error
        if sum(config.depths) > len(state):  # before that many are made
            raise MaxViTError(f"{source} describes {sum(config.depths)} blocks and holds {len(state)} tensors")
        model = cls.outline(config)
        model.preprocessing, model.class_names = _for_channels(preprocessing, config.in_channels), class_names
        if problems := _misfits(state, model.state_dict()):
            more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
            raise MaxViTError(f"{source} does not hold the network that it describes: {'; '.join(problems[:3])}{more}")
        model.load_state_dict(state, assign=True)
        provenance = metadata.get("provenance")
        model.provenance = provenance if isinstance(provenance, dict) else {}
        return model.to(dtype).requires_grad_().eval()


def check_dtype(dtype: torch.dtype) -> None:
    """Refuse types that weights cannot have. Raises `MaxViTError`."""
    if dtype not in FLOATS:
        raise MaxViTError(f"dtype is {dtype!r}; choose one of {', '.join(map(str, FLOATS))}")


def describe(
    config: MaxViTConfig,
    preprocessing: Preprocessing,
    class_names: Sequence[str] | None,
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """The metadata of our own files, as plain values."""
    return {
        "format": FORMAT,
        "config": config.to_dict(),
        "preprocessing": preprocessing.to_dict(),
        "class_names": class_names,
        "provenance": provenance,
    }


def check_same(network: nn.Module, wanted: nn.Module) -> None:
    """Refuse a network that has not the layers and tensors of another, by name.

    Args:
        network: That is to be saved.
        wanted: What its description makes, on any device.

    Raises:
        MaxViTError: If they differ.
    """
    problems = _misfits(network.state_dict(), wanted.state_dict())
    kinds = {name: type(module) for name, module in network.named_modules() if name}
    problems += [
        f"{name} is {kinds[name].__name__}, wanted is {type(module).__name__}"
        for name, module in wanted.named_modules()
        if kinds.get(name, type(module)) is not type(module)
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise MaxViTError(
            f"the network has other layers than its configuration describes, and could not be read back: "
            f"{'; '.join(problems[:3])}{more}; keep its state_dict with torch.save"
        )


def initialize(module: nn.Module) -> None:
    """Initialise one module as the official model does.

    kernels and relative position bias tables: normal, deviation 0.02; biases: 0; norms: weight 1, bias 0.
    """
    if any(p.is_meta for p in module.parameters(recurse=False)):
        return  # there are no numbers to set, and PyTorch would import sympy to set none
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, RelativePositionBias):
        nn.init.normal_(module.table, std=0.02)


def check_images(images: Tensor, in_channels: int, dtype: torch.dtype) -> None:
    """Check what a user hands to the network, before any work is done.

    Raises:
        MaxViTError: If the layout, the type, the number of channels or a side is wrong.
    """
    if images.ndim != 4 or images.shape[1] != in_channels:
        nhwc = images.ndim == 4 and images.shape[3] == in_channels
        hint = "; it looks like (B, H, W, C): permute(0, 3, 1, 2)" if nhwc else ""
        hint = hint or ("; add a batch axis: images[None]" if images.ndim == 3 else "")
        raise MaxViTError(
            f"images have shape {tuple(images.shape)}, but the network takes (B, {in_channels}, H, W){hint}"
        )
    if not images.is_floating_point():
        raise MaxViTError(f"images are {images.dtype}; the network takes normalised floats: see maxvit.preprocess")
    if images.dtype != dtype and not torch.is_autocast_enabled(images.device.type):
        raise MaxViTError(f"images are {images.dtype} and the weights {dtype}: use images.to({dtype}), or autocast")
    if min(images.shape[2:]) < SMALLEST_SIDE:
        size = f"{images.shape[2]} x {images.shape[3]}"
        raise MaxViTError(f"images are {size} pixels; the smallest side is {SMALLEST_SIDE}: resize them")


torch.fx.wrap("check_images")  # it decides by sides, which symbols of FX have not


def _misfits(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """What keeps tensors from being those of a network, a phrase each."""
    problems = [f"{n} is missing" for n in wanted if n not in state]
    problems += [f"{n} is not part of the network" for n in state if n not in wanted]
    for n in (n for n in wanted if n in state):
        if state[n].shape != wanted[n].shape:
            problems.append(f"{n} has shape {tuple(state[n].shape)}, wanted is {tuple(wanted[n].shape)}")
        elif state[n].dtype not in (FLOATS if wanted[n].is_floating_point() else [wanted[n].dtype]):
            problems.append(f"{n} has type {state[n].dtype}, wanted is {wanted[n].dtype}")
    return problems


def _checked_names(class_names: Sequence[str] | None, num_classes: int) -> list[str] | None:
    if isinstance(class_names, str | Mapping):
        raise MaxViTError(f"class_names is {class_names!r:.80}; it takes a list, one name for each class")
    if class_names is not None and len(class_names) != num_classes:
        raise MaxViTError(f"{len(class_names)} class names were given for {num_classes} classes; give one for each")
    return None if class_names is None else [str(name) for name in class_names]


def _for_channels(preprocessing: Preprocessing, in_channels: int) -> Preprocessing:
    """The same for grey (1) or colour (3) images; pictures have no other number of channels."""
    if in_channels not in (1, 3) or len(preprocessing.mean) == in_channels:
        return preprocessing
    mean, std = (sum(v) / len(v) for v in (preprocessing.mean, preprocessing.std))
    return dataclasses.replace(preprocessing, mean=(mean,) * in_channels, std=(std,) * in_channels)
