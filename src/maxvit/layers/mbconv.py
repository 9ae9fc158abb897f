"""MBConv with squeeze-and-excitation, the convolution of every MaxViT block, on maps (B, C, *sides) of any size.

Sides are (H, W), or with `dims` 1 and 3 (L) and (T, H, W).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maxvit.config import OFFICIAL, Dialect
from maxvit.errors import MaxViTError
from maxvit.layers.activation import conv_activation
from maxvit.layers.checks import check_map
from maxvit.layers.drop_path import DropPath

# by the sides of a map; typed as those of images, which kernels read
CONV: dict[int, type[nn.Conv2d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}  # type: ignore[dict-item]
BATCH_NORM: dict[int, type[nn.BatchNorm2d]]
BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}  # type: ignore[dict-item]
AVERAGE_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def batch_norm(channels: int, dialect: Dialect = OFFICIAL, dims: int = 2) -> nn.BatchNorm2d:
    """Batch norm with a dialect's constants."""
    return BATCH_NORM[dims](channels, eps=dialect.batch_norm_eps, momentum=dialect.batch_norm_momentum)


class _Same(nn.modules.conv._ConvNd):
    """Convolution with kernel size 3 and TensorFlow's 'same' padding.

    At stride 2 an even side is padded at its end only.

    Where the dialect's padding is "symmetric", it is PyTorch's own padding of 1, which is the same at odd sides.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: 1 or 2.
        groups: As in `nn.Conv2d`.
        bias: As in `nn.Conv2d`.
        dialect: Padding.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        groups: int = 1,
        bias: bool = True,
        dialect: Dialect = OFFICIAL,
    ) -> None:
        padding = 1 if stride == 1 or dialect.padding == "symmetric" else 0
        super().__init__(in_channels, out_channels, 3, stride, padding, groups=groups, bias=bias)  # type: ignore

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, *sides) -> (B, C_out, *sides), divided by the stride and rounded up."""
        if self.padding[0] == 0:
            last = len(self.padding) + 1
            x = F.pad(x, [more for side in range(last, 1, -1) for more in (x.shape[side] % 2, 1)])
        return super().forward(x)


class SameConv1d(_Same, nn.Conv1d):
    """Along (L)."""


class SameConv2d(_Same, nn.Conv2d):
    """Along (H, W): 3 x 3."""


class SameConv3d(_Same, nn.Conv3d):
    """Along (T, H, W): 3 x 3 x 3."""


SAME_CONV: dict[int, type[SameConv2d]]
SAME_CONV = {1: SameConv1d, 2: SameConv2d, 3: SameConv3d}  # type: ignore[dict-item]


class SqueezeExcite(nn.Module):
    """Scale each channel by what the whole map says about it (arXiv 1709.01507), with SiLU between the two layers.

    Args:
        channels: Channels of the map.
        squeezed: Channels between the two layers.
        dims: Sides of the map.
    """

    def __init__(self, channels: int, squeezed: int, dims: int = 2) -> None:
        super().__init__()
        self.sides = tuple(range(2, 2 + dims))
        self.reduce = CONV[dims](channels, squeezed, 1)
        self.act = nn.SiLU()
        self.expand = CONV[dims](squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *sides) -> (B, C, *sides)."""
        return x * self.scale(x.mean(self.sides, keepdim=True))

    def scale(self, mean: Tensor) -> Tensor:
        """What each channel is scaled by, from its mean over the map: (B, C, 1, ...) -> (B, C, 1, ...)."""
        return self.expand(self.act(self.reduce(mean))).sigmoid()


class Shortcut(nn.Module):
    """What MBConv adds its result to: average pooling where it strides, 1 x 1 where the channels change."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, dialect: Dialect = OFFICIAL, dims: int = 2
    ) -> None:
        super().__init__()
        self.stride = stride
        self.wide = dialect.shortcut_pool == "3x3"
        self.dims = dims
        projects = in_channels != channels or (stride == 2 and dialect.shortcut_projection == "stride")
        self.conv = CONV[dims](in_channels, channels, 1, bias=dialect.conv_bias) if projects else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, *sides) -> (B, C, *sides), divided by the stride and rounded up."""
        pool = AVERAGE_POOL[self.dims]
        if self.stride == 2 and self.wide:
            x = pool(x, 3, 2, padding=1)
        elif self.stride == 2:  # at an odd side the padding is left out of the mean
            # avg_pool3d, unlike avg_pool2d, takes no window that is larger than the map
            window = 2 if self.dims == 2 else [min(side, 2) for side in x.shape[2:]]
            x = pool(x, window, 2, ceil_mode=True, count_include_pad=False)
        return self.conv(x)


class MBConv(nn.Module):
    """Pre-norm inverted bottleneck (paper, Eq. 4 and 5; official model, "MBConv").

    Args:
        in_channels: C_in.
        channels: C. The hidden map has expansion * C channels, from the output and not from the input, unless the
            dialect says otherwise.
        stride: 1 or 2, at the depthwise convolution.
        expansion: See above.
        se_ratio: Squeezed channels over C; over C_in where the hidden map is counted from that.
        drop_path: Stochastic depth of the branch.
        dialect: Activation, norms, padding, biases, widths and shortcut.
        dims: Sides of the map: 2 of images, 1 of sequences (B, C, L), 3 of volumes and video (B, C, T, H, W).

    Raises:
        MaxViTError: If `dims` is not 1, 2 or 3; in a call, if the map has another number of sides.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        expansion: int = 4,
        se_ratio: float = 0.25,
        drop_path: float = 0.0,
        dialect: Dialect = OFFICIAL,
        dims: int = 2,
    ) -> None:
        super().__init__()
        if dims not in CONV:
            raise MaxViTError(f"dims is {dims}; choose 1, 2 or 3")
        self.dims = dims
        width = channels if dialect.widths_from == "output" else in_channels
        hidden = width * expansion
        self.pre_norm = batch_norm(in_channels, dialect, dims)
        self.expand = CONV[dims](in_channels, hidden, 1, bias=False)
        self.expand_norm = batch_norm(hidden, dialect, dims)
        self.depthwise = SAME_CONV[dims](hidden, hidden, stride, groups=hidden, bias=False, dialect=dialect)
        self.depthwise_norm = batch_norm(hidden, dialect, dims)
        self.act = conv_activation(dialect)
        self.se = SqueezeExcite(hidden, max(1, int(width * se_ratio)), dims)
        self.project = CONV[dims](hidden, channels, 1, bias=dialect.conv_bias)
        self.drop_path = DropPath(drop_path)
        self.shortcut = Shortcut(in_channels, channels, stride, dialect, dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, *sides) -> (B, C, *sides), divided by the stride and rounded up."""
        check_map(x, self.dims)
        y = self.act(self.expand_norm(self.expand(self.pre_norm(x))))
        y = self.act(self.depthwise_norm(self.depthwise(y)))
        return self.shortcut(x) + self.drop_path(self.project(self.se(y)))


torch.fx.wrap("check_map")  # it branches on sizes, which FX proxies cannot
