"""ExecuTorch's files: a graph for images of one size, lowered to XNNPACK, for phones."""

import warnings
from pathlib import Path

import torch

from maxvit.errors import MaxViTError, require
from maxvit.export.fixed_size import program_of_size
from maxvit.export.options import ExportOptions, description
from maxvit.tasks.network import Network


def check_executorch(options: ExportOptions) -> None:
    """Raises `MaxViTError` where the package is missing, or ExecuTorch's files cannot be so."""
    if options.any_size:
        raise MaxViTError("ExecuTorch's files are for images of one size: leave any_size out")
    if options.precision != "fp32":
        raise MaxViTError(f"ExecuTorch's files are in fp32 here, and {options.precision} was asked for: leave it out")
    if options.opset is not None:
        raise MaxViTError("opset is of ONNX, and ExecuTorch's files have operators of their own: leave it out")
    require("export to ExecuTorch", "executorch.exir")


def write_executorch(network: Network, path: Path, options: ExportOptions) -> None:
    """Write a `.pte` file for as many images at once as `options` say, or one.

    What it says of itself are methods without inputs, each with a text: `class_names`, `preprocessing` and so on.

    Raises:
        MaxViTError: If the graph has operators of other libraries, as a detector's has.
    """
    program = program_of_size(network, options)
    called = (node.target for node in program.graph.nodes)
    foreign = sorted({str(op) for op in called if isinstance(op, torch._ops.OpOverload) and op.namespace != "aten"})
    if foreign:
        raise MaxViTError(f"ExecuTorch has no {', '.join(foreign)}, which the graph needs: export it for ONNX Runtime")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say is for their programmers
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        lowered = to_edge_transform_and_lower(
            program, partitioner=[XnnpackPartitioner()], constant_methods=description(network, options)
        )
        path.write_bytes(lowered.to_executorch().buffer)
