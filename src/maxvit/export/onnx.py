"""ONNX, from the program that `torch.export` makes."""

import logging
import warnings
from pathlib import Path

import torch

from maxvit.config import Size
from maxvit.errors import MaxViTError
from maxvit.export.program import export_program
from maxvit.model import MaxViT
from maxvit.storage import write_atomically

LARGEST = 1_500_000_000  # bytes; beyond, PyTorch writes a second file
OPSET = 20  # the first that has Gelu with the tanh formula


def export_onnx(
    model: MaxViT, path: str | Path, image_size: Size | None = None, any_batch: bool = True, any_size: bool = False
) -> None:
    """Write the network as an ONNX file: `images` (B, C, H, W) float32 in, `logits` (B, classes) out.

    Args:
        model: It is left as it is.
        path: Where to; a file that is there is replaced in one step.
        image_size: As in `export_program`.
        any_batch: As in `export_program`.
        any_size: As in `export_program`.

    Raises:
        MaxViTError: If the packages onnx and onnxscript are missing, the network is too large for one file, or the file
            cannot be written.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MaxViTError(f"export to ONNX needs {error.name}: pip install 'maxvit[export]'") from error
    size = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    if size > LARGEST:
        raise MaxViTError(f"the weights take {size / 1e9:.1f} GB, and one ONNX file holds 1.5: use export_program")
    program = export_program(model, image_size, any_batch, any_size)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # what it says is for its programmers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            program, input_names=["images"], output_names=["logits"], opset_version=OPSET, dynamo=True, verbose=False
        )
    assert made is not None
    write_atomically(Path(path), lambda temporary: made.save(temporary))
