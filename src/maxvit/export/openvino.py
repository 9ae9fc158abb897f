"""OpenVINO's files: the deployed network, `.xml` for the graph and `.bin` for the weights."""

from collections.abc import Callable
from pathlib import Path

from maxvit.errors import MaxViTError, require
from maxvit.export.options import ExportOptions

SECTION = "maxvit"  # of the file's rt_info, where its metadata are


def check_openvino(options: ExportOptions) -> None:
    """Raises `MaxViTError` where the package is missing, or OpenVINO's files cannot be so."""
    require("export to OpenVINO", "openvino")
    if options.precision == "bf16":
        raise MaxViTError("OpenVINO chooses bf16 when it runs (INFERENCE_PRECISION_HINT): export in fp32 or fp16")
    if options.opset is not None:
        raise MaxViTError("opset is of ONNX, and OpenVINO's files have operators of their own: leave it out")


def write_openvino(
    path: Path, options: ExportOptions, metadata: dict[str, str], write_graph: Callable[[Path], object]
) -> None:
    """Write a `.xml` file, and a `.bin` file next to it.

    Args:
        path: Path of the `.xml` file, in a folder for what is temporary.
        options: What goes in and comes out. "fp16": weights take 2 bytes; what is computed in fp16 the device decides.
        metadata: Texts that the file says of itself.
        write_graph: Called with the path of an ONNX file to write, which is read and left there.
    """
    import openvino

    graph = path.with_name("graph.onnx")
    write_graph(graph)
    model = openvino.Core().read_model(graph)
    for key, text in metadata.items():
        model.set_rt_info(text, [SECTION, key])
    openvino.save_model(model, path, compress_to_fp16=options.precision == "fp16")
