"""Checkpoints as ONNX files, exported once and kept."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from maxvit import export
from maxvit.create import load_model
from maxvit.errors import MaxViTError
from maxvit.export.onnx import export_onnx
from maxvit.hub.download import sha256
from maxvit.kernels.cpu.build import cache_folder
from maxvit.storage import weight_files


def exported(checkpoint: Path, tell: Callable[[str], object]) -> Path:
    """The checkpoint as an ONNX file, for its own image size: from the cache, or exported now.

    A file is named after the checkpoint's contents and the code that exports, so that it cannot be out of date.

    Args:
        checkpoint: What `load_model` reads.
        tell: Called with a sentence where the export is made.

    Raises:
        MaxViTError: If it cannot be read or exported, or its images have no common size.
    """
    model = load_model(checkpoint)
    file, *more = weight_files(checkpoint)
    if more or not file.is_file():
        raise MaxViTError(f"{checkpoint} is several files: maxvit convert makes one of them, for --engine onnxruntime")
    if model.preprocessing.fit == "aspect":
        raise MaxViTError(f"images of {checkpoint} keep their shapes, and an ONNX file takes one: use --engine torch")
    path = cache_folder() / f"{sha256(file)}-{_exporter()}.onnx"
    if not path.exists():
        tell(f"exporting {checkpoint} to {path}: some seconds, once")
        export_onnx(model, path)
    return path


def _exporter() -> str:
    """Of the code that exports, what tells it from other versions of it."""
    folder = Path(export.__path__[0])
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(folder.glob("*.py")))).hexdigest()[:8]
