"""A network as a file for other programs: written, checked, compared with the network, and only then put in place."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from maxvit.config import check_known
from maxvit.data.images import ImageLike
from maxvit.export import onnx
from maxvit.export.openvino import check_openvino, write_openvino
from maxvit.export.options import OPSETS, ExportOptions, description
from maxvit.export.quantize import Quantization, quantized
from maxvit.export.runtimes import in_onnxruntime, in_openvino
from maxvit.export.torch_export import check_program, write_program
from maxvit.export.verify import Verification, verify
from maxvit.model import MaxViT
from maxvit.storage import check_folder, write_together

if TYPE_CHECKING:
    from onnx import ModelProto

Format = Literal["onnx", "torch", "openvino"]
ENDINGS = {"onnx": ".onnx", "torch": ".pt2", "openvino": ".xml"}


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        path: The file to open.
        beside: Its second file, with the weights; None: it needs none.
        verification: How far its answers are from the network's.
        quantization: Of int8: what was quantised, and how many answers are those of fp32.
    """

    path: Path
    beside: Path | None
    verification: Verification
    quantization: Quantization | None


def export_model(
    model: MaxViT,
    path: str | Path,
    to: Format = "onnx",
    form: ExportOptions = ExportOptions(),  # noqa: B008
    images: Sequence[ImageLike] = (),
    agreement: float = 0.99,
) -> Exported:
    """Write a network as a file for ONNX Runtime and TensorRT, for `torch.export.load`, or for OpenVINO.

    Class names, preprocessing, configuration and provenance travel in the file. It is run and compared with the network
    in PyTorch, and an ONNX file is checked, before it is put in place.

    Args:
        model: It is left as it is, and must not change meanwhile.
        path: Where to, ending in `.onnx`, `.pt2` or `.xml`. With OpenVINO a `.bin` file lies beside it, with ONNX and
            weights above 1.5 GB a `.onnx.data` file.
        to: "onnx", "torch" or "openvino".
        form: What the file takes and gives, and how it computes.
        images: Real ones: the file is compared on four of them, and int8 needs a few hundred to calibrate.
        agreement: Of int8: the share of answers that must be those of fp32, see `quantize_onnx`.

    Raises:
        MaxViTError: If the form does not fit the network or the format, a package is missing, the file answers
            otherwise than the network, or cannot be written. What was there before is then untouched.
    """
    path = Path(path)
    check_known("format", [to], get_args(Format))
    if path.suffix != ENDINGS[to]:
        check_known("ending", [path.suffix], [ENDINGS[to]])
    check_folder(path.parent)
    form.check(model)
    {
        "onnx": lambda: onnx.check_form(form),
        "torch": lambda: check_program(form),
        "openvino": lambda: check_openvino(form),
    }[to]()
    made: ModelProto | None = None
    result: Quantization | None = None
    if form.precision == "int8":
        standard = dataclasses.replace(form, opset=OPSETS[1]) if to == "openvino" else form
        open_graph = in_openvino if to == "openvino" else in_onnxruntime
        made, result = quantized(model, standard, images, agreement, open_graph)
    checked: list[Verification] = []

    def write_graph(temporary: Path) -> None:
        if made is None:
            onnx.write_onnx(model, temporary, dataclasses.replace(form, precision="fp32") if to == "openvino" else form)
        else:
            temporary.write_bytes(made.SerializeToString())

    def write(temporary: Path) -> None:
        if to == "onnx":
            write_graph(temporary)
            onnx.check_onnx(temporary)
        elif to == "torch":
            write_program(model, temporary, form)
        else:
            write_openvino(temporary, form, description(model, form), write_graph)
        checked.append(verify(model, temporary, form, images))

    if to == "openvino":
        beside: Path | None = path.with_suffix(".bin")
    else:
        beside = onnx.weights_beside(model, path, form) if to == "onnx" else None
    write_together(path, beside, write)
    return Exported(path, beside, checked[0], result)
