"""ONNX files: the deployed network for images of one size, and one graph for any size."""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from maxvit.config import Size
from maxvit.errors import MaxViTError
from maxvit.export.options import DTYPES, ExportOptions, description
from maxvit.export.torch_export import trace
from maxvit.model import MaxViT
from maxvit.storage import write_together

if TYPE_CHECKING:
    from onnx import ModelProto

LARGEST = 1_500_000_000  # bytes of weights inside the file; protobuf holds 2 GB
ANY_OPSET = 20  # of any size: the first that has Gelu with the tanh formula


def export_onnx(
    model: MaxViT, path: str | Path, image_size: Size | None = None, any_batch: bool = True, any_size: bool = False
) -> None:
    """Write the network as an ONNX file: `images` (B, C, H, W) float32 in, `logits` (B, classes) out.

    Class names, preprocessing, configuration and provenance travel in the file's metadata. Nothing is compared with
    the network: see `maxvit.export_model`, which does that and knows more forms.

    Args:
        model: It is left as it is.
        path: Where to; a file that is there is replaced in one step. Weights above 1.5 GB lie beside it, see
            `weights_beside`.
        image_size: (height, width) of the images; None: that of the network's preprocessing. What the file says of
            preprocessing follows. Of no matter with `any_size`.
        any_batch: The file takes any number of images; False: one.
        any_size: It takes any height and width from 33 up, see `export_program`; it is slower, and slow to make.

    Raises:
        MaxViTError: If a package is missing, the network is too large for one file, or the file cannot be written.
    """
    path = Path(path)
    form = ExportOptions(image_size=None if any_size else image_size, batch=None if any_batch else 1, any_size=any_size)
    check_packages()
    write_together(path, weights_beside(model, path, form), lambda temporary: write_onnx(model, temporary, form))


def check_packages() -> None:
    """Raises `MaxViTError` where a package that writes ONNX is missing."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MaxViTError(f"export to ONNX needs {error.name}: pip install 'maxvit[export]'") from error


def check_form(form: ExportOptions) -> None:
    """Raises `MaxViTError` where a package is missing, or the form is none of ONNX's files."""
    check_packages()
    if form.any_size and form.precision == "bf16":
        raise MaxViTError("PyTorch's exporter writes no ONNX for any size in bf16: choose fp16, or one size")


def weights_beside(model: MaxViT, path: Path, form: ExportOptions) -> Path | None:
    """The file of weights beside an ONNX file, PATH.data; None where they are part of it.

    Raises:
        MaxViTError: If they take more than one file holds and must be part of it, as for any size.
    """
    size = sum(t.numel() for t in model.state_dict().values()) * DTYPES[form.precision].itemsize
    if size <= LARGEST or form.precision == "int8":
        return None
    if form.any_size:
        raise MaxViTError(
            f"the weights take {size / 1e9:.1f} GB, and one ONNX file for any size holds 1.5: export for one size, in "
            "fp16, or for PyTorch"
        )
    return path.with_name(f"{path.name}.data")


def write_onnx(model: MaxViT, path: Path, form: ExportOptions) -> None:
    """Write the file, and its weights beside it where `weights_beside` says so; not for int8."""
    if form.any_size:
        path.write_bytes(_any_size(model, form).SerializeToString())
        return
    from maxvit.export.onnx_network import deployed

    if beside := weights_beside(model, path, form):
        with open(beside, "wb") as data:
            made = deployed(model, form, data=data)
    else:
        made = deployed(model, form)
    path.write_bytes(made.SerializeToString())


def check_onnx(path: Path) -> None:
    """Have ONNX's checker read the file, and infer all shapes strictly, with the values of shapes carried along.

    Raises:
        MaxViTError: If the file is not valid, which is a mistake of ours.
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


def _any_size(model: MaxViT, form: ExportOptions) -> "ModelProto":
    """What PyTorch makes of the program for any size."""
    from onnx import helper

    program = trace(model, form)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # what it says is for its programmers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            program,
            input_names=[form.input],
            output_names=[form.output],
            opset_version=ANY_OPSET,
            dynamo=True,
            verbose=False,
        )
    assert made is not None
    proto: ModelProto = made.model_proto
    helper.set_model_props(proto, description(model, form))
    return proto
