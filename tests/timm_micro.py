"""timm's network of the golden checkpoint's shape, which takes milliseconds, and ours with its weights."""

from timm.models.maxxvit import MaxxVit, MaxxVitCfg, MaxxVitConvCfg, MaxxVitTransformerCfg

from healthy import fill
from maxvit import MaxViT
from maxvit.checkpoints.timm import from_timm
from maxvit.description import describe
from official import MICRO


def ours_of(theirs):
    """Our network, on the same memory."""
    config, preprocessing, state = from_timm(theirs.state_dict())
    return MaxViT.restore(state, describe(config, preprocessing, None, {}), "timm")


def small(image_size=(64, 96)):
    """Its network with weights that all matter."""
    return fill(micro_of_timm(image_size))


def micro_of_timm(image_size):
    """timm's network of the golden checkpoint's shape."""
    config = MaxxVitCfg(
        embed_dim=MICRO.channels,
        depths=MICRO.depths,
        block_type=("M",) * 4,
        stem_width=MICRO.stem_channels,
        stem_bias=True,
        head_hidden_size=MICRO.channels[-1],
        conv_cfg=MaxxVitConvCfg(norm_eps=1e-3, act_layer="gelu_tanh", padding="same"),
        transformer_cfg=MaxxVitTransformerCfg(
            norm_eps=1e-5, act_layer="gelu_tanh", head_first=False, rel_pos_type="bias_tf"
        ),
    )
    return MaxxVit(config, img_size=image_size, num_classes=10).eval()
