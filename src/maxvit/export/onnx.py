"""ONNX files: the deployed MaxViT for images of one size; other graphs, and those for any size, are traced."""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from maxvit.errors import MaxViTError, require
from maxvit.export.options import DTYPES, ExportOptions, description
from maxvit.export.torch_export import trace
from maxvit.model import MaxViT
from maxvit.tasks import task_for
from maxvit.tasks.network import Network

if TYPE_CHECKING:
    from onnx import ModelProto

LARGEST = 1_500_000_000  # bytes of weights inside the file; protobuf holds 2 GB
TRACED_OPSET = 20  # the first that has Gelu with the tanh formula


def check_packages() -> None:
    """Raises `MaxViTError` where a package that writes ONNX is missing."""
    require("export to ONNX", "onnx", "onnxscript")


def check_options(network: Network, options: ExportOptions) -> None:
    """Raises `MaxViTError` where a package is missing, or ONNX's files cannot be so."""
    check_packages()
    if options.is_traced(network) and options.precision == "bf16":
        whose = "for any size" if options.any_size else "of a task's head"
        raise MaxViTError(f"PyTorch's exporter writes no ONNX {whose} in bf16: choose fp16, or another format")


def weights_file(network: Network, path: Path, options: ExportOptions) -> Path | None:
    """The file of weights next to an ONNX file, PATH.data; None where they are part of it.

    Raises:
        MaxViTError: If they take more than one file holds and must be part of it, as where the graph is traced.
    """
    size = sum(t.numel() for t in network.state_dict().values()) * DTYPES[options.precision].itemsize
    if size <= LARGEST or options.precision == "int8":
        return None
    if options.is_traced(network):
        raise MaxViTError(
            f"the weights take {size / 1e9:.1f} GB, and one ONNX file that PyTorch's exporter writes holds 1.5: export "
            "in fp16, or for PyTorch; without any_size a classifier's may be larger"
        )
    return path.with_name(f"{path.name}.data")


def write_onnx(network: Network, path: Path, options: ExportOptions) -> None:
    """Write the file, and its weights next to it where `weights_file` says so; not for int8. Nothing is compared."""
    if options.is_traced(network):
        path.write_bytes(_traced(network, options).SerializeToString())
        return
    from maxvit.export.onnx_network import deployed

    if data_file := weights_file(network, path, options):
        with open(data_file, "wb") as data:
            made = deployed(cast(MaxViT, network), options, data=data)
    else:
        made = deployed(cast(MaxViT, network), options)
    path.write_bytes(made.SerializeToString())


def check_onnx(path: Path) -> None:
    """Have ONNX's checker read the file, and infer all shapes strictly, with the values of shapes carried along.

    Raises:
        MaxViTError: If the file is not valid, which is a bug in maxvit.
    """
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
        graph = onnx.load(path, load_external_data=False)
        for tensor in graph.graph.initializer:  # shapes are all that is looked at here
            if len(tensor.raw_data) > 1024 and tensor.data_type != onnx.TensorProto.INT64:
                tensor.ClearField("raw_data")
                tensor.data_location = onnx.TensorProto.EXTERNAL
                tensor.external_data.add(key="location", value="left-out")
        onnx.shape_inference.infer_shapes(graph, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise MaxViTError(f"the ONNX file is not valid ({str(error).splitlines()[0]}): please report this") from error


def _traced(network: Network, options: ExportOptions) -> "ModelProto":
    """What PyTorch makes of the program."""
    from onnx import helper

    program = trace(network, options)
    for name in ("torch.onnx", "onnx_ir._convenience"):
        logging.getLogger(name).setLevel(logging.ERROR)  # what they say is for their programmers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            program,
            input_names=[options.input],
            output_names=list(task_for(network).export_spec(network, options.from_pixels).outputs),
            opset_version=TRACED_OPSET,
            dynamo=True,
            verbose=False,
        )
    assert made is not None
    proto: ModelProto = made.model_proto  # a new one whenever it is asked for
    helper.set_model_props(proto, description(network, options))
    return proto
