"""Mends Triton 3.8's interpreter: it cuts bfloat16 off where a GPU rounds, multiplies matrices of its bits, and takes
matrices of two types, which the compiler refuses; and teaches it the instructions of a GPU that kernels name."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle


def mend() -> None:
    InterpreterBuilder.create_dot = _dot
    InterpreterBuilder.create_inline_asm = _instruction
    plain = InterpreterBuilder.cast_impl

    def cast(self: Any, source: Any, to: Any) -> Any:
        if (source.dtype.scalar, to.scalar) != (tl.float32, tl.bfloat16):
            return plain(self, source, to)
        rounded = torch.from_numpy(np.ascontiguousarray(source.data)).bfloat16().view(torch.uint16)
        return TensorHandle(rounded.numpy(), to.scalar)

    InterpreterBuilder.cast_impl = cast
    InterpreterBuilder.create_fp_trunc = cast


def _dot(self: Any, a: Any, b: Any, sums: Any, precision: Any, imprecise: Any) -> Any:
    assert a.dtype.scalar == b.dtype.scalar
    product = np.matmul(_widened(a), _widened(b), dtype=sums.data.dtype)
    return TensorHandle(product + sums.data, sums.dtype.scalar)


EXACT = {
    "tanh.approx.f32": np.tanh,
    "ex2.approx.ftz.f32": np.exp2,
    "rcp.approx.ftz.f32": np.reciprocal,
}
ERRORS = {"tanh.approx.f32": 2.0**-11}  # of the result, at the worst; others: of two units in the last place


def _instruction(self: Any, asm: str, constraints: str, values: Any, *_: Any) -> Any:
    """One at its worst: off up and down by turns."""
    name = asm.removesuffix(" $0, $1;")
    exact = EXACT[name](values[0].data)
    up = np.arange(exact.size).reshape(exact.shape) % 2 * 2.0 - 1.0
    off = exact * (1 + up * ERRORS.get(name, 2.0**-22))
    off = (off.clip(-1, 1) if name.startswith("tanh") else off).astype(np.float32)
    return SimpleNamespace(get_result=lambda _: TensorHandle(off, tl.float32))


def _widened(matrix: Any) -> np.ndarray:
    if matrix.dtype.scalar == tl.bfloat16:
        return torch.from_numpy(np.ascontiguousarray(matrix.data)).view(torch.bfloat16).float().numpy()
    return matrix.data
