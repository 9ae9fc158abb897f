"""timm's words for what a network here has under its own, so that code written for timm's models runs as it is."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import ceil
from typing import Any, ParamSpec, TypeVar, cast

from torch import Tensor, nn

from maxvit.adjusting import AdjustableNetwork
from maxvit.config import SMALLEST_SIDE, MaxViTConfig, Preprocessing, variant_name
from maxvit.errors import MaxViTError

P = ParamSpec("P")
R = TypeVar("R")

CROP_MODES = {"crop": "center", "squash": "squash", "aspect": "border"}  # `Preprocessing.fit` in timm's words
OURS = {"in_chans": "in_channels", "img_size": "image_size"}  # arguments of timm.create_model
ABSENT = {
    "cache_dir": "the environment variable HF_HUB_CACHE says where downloads are",
    "checkpoint_path": "give the path as pretrained",
    "drop_rate": "there is no dropout before the classifier; drop_path_rate is the stochastic depth",
    "exportable": "maxvit.export_model writes files for other runtimes",
    "feature_cls": "features_only gives a list of maps",
    "output_stride": "the last map always has stride 32",
    "pretrained_cfg": "give the path of your weights as pretrained",
    "pretrained_cfg_overlay": "give the path of your weights as pretrained",
    "scriptable": "TorchScript is not supported; maxvit.export_model writes files for other runtimes",
}


class FeatureInfo(list[dict[str, Any]]):
    """The maps that a network can give, shallowest first: dictionaries of num_chs, reduction, module and index."""

    def channels(self) -> list[int]:
        """Channels of each map."""
        return [info["num_chs"] for info in self]

    def reduction(self) -> list[int]:
        """The stride of each map."""
        return [info["reduction"] for info in self]

    def module_name(self) -> list[str]:
        """The part of the network that gives each map."""
        return [info["module"] for info in self]


class TimmNames(AdjustableNetwork):
    """What timm's models have, in terms of what `MaxViT` has."""

    def _maps(self, images: Tensor) -> Iterator[Tensor]:
        """Maps of the network: the stem's output, then each stage's."""
        raise NotImplementedError

    @property
    def num_classes(self) -> int:
        """0: no classifier."""
        return self.config.num_classes

    @property
    def num_features(self) -> int:
        """Channels of the last map."""
        return self.config.channels[-1]

    @property
    def head_hidden_size(self) -> int:
        """Channels of what the classifier sees."""
        return self.config.channels[-1]

    @property
    def feature_info(self) -> FeatureInfo:
        """The maps of `forward_intermediates`: the stem's, then each stage's."""
        channels = (self.config.stem_channels, *self.config.channels)
        modules = ("stem", *(f"stages.{i}" for i in range(len(self.config.channels))))
        return FeatureInfo(
            {"num_chs": width, "reduction": 2 ** (i + 1), "module": module, "index": i}
            for i, (width, module) in enumerate(zip(channels, modules, strict=True))
        )

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """What the weights expect and how parts are called, as `timm.data.resolve_data_config` reads it.

        timm has no "bicubic-tf1" and no "aspect"; the nearest it has is said instead. `maxvit.preprocess` is exact.
        """
        return timm_cfg(self.config, self.preprocessing)

    @property
    def default_cfg(self) -> dict[str, Any]:
        """The same as `pretrained_cfg`."""
        return self.pretrained_cfg

    def get_classifier(self) -> nn.Module:
        """The last layer; `nn.Identity` where there is none."""
        return self.get_submodule("head.classifier")

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """`set_gradient_checkpointing`."""
        self.set_gradient_checkpointing(enable)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Which parameters are a layer each, for `timm.optim`'s layer decay: the stem, each stage, the head.

        Args:
            coarse: Either way the same groups, as of timm's MaxViT.
        """
        return {"stem": r"^stem", "blocks": [(r"^stages\.(\d+)", None)]}

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Maps of several depths, and the last that was computed.

        Args:
            x: Images (B, in_channels, H, W), as `forward` takes them.
            indices: Places in `feature_info`: from 0 for the stem to 4, or counted from the end; n: the last n;
                None: all.
            norm: Changes nothing: a MaxViT has no norm before its pool (nor has timm's).
            stop_early: Compute nothing after the deepest map that is wanted.
            output_fmt: "NCHW" alone.
            intermediates_only: Without the last.

        Returns:
            The last map, which is that of `forward_features` unless it was stopped early; and those that are wanted,
            in the order of the network.

        Raises:
            MaxViTError: If there is no such map, the format is another, or the images do not fit.
        """
        if output_fmt != "NCHW":
            raise MaxViTError(f"output_fmt is {output_fmt!r}; maps are given as 'NCHW'")
        wanted = _wanted(len(self.feature_info), indices)
        maps: list[Tensor] = []
        last = x
        for i, last in enumerate(self._maps(x)):
            if i in wanted:
                maps.append(last)
            if stop_early and i == wanted[-1]:
                break
        return maps if intermediates_only else (last, maps)


