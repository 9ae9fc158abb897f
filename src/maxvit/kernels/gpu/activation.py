"""GELU and its slope inside kernels, in float32, by either formula (`maxvit.config.Dialect.gelu`)."""

import triton
import triton.language as tl
from torch import Tensor, nn

from maxvit.kernels.gpu.support import interpreted


def is_erf(act: nn.Module) -> bool:
    """Whether a layer wants the erf formula of GELU."""
    assert isinstance(act, nn.GELU)
    return act.approximate == "none"


def formula(act: nn.Module) -> str:
    """By which formula a layer computes GELU: "tanh" or "erf"."""
    return named(is_erf(act))


def named(erf: bool) -> str:
    """The name of a formula."""
    return "erf" if erf else "tanh"


def constant(x: Tensor, act: str) -> str:
    """The kernels' constant for a formula, "tanh" or "erf"; anything else stays as it is.

    In 16-bit types GELU takes the one instruction that a GPU has for tanh: 6 in all instead of 16. Its error of
    2^-11 costs no more than rounding to float16. Slopes take those for exponentials and reciprocals, 7 instead of 16.
    Triton's interpreter does not know them.
    """
    return "approximate" if act == "tanh" and x.element_size() == 2 and not interpreted() else act


@triton.jit
def gelu(x, FORMULA: tl.constexpr):
    """x times its share that passes; FORMULA is what `constant` gives."""
    if FORMULA == "approximate":
        half = 0.5 * x
        return half * approximate_tanh(_inner(x)) + half
    return x * passing(x, FORMULA)


@triton.jit
def twice_gelu(x, FORMULA: tl.constexpr):
    """2 gelu(x), an instruction less: for what is multiplied afterwards anyway. Doubling rounds nothing."""
    if FORMULA == "approximate":
        return x * approximate_tanh(_inner(x)) + x
    return 2.0 * gelu(x, FORMULA)


@triton.jit
def gelu_slope(x, FORMULA: tl.constexpr):
    """The derivative of `gelu`. It multiplies errors by the cube of x, so the share that passes is not by that tanh."""
    return gelu_and_slope(x, FORMULA)[1]


@triton.jit
def gelu_and_slope(x, FORMULA: tl.constexpr):
    """GELU and its derivative, for little more than the second."""
    share = passing(x, FORMULA)
    if FORMULA == "erf":
        return x * share, share + x * 0.3989422804014327 * tl.exp(-0.5 * x * x)
    return x * share, share + x * share * (1.0 - share) * 1.5957691216057308 * (1.0 + 0.134145 * x * x)


@triton.jit
def passing(x, FORMULA: tl.constexpr):
    """The share of x that passes: the tanh formula's (1 + tanh(u)) / 2 is sigmoid(2u), which needs no tanh."""
    if FORMULA == "erf":
        return 0.5 * (1.0 + tl.erf(x * 0.7071067811865476))
    if FORMULA == "approximate":
        return approximate_sigmoid(2.0 * _inner(x))
    return tl.sigmoid(2.0 * _inner(x))


@triton.jit
def _inner(x):
    """The number that the tanh formula takes the tanh of."""
    return x * (0.7978845608028654 + 0.035677408136300125 * x * x)


@triton.jit
def approximate_tanh(x):
    """The GPU's own instruction (PTX ISA, `tanh`): off by 2^-11 at most."""
    return tl.inline_asm_elementwise("tanh.approx.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1)


@triton.jit
def approximate_sigmoid(x):
    """By the GPU's own exponential and reciprocal (PTX ISA, `ex2`, `rcp`): off by two units in the last place."""
    e = tl.inline_asm_elementwise(
        "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x * -1.4426950408889634], dtype=tl.float32, is_pure=True, pack=1
    )
    return tl.inline_asm_elementwise(
        "rcp.approx.ftz.f32 $0, $1;", "=f,f", [1.0 + e], dtype=tl.float32, is_pure=True, pack=1
    )
