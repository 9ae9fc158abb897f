"""Position bias: a number that attention adds to the score of every (query, key) pair of a group, by their offset.

Letters: T tokens per group, N heads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maxvit.config import Dialect
from maxvit.layers.partition import Size

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}  # by the sides of a map
SIDES = (1, 2, 3)  # where they are in a table
HIDDEN, DROPOUT = 512, 0.125  # of timm's MLP; the dropout is of its hidden layer, in training


class RelativePositionBias(nn.Module):
    """A learned number per head and offset between two tokens (paper, Eq. 1; official: key minus query).

    Args:
        heads: N.
        size: Tokens of a group along each side, such as (height, width).
        table_size: Offsets that are learned, likewise. Where it is not 2 * size - 1, the table is resized linearly
            along each side on every use, so that fine-tuning at another size trains the original table.
    """

    def __init__(self, heads: int, size: Size, table_size: Size) -> None:
        super().__init__()
        self.size = size
        self.table = nn.Parameter(torch.empty(heads, *table_size))
        if not self.table.is_meta:  # see maxvit.model.initialize
            nn.init.normal_(self.table, std=0.02)

    def forward(self) -> Tensor:
        """The bias of every (query, key) pair, (N, T, T)."""
        return pair_biases(self.table, self.size)


class MLPPositionBias(nn.Module):
    """The same bias from a small network of the offset (timm's `RelPosMlp`, after arXiv 2111.09883, "Log-CPB").

    Offsets enter as sign(d) * log(1 + |d|), counted in tokens, so that groups of any size have their biases at once.

    Args:
        heads: N.
        size: Tokens of a group along each side.
    """

    def __init__(self, heads: int, size: Size) -> None:
        super().__init__()
        self.size = size
        self.expand = nn.Linear(len(size), HIDDEN)
        self.act = nn.ReLU()
        self.dropout = nn.Dropout(DROPOUT)
        self.project = nn.Linear(HIDDEN, heads)

    def forward(self) -> Tensor:
        """The bias of every (query, key) pair, (N, T, T)."""
        offsets = log_offsets(self.size, self.expand.weight)  # (2h - 1, 2w - 1, 2)
        table = self.project(self.dropout(self.act(self.expand(offsets)))).movedim(-1, 0)  # (N, 2h - 1, 2w - 1)
        return pair_biases(table, self.size)


def position_bias(heads: int, size: Size, table_size: Size, dialect: Dialect) -> RelativePositionBias | MLPPositionBias:
    """The position bias that a dialect asks for; both kinds have `size`, and give (N, T, T)."""
    if dialect.position_bias == "mlp":
        return MLPPositionBias(heads, size)
    return RelativePositionBias(heads, size, table_size)


def log_offsets(size: Size, like: Tensor) -> Tensor:
    """Query minus key, as timm has it, by logarithm, in the order of our tables, which hold key minus query.

    Returns:
        (2h - 1, 2w - 1, 2), as `like`.
    """
    along = [torch.arange(side - 1, -side, -1, device=like.device, dtype=torch.float32) for side in size]
    offsets = torch.stack(torch.meshgrid(*along, indexing="ij"), -1)
    return (offsets.sign() * offsets.abs().log1p()).to(like.dtype)


def pair_biases(table: Tensor, size: Size) -> Tensor:
    """The bias of every (query, key) pair in a group of `size`, from a table of offsets: (N, any, ...) -> (N, T, T)."""
    windows, n = resized_table(table, size), len(size)
    for i, side in enumerate(size, start=1):
        windows = windows.unfold(i, side, 1)  # in the end (N, h, w, h, w): offset of the first key, then key
    bias = windows.flip(*SIDES[:n])  # query, then key; the last query's first key is the lowest offset
    return bias.flatten(n + 1).flatten(1, n)  # (N, T, T)


def resized_table(table: Tensor, size: Size) -> Tensor:
    """A table of offsets for groups of `size`, linearly along each side: (N, any, any) -> (N, 2h - 1, 2w - 1)."""
    wanted = tuple(2 * side - 1 for side in size)
    if table.shape[1:] == wanted:
        return table
    return F.interpolate(table[:, None], wanted, mode=LINEAR[len(size)], align_corners=False)[:, 0]


torch.fx.wrap("pair_biases")  # it branches on sizes, which FX proxies cannot: wrapped, it is one node
torch.fx.wrap("log_offsets")
