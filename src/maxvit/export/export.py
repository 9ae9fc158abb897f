"""A network as a file for other programs: written, checked, compared with the network, and only then put in place."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

from maxvit.config import check_known
from maxvit.data.images import ImageLike
from maxvit.export import onnx
from maxvit.export.executorch import check_executorch, write_executorch
from maxvit.export.openvino import check_openvino, write_openvino
from maxvit.export.options import OPSETS, ExportOptions, description
from maxvit.export.quantize import Quantization, quantized
from maxvit.export.runtimes import in_onnxruntime, in_openvino
from maxvit.export.torch_export import check_program, write_program
from maxvit.export.verify import Verification, verify
from maxvit.layers.sharing import sharing_copy
from maxvit.model import MaxViT
from maxvit.storage import check_folder, write_atomically
from maxvit.tasks.network import Network, TaskNetwork

if TYPE_CHECKING:
    from onnx import ModelProto

Format = Literal["onnx", "torch", "openvino", "executorch"]
ENDINGS = {"onnx": ".onnx", "torch": ".pt2", "openvino": ".xml", "executorch": ".pte"}


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        path: The file to open.
        weights: Its second file, which holds them; None: it needs none.
        verification: How far what it gives is from what the network gives.
        quantization: For int8: what was quantised, and how many predictions are those of fp32.
        squeezes: Images must be squeezed to the file's size, where the network takes them in their own shape.
    """

    path: Path
    weights: Path | None
    verification: Verification
    quantization: Quantization | None
    squeezes: bool


def export_model(
    network: Network,
    path: str | Path,
    to: Format = "onnx",
    options: ExportOptions = ExportOptions(),  # noqa: B008
    images: Sequence[ImageLike] = (),
    agreement: float = 0.99,
) -> Exported:
    """Write a network of any task as a file for ONNX Runtime and TensorRT, PyTorch, OpenVINO or ExecuTorch.

    Task, class names, preprocessing, configuration and provenance travel in the file. It is run and compared with the
    network in PyTorch, and an ONNX file is checked, before it is put in place.

    Args:
        network: It is left as it is, and must not change meanwhile.
        path: Where to, ending in `.onnx`, `.pt2`, `.xml` or `.pte`. With OpenVINO there is a `.bin` file next to it,
            with ONNX and weights above 1.5 GB a `.onnx.data` file.
        to: "onnx", "torch" (`torch.export`), "openvino" or "executorch".
        options: What the file takes and gives, and how it computes.
        images: Real ones: the file is compared on four of them, and int8 needs a few hundred to calibrate.
        agreement: For int8: the share of predictions that must be those of fp32, see `quantized`.

    Raises:
        MaxViTError: If the options do not fit the network or the format, a package is missing, what the file gives is
            not what the network gives, or it cannot be written. What was there before is then untouched.
    """
    path = Path(path)
    check_known("format", [to], get_args(Format))
    if path.suffix != ENDINGS[to]:
        check_known("ending", [path.suffix], [ENDINGS[to]])
    check_folder(path.parent)
    if to == "torch":
        check_program(options)
    elif to == "openvino":
        check_openvino(options)
    elif to == "executorch":
        check_executorch(options)
    options.check(network)
    if to in ("onnx", "openvino"):
        onnx.check_options(network, options)
    if options.precision == "int8" and not isinstance(network, TaskNetwork) and network.novelty is not None:
        network = sharing_copy(network)  # distances in maps of 8 bits are others
        network.set_novelty(None)
    made: ModelProto | None = None
    result: Quantization | None = None
    if options.precision == "int8":
        standard = dataclasses.replace(options, opset=OPSETS[1]) if to == "openvino" else options
        open_graph = in_openvino if to == "openvino" else in_onnxruntime
        made, result = quantized(cast(MaxViT, network), standard, images, agreement, open_graph)
    checked: list[Verification] = []

    def write_graph(temporary: Path) -> None:
        if made is not None:
            temporary.write_bytes(made.SerializeToString())
        else:  # OpenVINO makes weights smaller itself
            precision = "fp32" if to == "openvino" else options.precision
            onnx.write_onnx(network, temporary, dataclasses.replace(options, precision=precision))

    def write(temporary: Path) -> None:
        if to == "torch":
            write_program(network, temporary, options)
        elif to == "openvino":
            write_openvino(temporary, options, description(network, options), write_graph)
        elif to == "executorch":
            write_executorch(network, temporary, options)
        else:
            write_graph(temporary)
            onnx.check_onnx(temporary)
        checked.append(verify(network, temporary, options, images))

    second = path.with_suffix(".bin") if to == "openvino" else None
    if to == "onnx":
        second = onnx.weights_file(network, path, options)
    write_atomically(path, write, second)
    return Exported(path, second, checked[0], result, options.squeezes(network))
