"""GELU and its slope inside kernels, in float32, by either formula (`maxvit.config.Dialect.gelu`)."""

import triton
import triton.language as tl
from torch import nn


def is_erf(act: nn.Module) -> bool:
    """Whether a layer wants the erf formula of GELU: the kernels' constant ERF."""
    assert isinstance(act, nn.GELU)
    return act.approximate == "none"


def formula(act: nn.Module) -> str:
    """By which formula a layer computes GELU: "tanh" or "erf"."""
    return "erf" if is_erf(act) else "tanh"


@triton.jit
def gelu(x, ERF: tl.constexpr):
    """x times its share that passes."""
    return x * passing(x, ERF)


@triton.jit
def gelu_slope(x, ERF: tl.constexpr):
    """The derivative of `gelu`."""
    share = passing(x, ERF)
    if ERF:
        return share + x * 0.3989422804014327 * tl.exp(-0.5 * x * x)
    return share + x * share * (1.0 - share) * 1.5957691216057308 * (1.0 + 0.134145 * x * x)


@triton.jit
def passing(x, ERF: tl.constexpr):
    """The share of x that passes: the tanh formula's (1 + tanh(u)) / 2 is sigmoid(2u), which needs no tanh."""
    if ERF:
        return 0.5 * (1.0 + tl.erf(x * 0.7071067811865476))
    return tl.sigmoid(1.5957691216057308 * x * (1.0 + 0.044715 * x * x))
