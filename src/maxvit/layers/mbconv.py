"""MBConv with squeeze-and-excitation, the convolution of every MaxViT block, on NCHW tensors of any size."""

import torch.nn.functional as F
from torch import Tensor, nn

from maxvit.config import OFFICIAL, Dialect
from maxvit.layers.activation import conv_activation
from maxvit.layers.drop_path import DropPath


def batch_norm(channels: int, dialect: Dialect = OFFICIAL) -> nn.BatchNorm2d:
    """Batch norm with a dialect's constants."""
    return nn.BatchNorm2d(channels, eps=dialect.batch_norm_eps, momentum=dialect.batch_norm_momentum)


class SameConv2d(nn.Conv2d):
    """3 x 3 convolution with TensorFlow's 'same' padding: at stride 2 an even side is padded at its end only.

    Where the dialect's padding is "symmetric", it is PyTorch's own padding of 1, at odd sides the same.

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
        super().__init__(in_channels, out_channels, 3, stride, padding, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, ceil(H / stride), ceil(W / stride))."""
        if self.padding[0] == 0:
            x = F.pad(x, (x.shape[3] % 2, 1, x.shape[2] % 2, 1))
        return super().forward(x)


class SqueezeExcite(nn.Module):
    """Scale each channel by what the whole map says about it (arXiv 1709.01507), with SiLU between the two layers.

    Args:
        channels: Channels of the map.
        squeezed: Channels between the two layers.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.act = nn.SiLU()
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x * self.scale(x.mean((2, 3), keepdim=True))

    def scale(self, mean: Tensor) -> Tensor:
        """What each channel is scaled by, from its mean over the map: (B, C, 1, 1) -> (B, C, 1, 1)."""
        return self.expand(self.act(self.reduce(mean))).sigmoid()


class Shortcut(nn.Module):
    """What MBConv adds its result to: average pooling where it strides, 1 x 1 where the channels change."""

    def __init__(self, in_channels: int, channels: int, stride: int, dialect: Dialect = OFFICIAL) -> None:
        super().__init__()
        self.stride = stride
        self.wide = dialect.shortcut_pool == "3x3"
        projects = in_channels != channels or (stride == 2 and dialect.shortcut_projection == "stride")
        self.conv = nn.Conv2d(in_channels, channels, 1, bias=dialect.conv_bias) if projects else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, ceil(H / stride), ceil(W / stride))."""
        if self.stride == 2 and self.wide:
            x = F.avg_pool2d(x, 3, 2, padding=1)
        elif self.stride == 2:  # at an odd side the padding is left out of the mean
            x = F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False)
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
    ) -> None:
        super().__init__()
        width = channels if dialect.widths_from == "output" else in_channels
        hidden = width * expansion
        self.pre_norm = batch_norm(in_channels, dialect)
        self.expand = nn.Conv2d(in_channels, hidden, 1, bias=False)
        self.expand_norm = batch_norm(hidden, dialect)
        self.depthwise = SameConv2d(hidden, hidden, stride, groups=hidden, bias=False, dialect=dialect)
        self.depthwise_norm = batch_norm(hidden, dialect)
        self.act = conv_activation(dialect)
        self.se = SqueezeExcite(hidden, max(1, int(width * se_ratio)))
        self.project = nn.Conv2d(hidden, channels, 1, bias=dialect.conv_bias)
        self.drop_path = DropPath(drop_path)
        self.shortcut = Shortcut(in_channels, channels, stride, dialect)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, ceil(H / stride), ceil(W / stride))."""
        y = self.act(self.expand_norm(self.expand(self.pre_norm(x))))
        y = self.act(self.depthwise_norm(self.depthwise(y)))
        return self.shortcut(x) + self.drop_path(self.project(self.se(y)))
