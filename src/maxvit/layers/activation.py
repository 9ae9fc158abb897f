"""The activations of a dialect."""

from torch import nn

from maxvit.config import Dialect


def gelu(dialect: Dialect) -> nn.GELU:
    """GELU, by the tanh formula or the definition."""
    return nn.GELU(approximate="tanh" if dialect.gelu == "tanh" else "none")


def conv_activation(dialect: Dialect) -> nn.GELU | nn.SiLU:
    """What follows the convolutions of the stem and of MBConv."""
    return nn.SiLU() if dialect.conv_activation == "silu" else gelu(dialect)
