"""The block of MaxViT: MBConv, block attention, grid attention, or these parts in another order."""

from collections import OrderedDict

from torch import Tensor, nn

from maxvit.config import OFFICIAL, Dialect, check_order
from maxvit.layers.checks import sides_of
from maxvit.layers.mbconv import MBConv, Shortcut
from maxvit.layers.multiaxis import AttentionLayer, BlockAttention, GridAttention
from maxvit.layers.parallel import ParallelAttention
from maxvit.layers.partition import Size

NAMES = {"C": "mbconv", "B": "block_attention", "G": "grid_attention", "P": "attention"}


class MaxViTBlock(nn.Sequential):
    """MBConv, block attention, grid attention (paper, Figure 2), one after the other.

    The parts share one drop path rate. Where MBConv comes first it strides and changes the channels; otherwise a pool
    and a 1 x 1 convolution do so before all parts, as in MBConv's shortcut.

    Args:
        in_channels: C_in.
        channels: C, a multiple of `head_dim`.
        stride: 1 or 2.
        order: Of the parts: C MBConv, B block attention, G grid attention, P both attentions in parallel; any of them,
            also several times, such as "CBG", "GBC", "BG", "CBB" or "CP".
        window_size: See `BlockAttention`.
        grid_size: See `GridAttention`.
        head_dim: Channels of one head.
        expansion: Of MBConv and of the feed-forward networks.
        se_ratio: See `MBConv`.
        drop_path: Stochastic depth of every branch.
        table_size: See `BlockAttention`.
        dialect: See `BlockAttention` and `MBConv`.

    Raises:
        MaxViTError: If the order has another letter, or sizes do not fit together.
    """

    mbconv: MBConv  # these three exist in the default order
    block_attention: BlockAttention
    grid_attention: GridAttention

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        order: str = "CBG",
        window_size: int | Size = 7,
        grid_size: int | Size = 7,
        head_dim: int = 32,
        expansion: int = 4,
        se_ratio: float = 0.25,
        drop_path: float = 0.0,
        table_size: Size | None = None,
        dialect: Dialect = OFFICIAL,
    ) -> None:
        check_order(order)
        dims = len(sides_of("window size", window_size))
        grid_size = sides_of("grid size", grid_size, dims)
        attention = (head_dim, expansion, drop_path, table_size, dialect)
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if order[0] != "C" and (stride != 1 or in_channels != channels):
            parts["downsample"] = Shortcut(in_channels, channels, stride, dialect, dims)
            in_channels, stride = channels, 1
        for i, letter in enumerate(order):
            several = order.count(letter) > 1
            name = f"{NAMES[letter]}{order[: i + 1].count(letter) if several else ''}"
            if letter == "C":
                parts[name] = MBConv(in_channels, channels, stride, expansion, se_ratio, drop_path, dialect, dims)
                in_channels, stride = channels, 1
            elif letter == "B":
                parts[name] = BlockAttention(channels, window_size, *attention)
            elif letter == "G":
                parts[name] = GridAttention(channels, grid_size, *attention)
            else:
                parts[name] = ParallelAttention(channels, window_size, grid_size, *attention)
        super().__init__(parts)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C_in, *sides) -> (B, C, *sides), sides halved (rounded up) if the block strides.

        Args:
            x: The map.
            mask: Tokens that may be attended to, (B, *sides) bool with the sides of what comes out; None: all.
        """
        for part in self:
            masked = mask is not None and isinstance(part, AttentionLayer | ParallelAttention)
            x = part(x, mask) if masked else part(x)
        return x
