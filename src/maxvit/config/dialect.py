"""What differs between the official networks and other people's."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from maxvit.config.checks import is_number, plainly_frozen
from maxvit.errors import MaxViTError


@plainly_frozen()
@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """What networks of one origin compute otherwise than those of another, as values that layers read.

    The defaults are the official ones; `DIALECTS` names those of others. How large a network is, is in `MaxViTConfig`.

    Raises:
        MaxViTError: If a value is unknown or out of range.
    """

    gelu: Literal["tanh", "erf"] = "tanh"
    conv_activation: Literal["gelu", "silu"] = "gelu"  # of the stem and of MBConv
    conv_bias: Literal[True, False] = True  # of the stem's convolutions, MBConv's last and its shortcut's
    padding: Literal["same", "symmetric"] = "same"  # of strided 3 x 3 convolutions; "same": an even side at its end
    batch_norm_eps: float = 1e-3
    batch_norm_momentum: float = 0.01  # the official 0.99, in PyTorch's terms
    widths_from: Literal["output", "input"] = "output"  # of MBConv; its inner channels are so many times these
    shortcut_pool: Literal["2x2", "3x3"] = "2x2"  # "2x2": padding does not count; "3x3": one pixel of zeros counts
    shortcut_projection: Literal["channels", "stride"] = "channels"  # 1 x 1 where channels change; or also at strides
    layer_norm_eps: float = 1e-5
    norm: Literal["layer", "batch", "rms"] = "layer"  # before attention and before the feed-forward network
    attention: Literal["in turn", "parallel"] = "in turn"  # of blocks whose order the configuration leaves open
    position_bias: Literal["table", "mlp"] = "table"  # see `maxvit.layers.position_bias`
    qk_norm: Literal[True, False] = False  # of each query and key, see `maxvit.layers.norm.QKNorm`
    feed_forward: Literal["gelu", "gated"] = "gelu"  # "gated": half of twice the hidden channels scales the others
    layer_scale: float = 0.0  # what scales each channel of attention's and feed-forward's branches at first; 0: nothing
    head: Literal["dense", "plain"] = "dense"  # pool, norm, dense, tanh; or norm, pool

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, allowed = getattr(self, field.name), get_args(field.type)
            if allowed and not any(type(value) is type(a) and value == a for a in allowed):
                raise MaxViTError(f"{field.name} is {value!r}; choose {' or '.join(repr(a) for a in allowed)}")
            if not allowed and not (is_number(value) and 0 <= value <= 1):
                raise MaxViTError(f"{field.name} is {value!r}; it takes a number from 0 to 1")


OFFICIAL = Dialect()
TORCHVISION = Dialect(gelu="erf", padding="symmetric", shortcut_pool="3x3", shortcut_projection="stride")
TIMM_RW = Dialect(  # timm's own networks, made before the official code was known
    gelu="erf",
    conv_activation="silu",
    conv_bias=False,
    padding="symmetric",
    batch_norm_eps=1e-5,
    batch_norm_momentum=0.1,
    widths_from="input",
    layer_norm_eps=1e-6,
    head="plain",
)
TIMM_RMLP = dataclasses.replace(TIMM_RW, position_bias="mlp")
DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        "official": OFFICIAL,
        "torchvision": TORCHVISION,
        "timm_rw": TIMM_RW,
        "timm_rmlp": TIMM_RMLP,
        "timm_rmlp_small": dataclasses.replace(TIMM_RMLP, layer_scale=1e-6),
        "timm_rmlp_base": dataclasses.replace(TIMM_RMLP, head="dense"),
        "timm_pm": dataclasses.replace(TIMM_RW, attention="parallel"),
    }
)