class FeatureMaps(nn.Module):
    """What `create_model(..., features_only=True)` gives: images (B, C, H, W) -> a list of maps, shallowest first.

    Args:
        backbone: A `MaxViT`. It is used, not copied; its head and the stages above the deepest map are taken off.
        out_indices: As the `indices` of `forward_intermediates`.

    Attributes:
        feature_info: Feature info of the maps that are given.
    """

    def __init__(self, backbone: Any, out_indices: int | Sequence[int] | None = None) -> None:
        super().__init__()
        self.indices = _wanted(len(backbone.feature_info), out_indices)
        self.feature_info = FeatureInfo(backbone.feature_info[i] for i in self.indices)
        self.pretrained_cfg = self.default_cfg = backbone.pretrained_cfg
        backbone.head, backbone.stages = nn.Identity(), backbone.stages[: self.indices[-1]]
        self.backbone = backbone

    def forward(self, images: Tensor) -> list[Tensor]:
        """A map (B, C, H / s, W / s) for each of `feature_info`, sides rounded up."""
        maps: list[Tensor] = self.backbone.forward_intermediates(images, self.indices, intermediates_only=True)
        return maps

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Turn gradient checkpointing of the backbone on or off."""
        self.backbone.set_gradient_checkpointing(enable)


def registered_name(variant: str) -> str:
    """What a variant is called in timm's registry, see `maxvit.integrations.timm`."""
    return variant.replace("_", "-")


def timm_cfg(config: MaxViTConfig, images: Preprocessing) -> dict[str, Any]:
    """What weights expect and how parts are called, in timm's words."""
    variant = variant_name(config)
    return {
        "architecture": variant and registered_name(variant),
        "num_classes": config.num_classes,
        "input_size": (config.in_channels, *images.image_size),
        "min_input_size": (config.in_channels, SMALLEST_SIDE, SMALLEST_SIDE),
        "fixed_input_size": False,
        "pool_size": tuple(ceil(side / 32) for side in images.image_size),
        "crop_pct": images.crop_pct,
        "crop_mode": CROP_MODES[images.fit],
        "interpolation": images.interpolation.removesuffix("-tf1"),
        "mean": images.mean,
        "std": images.std,
        "first_conv": "stem.conv1",
        "classifier": "head.classifier",
    }


def _wanted(count: int, indices: int | Iterable[int] | None) -> list[int]:
    """Which of `count` maps are wanted, in the order of the network."""
    if indices is None or isinstance(indices, int):
        last = count if indices is None else indices
        if not 0 < last <= count:
            raise MaxViTError(f"the last {last} maps are wanted, and there are 1 to {count}")
        return list(range(count - last, count))
    given = list(indices)
    if not given or not all(-count <= i < count for i in given):
        raise MaxViTError(f"maps {given} are wanted; choose some of 0 (the stem) to {count - 1}, or of -{count} to -1")
    return sorted({i % count for i in given})


def timm_words(create: Callable[P, R]) -> Callable[P, R]:
    """Let a function that makes a network take the arguments of `timm.create_model` as well, by name.

    in_chans and img_size are in_channels and image_size; features_only and out_indices give a `FeatureMaps`. Other
    words of timm are refused with what to write instead, unless their value asks for nothing.
    """

    @functools.wraps(create)
    def translated(*args: Any, features_only: bool = False, out_indices: Any = None, **words: Any) -> Any:
        if len(args) > 1 and isinstance(args[1], bool):
            raise MaxViTError(f"the second argument is {args[1]}, and it is num_classes: write pretrained={args[1]}")
        for theirs, ours in OURS.items():
            if (value := words.pop(theirs, None)) is not None and words.setdefault(ours, value) != value:
                raise MaxViTError(f"{theirs} is timm's word for {ours}, which is given too: give one of them")
        if words.get("feature_cls") in ("list", "getter"):  # what FeatureMaps is
            del words["feature_cls"]
        for word, todo in ABSENT.items():
            if words.pop(word, None):
                raise MaxViTError(f"{word} is an argument of timm's, and not here: {todo}")
        if out_indices is not None and not features_only:
            raise MaxViTError("out_indices chooses maps: add features_only=True, or leave out_indices out")
        network = create(*args, **words)
        return FeatureMaps(network, out_indices) if features_only else network

    return cast(Callable[P, R], translated)
