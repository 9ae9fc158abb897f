"""Mends Triton 3.8's interpreter: it cuts bfloat16 off where a GPU rounds, multiplies matrices of its bits, and takes
matrices of two types, which the compiler refuses; and teaches it the one instruction of a GPU that kernels name."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle


def mend() -> None:
    InterpreterBuilder.create_dot = _dot
    InterpreterBuilder.create_inline_asm = _tanh
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


def _tanh(self: Any, asm: str, constraints: str, values: Any, *_: Any) -> Any:
    """tanh.approx.f32 at its worst: off by 2^-11 of the result, up and down by turns."""
    assert asm == "tanh.approx.f32 $0, $1;"
    exact = np.tanh(values[0].data)
    up = np.arange(exact.size).reshape(exact.shape) % 2 * 2.0 - 1.0
    off = (exact * (1 + up * 2.0**-11)).clip(-1, 1).astype(np.float32)
    return SimpleNamespace(get_result=lambda _: TensorHandle(off, tl.float32))


def _widened(matrix: Any) -> np.ndarray:
    if matrix.dtype.scalar == tl.bfloat16:
        return torch.from_numpy(np.ascontiguousarray(matrix.data)).view(torch.bfloat16).float().numpy()
    return matrix.data
