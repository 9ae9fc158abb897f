"""The shape of a network, and what its outputs mean."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Literal, get_args

from maxvit.config.checks import SMALLEST_SIDE, check_known, check_mapping, is_number, plainly_frozen
from maxvit.config.dialect import OFFICIAL, Dialect
from maxvit.config.order import check_orders
from maxvit.config.preprocessing import Size
from maxvit.errors import MaxViTError

if TYPE_CHECKING:
    from torch import Tensor

Sides = tuple[int, ...]  # (length,), (height, width) or (time, height, width)
Pool = Literal["avg", "max", ""]  # of the last map; "": none, the network gives a map
SIDE_NAMES = {1: "length,", 2: "height, width", 3: "time, height, width"}  # by the number of sides
_SIDES_OF_MAPS = "(length,), (height, width) or (time, height, width)"
THRESHOLD = 0.5  # probability from which yes is likelier


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
        if not is_number(self.threshold) or not 0 <= self.threshold <= 1:
            raise MaxViTError(f"threshold is {self.threshold!r}; it takes a probability from 0 to 1")
        if not is_number(self.temperature) or not self.temperature > 0:
            raise MaxViTError(f"temperature is {self.temperature!r}; it takes a number above 0")
        thresholds = self.set_thresholds
        if not isinstance(thresholds, list | tuple) or not all(is_number(v) and 0 <= v <= 1 for v in thresholds):
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


def class_probabilities(logits: "Tensor", multi_label: bool, temperature: float) -> "Tensor":
    """What logits (..., classes) mean: sigmoids where each class is a question, else a softmax at the temperature."""
    return logits.sigmoid() if multi_label else (logits / temperature).softmax(-1)
