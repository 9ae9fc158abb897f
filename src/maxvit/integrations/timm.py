"""Our networks in timm's registry: importing this module puts them there.

A name is ours with a hyphen, "maxvit-tiny" for "maxvit_tiny". timm's own names are those of Python functions, so none
of them has a hyphen, now or later. What follows the point is a tag of `maxvit list --pretrained`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from timm.models import (
    DefaultCfg,
    FeatureInfo,
    PretrainedCfg,
    generate_default_cfgs,
    register_model,
    resolve_pretrained_cfg,
)
from torch import nn

from maxvit.checkpoints.published import fetch, published
from maxvit.config import VARIANTS, Preprocessing
from maxvit.create import create_model
from maxvit.errors import MaxViTError
from maxvit.model import MaxViT
from maxvit.timm_names import CROP_MODES, FeatureMaps, registered_name, timm_cfg

FITS: Mapping[str, Any] = {theirs: ours for ours, theirs in CROP_MODES.items()}


def _default_cfgs() -> dict[str, DefaultCfg]:
    """timm's description of each published file of weights."""
    found: dict[str, Any] = {}
    for variant in VARIANTS:
        for tag, row in published(variant).items():
            place = {"hf_hub_id": row.place} if row.is_on_hub else {"url": row.address}
            if row.is_shipped:
                place = {"file": str(fetch(row))}
            found[f"{registered_name(variant)}.{tag}"] = timm_cfg(row.config, row.preprocessing) | place
    return dict(generate_default_cfgs(found))


default_cfgs = _default_cfgs()  # where `register_model` looks for them


def _entrypoint(variant: str) -> Callable[..., nn.Module]:
    """The function that makes a variant from the arguments that `timm.create_model` passes on."""

    def create(
        pretrained: bool = False,
        pretrained_cfg: Any = None,
        pretrained_cfg_overlay: dict[str, Any] | None = None,
        pretrained_model_args: object = None,  # of a folder that timm wrote, given one by one as well
        **words: Any,
    ) -> nn.Module:
        cfg = resolve_pretrained_cfg(create.__name__, pretrained_cfg or None, pretrained_cfg_overlay)
        if words.get("output_stride") == 32:  # what it is
            del words["output_stride"]
        if pretrained:
            network = create_model(variant, pretrained=_source(create.__name__, cfg), **words)
            _take_preprocessing(network, cfg)
        else:
            if pretrained_cfg:  # which names weights, whose network is made without them
                words = {"num_classes": cfg.num_classes, "img_size": cfg.input_size[1:]} | words
            network = create_model(variant, **words)
        if isinstance(network, FeatureMaps):
            maps = [dict(info) for info in network.feature_info]
            network.feature_info = FeatureInfo(maps, tuple(range(len(maps))))
        return network

    create.__name__ = create.__qualname__ = registered_name(variant)
    return create


def _source(name: str, cfg: PretrainedCfg) -> str:
    """Where the weights are, as `maxvit.create_model` takes it."""
    if cfg.state_dict is not None:
        raise MaxViTError("pretrained_cfg holds a state_dict: leave pretrained out, and call load_state_dict with it")
    registered = default_cfgs[name].cfgs.get(cfg.tag or "")
    if registered is not None and _place(cfg) == _place(registered):
        return str(cfg.tag)
    return str(cfg.file or cfg.hf_hub_id or cfg.url)


def _place(cfg: PretrainedCfg) -> tuple[Any, ...]:
    return cfg.file, cfg.hf_hub_id, cfg.url


def _take_preprocessing(network: MaxViT | FeatureMaps, cfg: Any) -> None:
    """What timm wrote next to weights that do not say it themselves."""
    model = network.backbone if isinstance(network, FeatureMaps) else network
    if "assumed" not in model.provenance:
        return
    expected = Preprocessing(
        image_size=cfg.input_size[1:],
        fit=FITS[cfg.crop_mode],
        crop_pct=cfg.crop_pct,
        interpolation=cfg.interpolation,
        mean=cfg.mean,
        std=cfg.std,
    )
    model.preprocessing = replace(expected.for_channels(model.config.in_channels), image_size=model.config.frame_size)


for _variant in VARIANTS:
    register_model(_entrypoint(_variant))
