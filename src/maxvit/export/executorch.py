"""ExecuTorch's files: a graph for images of one size, lowered to XNNPACK, for phones."""

import dataclasses
import math
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from maxvit.errors import MaxViTError, require
from maxvit.export.fixed_size import fix_size
from maxvit.export.options import ExportOptions, description
from maxvit.export.torch_export import trace
from maxvit.kernels.folding import fold_for_inference
from maxvit.tasks.network import Network, backbone_of, with_backbone

TANH = 2 * math.sqrt(2 / math.pi)  # 1 + tanh(y) is 2 sigmoid(2 y)


def check_executorch(options: ExportOptions) -> None:
    """Raises `MaxViTError` where the package is missing, or ExecuTorch's files cannot be so."""
    require("export to ExecuTorch", "executorch.exir")
    if options.any_size:
        raise MaxViTError("ExecuTorch's files are for images of one size: leave any_size out")
    if options.precision != "fp32":
        raise MaxViTError(f"ExecuTorch's files are in fp32 here, and {options.precision} was asked for: leave it out")
    if options.opset is not None:
        raise MaxViTError("opset is of ONNX, and ExecuTorch's files have operators of their own: leave it out")


def write_executorch(network: Network, path: Path, options: ExportOptions) -> None:
    """Write a `.pte` file for as many images at once as `options` say, or one.

    What it says of itself are methods without inputs, each with a text: `class_names`, `preprocessing` and so on.

    Raises:
        MaxViTError: If the graph has operators of other libraries, as a detector's has.
    """
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    folded = with_backbone(network, fold_for_inference(backbone_of(network), share_weights=True))
    program = trace(folded, dataclasses.replace(options, batch=options.batch or 1), _for_phones)
    called = (node.target for node in program.graph.nodes)
    foreign = sorted({str(op) for op in called if isinstance(op, torch._ops.OpOverload) and op.namespace != "aten"})
    if foreign:
        raise MaxViTError(f"ExecuTorch has no {', '.join(foreign)}, which the graph needs: export it for ONNX Runtime")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say is for their programmers
        lowered = to_edge_transform_and_lower(
            program, partitioner=[XnnpackPartitioner()], constant_methods=description(network, options)
        )
        path.write_bytes(lowered.to_executorch().buffer)


def _for_phones(module: nn.Module, inputs: Tensor) -> nn.Module:
    """For the size of these inputs alone, without what XNNPACK would compute otherwise."""
    for name, part in list(fix_size(module, inputs).named_modules()):
        if type(part) is nn.GELU and part.approximate == "tanh":
            module.set_submodule(name, _TanhGELU())
    return module


class _TanhGELU(nn.Module):
    """GELU by the tanh formula, written out: XNNPACK computes the definition, whichever of them is asked for."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x * (TANH + TANH * 0.044715 * x * x))
