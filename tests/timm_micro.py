"""timm's networks of small shapes, which take milliseconds, and ours with their weights."""

from timm.models.maxxvit import MaxxVit, MaxxVitCfg, MaxxVitConvCfg, MaxxVitTransformerCfg, _rw_max_cfg

from healthy import fill
from maxvit import MaxViT
from maxvit.checkpoints.timm import from_timm
from maxvit.description import describe
from official import MICRO

OWN = {  # what timm's own networks differ in, by the names of our dialects
    "timm_rw": {},
    "timm_rmlp": {"rel_pos_type": "mlp"},
    "timm_rmlp_small": {"rel_pos_type": "mlp", "init_values": 1e-6},
    "timm_rmlp_base": {"rel_pos_type": "mlp"},
    "timm_pm": {},
}


def ours_of(theirs, image_size=None):
    """Our network, on the same memory."""
    config, preprocessing, state = from_timm(theirs.state_dict(), image_size)
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


def own(dialect, image_size=(64, 96), classes=10):
    """timm's network of its own kind, with weights that all matter. No two stages are of one shape."""
    config = MaxxVitCfg(
        embed_dim=(32, 32, 64, 96),
        depths=(1, 2, 1, 1),
        block_type=("PM" if dialect == "timm_pm" else "M",) * 4,
        stem_width=(24, 32),
        head_hidden_size=96 if dialect == "timm_rmlp_base" else None,
        **_rw_max_cfg(**OWN[dialect]),
    )
    return fill(MaxxVit(config, img_size=image_size, num_classes=classes))
