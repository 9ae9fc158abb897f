"""Checkpoints as ONNX files, exported once and kept."""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from maxvit import export
from maxvit.checkpoints.sources import locate
from maxvit.errors import MaxViTError
from maxvit.export.export import export_model
from maxvit.export.options import ExportOptions, description
from maxvit.hub.download import sha256
from maxvit.storage import cache_folder, weight_files
from maxvit.tasks import load, task_for
from maxvit.tasks.network import Network


def exported(checkpoint: str | Path, tell: Callable[[str], object], settings: Mapping[str, Any] | None = None) -> Path:
    """The checkpoint as an ONNX file, for its own image size: from the cache, or exported now.

    A file is named after the checkpoint's contents, its description and the code that exports, so that it cannot be out
    of date.

    Args:
        checkpoint: What `load` reads.
        tell: Called with a sentence where the export is made, and where images are squeezed to the file's size.
        settings: Settings of the task, to be used in place of the checkpoint's.

    Raises:
        MaxViTError: If it cannot be read or exported.
    """
    network, options = load(checkpoint, settings), ExportOptions()
    file, *more = weight_files(locate(checkpoint).path)
    if more or not file.is_file():
        raise MaxViTError(f"{checkpoint} is several files: maxvit convert makes one of them, for --engine onnxruntime")
    options.check(network)
    path = cache_folder() / f"{sha256(file)}-{_exporter(network, options)}.onnx"
    if not path.exists():
        tell(f"exporting {checkpoint} to {path}: some seconds, once")
        export_model(network, path, options=options)
    if options.squeezes(network):
        height, width = options.size(network)
        tell(f"images are squeezed to {height} x {width}, and keep their shapes with --engine torch")
    return path


def _exporter(network: Network, options: ExportOptions) -> str:
    """What tells the description and the code that exports, the task's included, from others."""
    module = Path(inspect.getfile(type(task_for(network))))
    own = module.parent.rglob("*.py") if module.name == "__init__.py" else [module]
    code = [file.read_bytes() for file in sorted([*Path(export.__path__[0]).glob("*.py"), *own])]
    return hashlib.sha256(b"".join(code) + repr(description(network, options)).encode()).hexdigest()[:8]
