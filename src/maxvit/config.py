"""What a MaxViT is made of, as frozen data: the network's shape, its preprocessing, and the named variants."""

import dataclasses
import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import FrozenInstanceError, dataclass
from math import ceil
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from maxvit.errors import MaxViTError

if TYPE_CHECKING:
    from torch import Tensor

Size = tuple[int, int]  # (height, width)
Sides = tuple[int, ...]  # (length,), (height, width) or (time, height, width)
Pool = Literal["avg", "max", ""]  # of the last map; "": none, the network gives a map

Fit = Literal["crop", "squash", "aspect"]  # how an image gets the shape that is wanted
Range = tuple[float, float]  # the values that become black and white
SMALLEST_SIDE = 32  # pixels; the network halves the image five times
SIDE_NAMES = {1: "length,", 2: "height, width", 3: "time, height, width"}  # by the number of sides
_SIDES_OF_MAPS = "(length,), (height, width) or (time, height, width)"
PARTS = {"C": "MBConv", "B": "block attention", "G": "grid attention", "P": "both attentions in parallel"}  # of blocks
MOST_BANDS = 16  # of an image
THRESHOLD = 0.5  # probability from which yes is likelier

Class = TypeVar("Class", bound=type)


def plainly_frozen(*ignored: str) -> Callable[[Class], Class]:
    """Answer any assignment to a frozen dataclass with a sentence.

    With slots, CPython answers that to an unknown name with a TypeError about super().

    Args:
        ignored: Names that other libraries set on every configuration, and that mean nothing to a MaxViT.
    """

    def refuse(self: object, name: str, value: object = None) -> None:
        if name not in ignored:
            kind = type(self).__name__
            raise FrozenInstanceError(
                f"{name} cannot be set: a {kind} is frozen; make another with dataclasses.replace"
            )

    def apply(cls: Class) -> Class:
        cls.__setattr__ = cls.__delattr__ = refuse  # type: ignore[assignment]
        return cls

    return apply


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e30


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
            if not allowed and not (_is_number(value) and 0 <= value <= 1):
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


