"""A network as a folder with one page, which runs it in the browser and asks no other host for anything."""

import base64
import dataclasses
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import maxvit
from maxvit.data.images import ImageLike
from maxvit.errors import MaxViTError
from maxvit.export import onnx
from maxvit.export.export import Exported, export_model
from maxvit.export.options import ExportOptions, description
from maxvit.export.web import runtime
from maxvit.storage import check_folder, write_bytes, write_text
from maxvit.tasks import task_for
from maxvit.tasks.classification.predictions import LIMIT
from maxvit.tasks.network import Network, backbone_of, has_own_head
from maxvit.tasks.segmentation.draw import palette

PAGE = Path(__file__).parent / "page"
STATIC = ("page.css", "views.js", "page.js")  # as they are; index.html comes last
OF_THE_WORKER = ("resample.js", "prepare.js", "compute.js")
SHOWN = ("logits", "shares", "values", "boxes")  # first outputs that views.js knows
PART = 24 * 2**20  # bytes of the network in one script


def export_web(
    network: Network,
    folder: str | Path,
    options: ExportOptions = ExportOptions(),  # noqa: B008
    images: Sequence[ImageLike] = (),
    agreement: float = 0.99,
    runtime_folder: Path | None = None,
    tell: Callable[[str], object] = print,
) -> Exported:
    """Write a folder with a page that runs the network in the browser, without a connection.

    The network is an ONNX file, compared with the network in PyTorch as by `export_model`. The page prepares pictures
    as prediction does. All is in scripts, so that the page also runs where it is opened as a file.

    Args:
        network: It is left as it is, and must not change meanwhile.
        folder: Files of a page that is there are replaced, others stay.
        options: As of an ONNX file; one picture is computed at a time.
        images: Real ones, see `export_model`.
        agreement: For int8, see `export_model`.
        runtime_folder: Where onnxruntime-web is; None: the cache, or npm downloads it.
        tell: Called with a sentence before npm downloads.

    Raises:
        MaxViTError: If the network's answers cannot be shown, the options do not fit, npm is missing or fails, or as
            `export_model` does. Nothing was written then.
    """
    folder = Path(folder)
    check_folder(folder)
    _check(network, folder, options)
    options = dataclasses.replace(options, batch=1)
    files = runtime.runtime_files(runtime_folder, tell)
    with tempfile.TemporaryDirectory() as temporary:
        done = export_model(network, Path(temporary) / "model.onnx", "onnx", options, images, agreement)
        graph = done.path.read_bytes()
    _write(folder, _about(network, options, len(graph)), graph, files)
    return dataclasses.replace(done, path=folder / "index.html")


def _check(network: Network, folder: Path, options: ExportOptions) -> None:
    """Refuse, by `MaxViTError`, what a page cannot do."""
    if options.from_pixels:
        raise MaxViTError("a page prepares pictures itself: leave pixels out")
    if options.batch is not None:
        raise MaxViTError("a page computes one picture at a time: leave batch out")
    if options.precision == "bf16":
        raise MaxViTError("ONNX Runtime Web does not compute in bf16: choose fp32, fp16 or int8")
    options.check(network)
    task, preprocessing = task_for(network), network.preprocessing
    graph = task.export_spec(network)
    if graph.of_pieces:
        raise MaxViTError(f"{task.name} slides windows over an image here, and a page computes it whole: use serve")
    if graph.outputs[0] not in SHOWN:
        raise MaxViTError(
            f"a page shows {', '.join(SHOWN[:-1])} or {SHOWN[-1]}, and {task.name} gives {graph.outputs[0]}: use serve"
        )
    if has_own_head(network) and not backbone_of(network).config.num_classes:
        raise MaxViTError("the network has no classifier, and a page shows classes: train one, or export another")
    if preprocessing.takes_bands or preprocessing.value_range is not None:
        raise MaxViTError(
            "the network is for images of other bands or of more than 8 bits, and browsers read photographs: use serve"
        )
    if onnx.weights_file(network, folder / "model.onnx", options):
        raise MaxViTError("the weights take more than the 1.5 GB of one file: export in fp16, or a smaller network")


def _about(network: Network, options: ExportOptions, size: int) -> dict[str, Any]:
    """What the page knows of the network."""
    said = description(network, options)
    return {
        **{key: json.loads(said[key]) for key in ("config", "preprocessing", "class_names")},
        "version": maxvit.__version__,
        "runtime": runtime.VERSION,
        "novelty_limit": LIMIT,
        "colours": palette()[: len(network.class_names or [])].tolist(),
        "bytes": size,
        "parts": [f"model-{i}.js" for i in range(-(-size // PART))],
    }


def _write(folder: Path, about: dict[str, Any], graph: bytes, files: dict[str, bytes]) -> None:
    """All files; the page itself comes last."""
    for old in folder.glob("model-*.js"):
        if old.name not in about["parts"]:
            old.unlink()
    for i, name in enumerate(about["parts"]):
        write_text(folder / name, f'part("{_text(graph[i * PART : (i + 1) * PART])}");\n')
    module = json.dumps(files[runtime.MODULE].decode())
    write_text(folder / "runtime.js", f'part({{ module: {module}, wasm: "{_text(files[runtime.WASM])}" }});\n')
    code = "\n".join((PAGE / name).read_text(encoding="utf-8") for name in OF_THE_WORKER)
    write_text(folder / "worker.js", f"const workerCode = {json.dumps(code)};\n")
    write_text(folder / "about.js", f"const about = {json.dumps(about)};\n")
    for name in (*STATIC, "index.html"):
        write_bytes(folder / name, (PAGE / name).read_bytes())


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
