"""A small network with an opinion, on maps that its windows and grids do not divide."""

import torch
from torch import nn

from maxvit.config import DIALECTS, MaxViTConfig
from maxvit.layers.attention import GroupAttention
from maxvit.model import MaxViT


def opinionated(module):
    """Weights that attend to some positions much more than to others."""
    for layer in module.modules():
        if isinstance(layer, GroupAttention):
            nn.init.normal_(layer.qkv.weight, std=0.7)
            nn.init.normal_(layer.qkv.bias)
            for parameter in layer.bias.parameters():
                nn.init.normal_(parameter, std=0.1 if parameter.shape[-1] == 512 else 1.0)
    return module


def tiny(grid_size=(3, 2), pool="avg", dialect="official", order=None):
    """Two blocks in the second stage, two heads in it and three in the last."""
    config = MaxViTConfig(
        stem_channels=8,
        channels=(8, 16, 16, 24),
        depths=(1, 2, 1, 1),
        head_dim=8,
        window_size=(2, 3),
        grid_size=grid_size,
        num_classes=3,
        image_size=(32, 32),
        drop_path_rate=0.5,
        pool=pool,
        dialect=DIALECTS[dialect],
        order=order,
    )
    return opinionated(MaxViT(config))


def given_to(model, image):
    """What each attention layer is given for one image, (1, H, W, C) by layer, in the order of the network."""
    seen = {}
    layers = [m for m in model.modules() if isinstance(m, GroupAttention)]
    hooks = [m.register_forward_pre_hook(lambda module, args: seen.__setitem__(module, args[0])) for m in layers]
    with torch.no_grad():
        model.eval()(image[None])
    for hook in hooks:
        hook.remove()
    return seen