@plainly_frozen("use_cache")  # transformers.Trainer sets it, for networks that write text
@dataclass(frozen=True, kw_only=True, slots=True)
class MaxViTConfig:
    """Shape of a MaxViT network (paper, Table 1), and what its outputs mean.

    `channels` and `depths` have one entry per stage. Sizes have one for each side of what the network takes:
    (height, width) of images; (length,) of sequences, (time, height, width) of volumes and video.

    Raises:
        MaxViTError: If a value is out of range or two values do not fit together.
    """

    stem_channels: int = 64
    stem_hidden_channels: int | None = None  # between the stem's two convolutions; None: as many as behind them
    channels: tuple[int, ...] = (64, 128, 256, 512)
    depths: tuple[int, ...] = (2, 2, 5, 2)
    order: str | tuple[str, ...] | None = None  # of a block's parts, see `block_orders`; None: the dialect's own
    window_size: Sides = (7, 7)  # tokens of a block-attention window
    grid_size: Sides = (7, 7)  # tokens of a grid-attention group
    bias_table_size: Sides | None = None  # learned relative offsets; None: as many as the window has, 2 * window - 1
    head_dim: int = 32
    expansion: int = 4  # of MBConv and of the feed-forward network
    se_ratio: float = 0.25  # squeezed channels over those that expansion counts from, see `Dialect.widths_from`
    drop_path_rate: float = 0.0  # stochastic depth; block b of N drops with rate * b / N
    pool: Pool = "avg"
    inner_fields: int = (
        0  # fields on a side of inner maps that are classified too, see `InnerHead`; 0: the last map alone
    )
    in_channels: int = 3
    num_classes: int = 1000  # 0: no classifier, the network returns the features before it
    multi_label: bool = False  # each class is a yes/no question (sigmoid); False: one class of many (softmax)
    threshold: float = THRESHOLD  # with multi_label: the probability from which a class is predicted
    temperature: float = 1.0  # without: logits are divided by it before the softmax, so that confidence can be believed
    set_thresholds: tuple[float, ...] = ()  # without: see `maxvit.tasks.classification.conformal`; (): none are known
    novelty_centres: int = 0  # of its `maxvit.layers.novelty.Novelty`; 0: it has none
    image_size: Sides = (224, 224)  # the size it is made for; any other from 32 pixels up works too
    dialect: Dialect = OFFICIAL

    def __post_init__(self) -> None:
        for name in ("image_size", "channels", "depths", "window_size", "grid_size", "bias_table_size"):
            value = getattr(self, name)
            if name == "bias_table_size" and value is None:
                value = tuple(2 * side - 1 for side in self.window_size)
            if not isinstance(value, list | tuple) or not all(type(v) is int and v > 0 for v in value):
                raise MaxViTError(f"{name} is {value!r}; it takes positive whole numbers")
            object.__setattr__(self, name, tuple(value))
        if self.dims not in SIDE_NAMES:
            raise MaxViTError(f"window_size is {self.window_size}; it takes one to three numbers, {_SIDES_OF_MAPS}")
        for name in ("grid_size", "bias_table_size", "image_size"):
            if len(getattr(self, name)) != self.dims:
                many = ("one number", "two numbers", "three numbers")[self.dims - 1]
                raise MaxViTError(f"{name} is {getattr(self, name)}; it takes {many}, ({SIDE_NAMES[self.dims]})")
        if isinstance(self.order, list):
            object.__setattr__(self, "order", tuple(self.order))
        check_orders(self.order)
        for name in ("stem_channels", "head_dim", "expansion", "in_channels"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise MaxViTError(f"{name} is {getattr(self, name)!r}; it takes a whole number from 1 up")
        hidden = self.stem_hidden_channels
        if hidden is not None and (type(hidden) is not int or hidden < 1):
            raise MaxViTError(f"stem_hidden_channels is {hidden!r}; it takes a whole number from 1 up, or None")
        if hidden == self.stem_channels:
            object.__setattr__(self, "stem_hidden_channels", None)
        nothings = {"num_classes": "no classifier", "novelty_centres": "no score for novelty", "inner_fields": "none"}
        for name, nothing in nothings.items():
            if type(getattr(self, name)) is not int or getattr(self, name) < 0:
                raise MaxViTError(f"{name} is {getattr(self, name)!r}; it takes a whole number, 0 for {nothing}")
        if len(self.channels) != 4 or len(self.depths) != 4:
            raise MaxViTError(f"channels {self.channels} and depths {self.depths} need one entry for each of 4 stages")
        for c in self.channels:
            if c % self.head_dim:
                raise MaxViTError(f"channels {self.channels} must be multiples of head_dim, which is {self.head_dim}")
        for name, top in (("drop_path_rate", "below 1"), ("se_ratio", "above 0, up to 1")):
            value = getattr(self, name)
            fits = 0 <= value < 1 if name == "drop_path_rate" else 0 < value <= 1
            if isinstance(value, bool) or not isinstance(value, int | float) or not fits:
                raise MaxViTError(f"{name} is {value!r}; it takes a number {top}")
        if type(self.multi_label) is not bool:
            raise MaxViTError(f"multi_label is {self.multi_label!r}; it takes True or False")
        if not _is_number(self.threshold) or not 0 <= self.threshold <= 1:
            raise MaxViTError(f"threshold is {self.threshold!r}; it takes a probability from 0 to 1")
        if not _is_number(self.temperature) or not self.temperature > 0:
            raise MaxViTError(f"temperature is {self.temperature!r}; it takes a number above 0")
        thresholds = self.set_thresholds
        if not isinstance(thresholds, list | tuple) or not all(_is_number(v) and 0 <= v <= 1 for v in thresholds):
            raise MaxViTError(f"set_thresholds is {thresholds!r:.80}; it takes probabilities from 0 to 1")
        object.__setattr__(self, "set_thresholds", tuple(thresholds))
        if self.pool not in get_args(Pool):
            raise MaxViTError(
                f"pool is {self.pool!r}; choose 'avg' or 'max', or '' for none where there is no classifier"
            )
        if self.num_classes and not self.pool:
            raise MaxViTError(
                f"{self.num_classes} classes need a pool before them: choose 'avg' or 'max', or 0 classes"
            )
        if min(self.image_size[-2:]) < SMALLEST_SIDE:
            raise MaxViTError(f"image_size is {self.image_size}; the smallest side is {SMALLEST_SIDE} pixels")
        if self.dims != 2 and self.inner_fields:
            raise MaxViTError(
                f"inner_fields is {self.inner_fields}, and fields are of images: it is 0 with {self.dims} sides"
            )

    @property
    def dims(self) -> int:
        """Sides of what the network takes: 2 of images, 1 of sequences, 3 of volumes and video."""
        return len(self.window_size)

    @property
    def frame_size(self) -> Size:
        """(height, width) of an image, or of one of a volume's."""
        height, width = (*self.image_size, *self.image_size)[-2:]
        return height, width

    @property
    def block_orders(self) -> tuple[str, ...]:
        """The parts of each stage's blocks, in their order, see `maxvit.layers.block.MaxViTBlock`."""
        order = self.order or ("CBG" if self.dialect.attention == "in turn" else "CCP")
        return (order,) * 4 if isinstance(order, str) else order

    def drop_path_rates(self) -> list[list[float]]:
        """Stochastic depth of each block, stage by stage: from 0, in steps of rate / N (official model)."""
        total, rates, b = sum(self.depths), [], 0
        for depth in self.depths:
            rates.append([self.drop_path_rate * (b + i) / total for i in range(depth)])
            b += depth
        return rates

    def probabilities(self, logits: "Tensor") -> "Tensor":
        """What logits (..., classes) mean: the probability of each class, in the type of the logits."""
        return class_probabilities(logits, self.multi_label, self.temperature)

    def predicted(self, probabilities: "Tensor") -> list[int]:
        """The classes that are predicted for one image, the most probable first.

        Args:
            probabilities: (classes).

        Returns:
            The most probable one; with `multi_label` all from `threshold` up, perhaps none.
        """
        if not self.multi_label:
            return [int(probabilities.argmax())]
        order = probabilities.sort(descending=True, stable=True)
        found: list[int] = order.indices[order.values >= self.threshold].tolist()
        return found

    def for_classes(self, num_classes: int, multi_label: bool = False) -> "MaxViTConfig":
        """The configuration of a new classifier, as before any validation."""
        return dataclasses.replace(
            self,
            num_classes=num_classes,
            multi_label=multi_label,
            threshold=THRESHOLD,
            temperature=1.0,
            set_thresholds=(),
            novelty_centres=0,
        )

    def resized(self, image_size: int | Sides) -> "MaxViTConfig":
        """The configuration for another image size: window = grid = ceil(side / 32), the bias tables stay.

        Raises:
            MaxViTError: If it is neither a side in pixels nor (height, width), or below 32.
        """
        sides = (image_size,) * self.dims if isinstance(image_size, int) else image_size
        if not isinstance(sides, list | tuple) or len(sides) != self.dims or not all(type(s) is int for s in sides):
            raise MaxViTError(f"image_size is {image_size!r}; it takes a side in pixels, or ({SIDE_NAMES[self.dims]})")
        window = tuple(ceil(side / 32) for side in sides)
        return dataclasses.replace(self, image_size=tuple(sides), window_size=window, grid_size=window)

    def with_dims(self, dims: int, window_size: int | Sides | None = None) -> "MaxViTConfig":
        """The configuration of a network for maps of another number of sides: the last are as they are.

        Args:
            dims: 1, 2 or 3. A side that is new is as long as the first that there was.
            window_size: Tokens of windows and grids, a number or one for each side; None: as they are. Bias tables
                become as large along sides that are new, or where they were as large as the windows.

        Raises:
            MaxViTError: If there is no such network.
        """
        if dims not in SIDE_NAMES:
            raise MaxViTError(f"dims is {dims!r}; choose 1 (sequences), 2 (images) or 3 (volumes and video)")

        def sides(of: Sides) -> Sides:
            return (*(of[:1] * 2), *of)[-dims:]

        whole = self.bias_table_size == tuple(2 * side - 1 for side in self.window_size)
        window, grid, table = sides(self.window_size), sides(self.grid_size), sides(self.bias_table_size or ())
        if window_size is not None:
            window = grid = (window_size,) * dims if isinstance(window_size, int) else tuple(window_size)
            if len(window) != dims:
                raise MaxViTError(f"window_size is {window_size}; it takes a number, or ({SIDE_NAMES[dims]})")
        new = dims if whole else max(dims - self.dims, 0)
        table = (*(2 * side - 1 for side in window[:new]), *table[new:])
        return dataclasses.replace(
            self, window_size=window, grid_size=grid, bias_table_size=table, image_size=sides(self.image_size)
        )

    def inflated(self, image_size: int | Sides | None, window_size: int | Sides | None) -> "MaxViTConfig":
        """The configuration of what `MaxViT.inflated` gives. Raises `MaxViTError` as it does."""
        if self.dims != 2:
            raise MaxViTError(f"the network takes maps of {self.dims} sides; one for images can be inflated")
        if self.dialect.shortcut_pool == "3x3":
            raise MaxViTError(
                "shortcuts that pool 3 x 3 count zeros around the map (torchvision's dialect), and so would tell the "
                "first image from those that follow: inflate a network of another dialect"
            )
        config = self.with_dims(3)
        config = config if image_size is None else config.resized(image_size)
        config = config.with_dims(3, window_size)
        table = (2 * config.window_size[0] - 1, *(self.bias_table_size or ()))
        return dataclasses.replace(config, bias_table_size=table)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    def to_json_string(self) -> str:
        """`to_dict` as JSON: what the callbacks of transformers.Trainer write into a log."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "MaxViTConfig":
        """Undo `to_dict`.

        Raises:
            MaxViTError: If a key is unknown or a value out of range.
        """
        check_mapping("config", values)
        check_known("configuration key", values, [f.name for f in dataclasses.fields(cls)])
        known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        if "dialect" in known:
            check_mapping("dialect", known["dialect"])
            check_known("dialect key", known["dialect"], [f.name for f in dataclasses.fields(Dialect)])
            known["dialect"] = Dialect(**known["dialect"])
        return cls(**known)


@plainly_frozen()
@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """What the weights expect of an image: cut or squeeze it to a size, then normalise.

    `fit` says how an image of another shape becomes `image_size`. "crop": the centred piece of its aspect ratio.
    "squash": the whole image, squeezed. "aspect": the whole image keeps its shape, and takes as many pixels as
    `image_size` has, each side a multiple of 32; images then differ in size.

    `interpolation` "bicubic" and "bilinear" are Pillow's antialiased ones. "bicubic-tf1" is the official
    evaluation's (TensorFlow 1 rules: corners anchored, a = -0.75, no antialiasing).

    `value_range` holds the values that are black and white in images of more than 8 bits, for all channels or for each:
    it is one for a data set, so that the same value means the same in each of its images. None: what the type in the
    file can hold, 0 to 1 of floats. `max_pixels` is the most that are decoded of one image.

    `mean` and `std` say how many channels there are. Photographs make 1 or 3; any other number is for images with as
    many bands. `shown_bands` are those that people are shown as red, green and blue, from 1; (): the first three.
    """

    image_size: Size = (224, 224)
    fit: Fit = "crop"
    crop_pct: float = 0.875  # of the largest centred piece that has the aspect ratio wanted
    interpolation: Literal["bicubic", "bilinear", "bicubic-tf1"] = "bicubic"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)  # of pixels in 0..1, one per channel
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    value_range: Range | tuple[Range, ...] | None = None
    max_pixels: int = 210_000_000  # telephones make up to 201 million
    shown_bands: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("image_size", "mean", "std", "value_range", "shown_bands"):
            value = getattr(self, name)
            if name == "value_range" and value is None:
                continue
            if not isinstance(value, list | tuple):
                raise MaxViTError(f"{name} is {value!r}; it takes numbers")
            object.__setattr__(self, name, tuple(tuple(v) if isinstance(v, list) else v for v in value))
        for name in ("mean", "std", "crop_pct"):
            value = getattr(self, name)
            if not all(_is_number(v) for v in (value if isinstance(value, tuple) else [value])):
                raise MaxViTError(f"{name} is {value!r}; it takes numbers that are finite")
        if len(self.image_size) != 2 or not all(type(v) is int and v >= SMALLEST_SIDE for v in self.image_size):
            raise MaxViTError(f"image_size is {self.image_size}; it takes (height, width) from {SMALLEST_SIDE} up")
        self._check_channels()
        if type(self.max_pixels) is not int or self.max_pixels < 1:
            raise MaxViTError(f"max_pixels is {self.max_pixels!r}; it takes a whole number from 1 up")
        if not 0 < self.crop_pct <= 1:
            raise MaxViTError(f"crop_pct is {self.crop_pct}; it takes a number above 0, up to 1")
        if self.fit not in ("crop", "squash", "aspect"):
            raise MaxViTError(f"fit is {self.fit!r}; choose 'crop', 'squash' or 'aspect'")
        if self.interpolation not in ("bicubic", "bilinear", "bicubic-tf1"):
            raise MaxViTError(f"interpolation is {self.interpolation!r}; choose 'bicubic', 'bilinear' or 'bicubic-tf1'")

    def _check_channels(self) -> None:
        """What is for each channel: as many of it as there are channels."""
        if len(self.mean) != len(self.std) or not 1 <= self.channels <= MOST_BANDS or min(self.std) <= 0:
            raise MaxViTError(
                f"mean {self.mean} and std {self.std} need one value per channel, of 1 to {MOST_BANDS}, std above 0"
            )
        pairs = self.ranges
        for pair in pairs:
            numbers = isinstance(pair, tuple) and len(pair) == 2 and all(map(_is_number, pair))
            if not numbers or not pair[0] < pair[1]:
                raise MaxViTError(
                    f"value_range is {self.value_range}; it takes numbers that are finite: the value of black, then "
                    "that of white above it; or such a pair for each channel"
                )
        if len(pairs) not in (0, 1, self.channels):
            raise MaxViTError(f"value_range has {len(pairs)} pairs, and there are {self.channels} channels")
        bands = self.shown_bands
        fit = all(type(band) is int and 1 <= band <= self.channels for band in bands)
        if len(bands) not in (0, 1, 3) or not fit or (bands and not self.takes_bands):
            takes = f"three bands, or one, of 1 to {self.channels}" if self.takes_bands else "none for photographs"
            raise MaxViTError(f"shown_bands is {bands}; it takes {takes}")

    def for_channels(self, channels: int) -> "Preprocessing":
        """The same for images of another number of channels.

        For grey (1) and colours (3) from one another, all have the mean of `mean` and of `std`. Bands have 0.5 each,
        which makes -1 of black and 1 of white. For more than 16, which no image has, it is left as it is.
        """
        if self.channels == channels or channels > MOST_BANDS:
            return self
        if self.takes_bands or channels not in (1, 3):
            mean = std = 0.5
        else:
            mean, std = (sum(v) / len(v) for v in (self.mean, self.std))
        return dataclasses.replace(
            self,
            mean=(mean,) * channels,
            std=(std,) * channels,
            value_range=self.value_range if len(self.ranges) == 1 else None,
            shown_bands=(),
        )

    @property
    def channels(self) -> int:
        """How many the weights expect."""
        return len(self.mean)

    @property
    def takes_bands(self) -> bool:
        """Whether images are other than grey or in colours."""
        return self.channels not in (1, 3)

    @property
    def ranges(self) -> tuple[Range, ...]:
        """`value_range` as pairs: one for each channel, or one for all; () where there is none."""
        given: Any = self.value_range
        return () if given is None else given if given and isinstance(given[0], tuple) else (given,)

    @property
    def shown(self) -> tuple[int, ...]:
        """The bands, from 0, that are shown as red, green and blue; or as grey, where it is one."""
        if self.shown_bands:
            return tuple(band - 1 for band in self.shown_bands)
        return (0, 1, 2) if self.channels > 2 else (0,)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """Undo `to_dict`. Raises `MaxViTError` on an unknown key or a value out of range."""
        check_mapping("preprocessing", values)
        check_known("preprocessing key", values, [f.name for f in dataclasses.fields(cls)])
        return cls(**values)


def class_probabilities(logits: "Tensor", multi_label: bool, temperature: float) -> "Tensor":
    """What logits (..., classes) mean: sigmoids where each class is a question, else a softmax at the temperature."""
    return logits.sigmoid() if multi_label else (logits / temperature).softmax(-1)


IMAGENET_21K = 21_843  # classes; published weights with so many learned each as a question (paper, Table 12: sigmoid)


def official_preprocessing(image_size: Size, imagenet_21k: bool = False) -> Preprocessing:
    """The official evaluation: crop s / (s + 32), their bicubic, and ImageNet's mean for ImageNet-1K models at 224.

    Fine-tuned models (384, 512) and those of ImageNet-21K see pixels scaled to -1..1 instead (official settings).
    """
    s = min(image_size)
    crop = s / (s + 32)
    if s == 224 and not imagenet_21k:
        return Preprocessing(image_size=image_size, crop_pct=crop, interpolation="bicubic-tf1")
    half = (0.5, 0.5, 0.5)
    return Preprocessing(image_size=image_size, crop_pct=crop, interpolation="bicubic-tf1", mean=half, std=half)


def check_mapping(what: str, given: object) -> None:
    """Refuse what is not a dictionary of settings. Raises `MaxViTError`."""
    if not isinstance(given, Mapping):
        raise MaxViTError(f"{what} is {given!r:.80}; it takes a dictionary of settings")


def check_order(order: object) -> None:
    """Refuse what is not an order of a block's parts. Raises `MaxViTError`."""
    if not isinstance(order, str) or not order or set(order) - set(PARTS):
        letters = ", ".join(f"{letter} ({part})" for letter, part in PARTS.items())
        raise MaxViTError(f"order is {order!r}; it takes letters of {letters}, such as 'CBG'")


def check_orders(orders: object) -> None:
    """Refuse what are not orders of a network's blocks. Raises `MaxViTError`."""
    if isinstance(orders, tuple) and len(orders) != 4:
        raise MaxViTError(f"order is {orders!r}; it takes one for all stages, or one for each of 4 stages")
    for order in () if orders is None else orders if isinstance(orders, tuple) else (orders,):
        check_order(order)


def check_known(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse names that do not exist, suggesting the nearest one that does.

    Raises:
        MaxViTError: If one of `given` is not in `known`.
    """
    known = list(known)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1) or [k for k in known if str(name) in k]
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise MaxViTError(f"unknown {what} {name!r}: {hint}")


# Paper, Table 1; the drop rates are the official ImageNet-1K ones (none is published for XL: that of L is taken).
# `maxvit_micro` is ours, for small images: at 32 pixels its stages see 8, 4, 2 and 1 tokens a side.
# `maxvit_pico` and `maxvit_nano` are timm's, in the dialect of the weights that are published for both, those of
# maxvit_rmlp_pico_rw_256 and maxvit_rmlp_nano_rw_256; no drop rate is published for them: half of T's is taken. timm's
# networks in other sizes have the blocks of the paper's variants in another dialect, and are found by timm's names.
VARIANTS: Mapping[str, MaxViTConfig] = MappingProxyType(
    {
        "maxvit_micro": MaxViTConfig(
            stem_channels=32,
            channels=(32, 64, 96, 128),
            depths=(1, 2, 1, 1),
            window_size=(4, 4),
            grid_size=(4, 4),
            drop_path_rate=0.1,
            num_classes=10,
            image_size=(32, 32),
        ),
        "maxvit_pico": MaxViTConfig(
            stem_channels=32,
            stem_hidden_channels=24,
            channels=(32, 64, 128, 256),
            window_size=(8, 8),
            grid_size=(8, 8),
            drop_path_rate=0.1,
            image_size=(256, 256),
            dialect=TIMM_RMLP,
        ),
        "maxvit_nano": MaxViTConfig(
            stem_hidden_channels=32,
            depths=(1, 2, 3, 1),
            window_size=(8, 8),
            grid_size=(8, 8),
            drop_path_rate=0.1,
            image_size=(256, 256),
            dialect=TIMM_RMLP,
        ),
        "maxvit_tiny": MaxViTConfig(drop_path_rate=0.2),
        "maxvit_small": MaxViTConfig(channels=(96, 192, 384, 768), drop_path_rate=0.3),
        "maxvit_base": MaxViTConfig(channels=(96, 192, 384, 768), depths=(2, 6, 14, 2), drop_path_rate=0.4),
        "maxvit_large": MaxViTConfig(
            stem_channels=128, channels=(128, 256, 512, 1024), depths=(2, 6, 14, 2), drop_path_rate=0.6
        ),
        "maxvit_xlarge": MaxViTConfig(
            stem_channels=192, channels=(192, 384, 768, 1536), depths=(2, 6, 14, 2), drop_path_rate=0.6
        ),
    }
)


def variant_name(config: MaxViTConfig) -> str | None:
    """The name of the variant whose blocks these are, whatever its images, windows and classes; None: of none."""
    shape = _blocks(config)
    return next((name for name, variant in VARIANTS.items() if _blocks(variant) == shape), None)


def _blocks(config: MaxViTConfig) -> tuple[Any, ...]:
    return (config.stem_channels, config.channels, config.depths, config.head_dim, config.expansion, config.se_ratio)


def with_published_drop_path(config: MaxViTConfig) -> MaxViTConfig:
    """For weights of other packages: fine-tuning goes on with the variant's own drop rate, which no file holds."""
    name = variant_name(config)
    return dataclasses.replace(config, drop_path_rate=VARIANTS[name].drop_path_rate) if name else config
