"""`maxvit.optimize`."""

from typing import Literal

import torch

from maxvit.kernels.folding import fold_batch_norms
from maxvit.model import MaxViT


def optimize(
    model: MaxViT, *, backend: str = "auto", precision: Literal["fp32", "int8"] = "fp32", compile: bool = False
) -> MaxViT:
    from maxvit.kernels.native import NativeBlock, NativeStem

    fast = fold_batch_norms(model)
    if backend != "torch":
        with torch.no_grad():
            fast.stem = NativeStem(fast.stem)
            for stage in fast.stages:
                for i, block in enumerate(stage):
                    stage[i] = NativeBlock(block)
    if compile:
        fast.compile()
    return fast
