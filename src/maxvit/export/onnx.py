"""ONNX files: the deployed network for images of one size, and one graph for any size."""

import json
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from maxvit.config import Size
from maxvit.errors import MaxViTError
from maxvit.export.program import export_program
from maxvit.model import MaxViT
from maxvit.storage import write_atomically

if TYPE_CHECKING:
    from onnx import ModelProto

LARGEST = 1_500_000_000  # bytes; one file holds 2 GB
OPSET = 20  # of any size: the first that has Gelu with the tanh formula


def export_onnx(
    model: MaxViT, path: str | Path, image_size: Size | None = None, any_batch: bool = True, any_size: bool = False
) -> None:
    """Write the network as an ONNX file: `images` (B, C, H, W) float32 in, `logits` (B, classes) out.

    Class names, preprocessing, configuration and provenance travel in the file's metadata.

    Args:
        model: It is left as it is.
        path: Where to; a file that is there is replaced in one step.
        image_size: (height, width) of the images; None: that of the network's preprocessing. What the file says of
            preprocessing follows. Of no matter with `any_size`.
        any_batch: The file takes any number of images; False: one.
        any_size: It takes any height and width from 33 up, see `export_program`; it is slower, and slow to make.

    Raises:
        MaxViTError: If a package is missing, the network is too large for one file, or the file cannot be written.
    """
    check_packages()
    size = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    if size > LARGEST:
        raise MaxViTError(f"the weights take {size / 1e9:.1f} GB, and one ONNX file holds 1.5: use export_program")
    if any_size:
        made = _any_size(model, any_batch)
    else:
        from maxvit.export.deployed import deployed

        made = deployed(model, image_size or model.preprocessing.image_size, "batch" if any_batch else 1)
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(made.SerializeToString()))


def check_packages() -> None:
    """Raises `MaxViTError` where a package that writes ONNX is missing."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MaxViTError(f"export to ONNX needs {error.name}: pip install 'maxvit[export]'") from error


def _any_size(model: MaxViT, any_batch: bool) -> "ModelProto":
    """What PyTorch makes of the program for any size."""
    from onnx import helper

    program = export_program(model, None, any_batch, any_size=True)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # what it says is for its programmers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            program, input_names=["images"], output_names=["logits"], opset_version=OPSET, dynamo=True, verbose=False
        )
    assert made is not None
    proto: ModelProto = made.model_proto
    helper.set_model_props(proto, {key: json.dumps(value) for key, value in model.metadata().items()})
    return proto
