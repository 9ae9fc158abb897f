"""maxvit export: a checkpoint for ONNX Runtime, TensorRT, OpenVINO, PyTorch, phones (ExecuTorch), or a browser."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from maxvit.cli.console import read_size
from maxvit.cli.errors import complain
from maxvit.cli.options import Checkpoint
from maxvit.cli.task_options import Settings, TaskName, check_task, read_settings

if TYPE_CHECKING:
    from maxvit.checkpoints.sources import Source
    from maxvit.data.images import ImageLike
    from maxvit.export.export import Exported
    from maxvit.tasks.network import Network

WEB = "web"  # of all formats the one that is a folder
MOST = 512  # images to calibrate and to compare on


def export(
    checkpoint: Checkpoint,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File or folder to write. Default: the checkpoint's name with .onnx, .pt2, .xml, .pte or -web."
        ),
    ] = None,
    to: Annotated[
        str, typer.Option(help="The format: onnx, torch (torch.export), openvino, executorch (phones) or web (a page).")
    ] = "onnx",
    precision: Annotated[str, typer.Option(help="fp32, fp16, bf16 or int8 (classifiers).")] = "fp32",
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Real images to compare on; for int8 some hundred, to calibrate (digits need none)."
        ),
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="H|HxW", help="Pixels of the images. Default: the checkpoint's.")
    ] = None,
    scale_windows: Annotated[
        bool, typer.Option("--scale-windows", help="Windows of ceil(side / 32) at --size.")
    ] = False,
    any_size: Annotated[
        bool, typer.Option("--any-size", help="Any size from 33 pixels up (classifiers): slower, and minutes to make.")
    ] = False,
    batch: Annotated[int | None, typer.Option(min=1, help="Images at once. Default: any; detectors: 1.")] = None,
    pixels: Annotated[
        bool, typer.Option("--pixels", help="Pixels in (B, H, W, 3) uint8; a classifier gives probabilities.")
    ] = False,
    opset: Annotated[
        int | None, typer.Option(help="ONNX operators of this set, 17 to 23, as TensorRT takes them (classifiers).")
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="For web: where onnxruntime-web is. Default: npm downloads it once."),
    ] = None,
    task: TaskName = None,
    settings: Settings = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Write a network as a file for other programs, compared with PyTorch before it is put in place.

    The file brings task, classes and preprocessing, and is run by maxvit predict FILE IMAGE. --to web writes a folder
    with a page that runs the network in the browser, offline.
    """
    from maxvit.checkpoints.sources import locate
    from maxvit.config import check_known
    from maxvit.errors import MaxViTError
    from maxvit.export.export import ENDINGS, Format, export_model
    from maxvit.export.options import ExportOptions, Precision
    from maxvit.export.web.folder import export_web
    from maxvit.tasks import load, make_task, task_for
    from maxvit.tasks.network import backbone_of

    check_known("format", [to], [*ENDINGS, WEB])
    if runtime is not None and to != WEB:
        raise MaxViTError("--runtime is for --to web, which was not given: add it, or leave --runtime out")
    if scale_windows and size is None:
        raise MaxViTError("--scale-windows is for --size, which was not given: add it, or leave --scale-windows out")
    options = ExportOptions(
        image_size=read_size(size) if size else None,
        batch=batch,
        any_size=any_size,
        precision=cast("Precision", precision),
        from_pixels=pixels,
        opset=opset,
    )
    source = locate(checkpoint)
    path = out or _default_path(source, to)
    for target in (path, path.with_suffix(".bin")) if to == "openvino" else (path,):
        if target.exists() and source.path.exists() and target.samefile(source.path):
            raise MaxViTError(f"{target} is the checkpoint, and would be written over: choose another name with --out")
        if target.exists() and not force:
            raise MaxViTError(f"{target} exists already: choose another name with --out, or replace it with --force")
    values = read_settings(task, settings)
    network = load(checkpoint, values)
    found = task_for(network)
    check_task(found, task, checkpoint)
    if make_task({**found.settings.model_dump(), **values}, imports=False).settings != found.settings:
        raise MaxViTError(
            f"{', '.join(values)} is not part of an exported file: give --set to the command that runs it"
        )
    if scale_windows and options.image_size:
        backbone_of(network).set_image_size(options.image_size)
    chosen = _images(network, checkpoint, images, options.precision == "int8")
    if to == WEB:
        done = export_web(network, path, options, chosen, runtime_folder=runtime, tell=complain)
    else:
        done = export_model(network, path, cast("Format", to), options, chosen)
    if as_json:
        typer.echo(json.dumps(_as_dict(done)))
    else:
        _print(done)


def _default_path(source: "Source", to: str) -> Path:
    """Where to write, where nothing is said."""
    from maxvit.export.export import ENDINGS

    plain = source.default_name(ENDINGS.get(to, ""))
    return plain.with_name(f"{plain.name}-web") if to == WEB else plain


def _images(network: "Network", checkpoint: str, folder: Path | None, int8: bool) -> "list[ImageLike]":
    """Spread over what there is: the folder; for int8 digits; else two photographs."""
    from maxvit.data.builtin import photographs
    from maxvit.data.dataset import describe_images
    from maxvit.data.finding import find_images, say_passed_over
    from maxvit.errors import MaxViTError

    if folder is not None:
        if not folder.is_dir():
            raise MaxViTError(f"{folder} is not a folder: check the path")
        there = find_images(folder)
        if not there.images:
            raise MaxViTError(f"folder {folder} holds no images{say_passed_over(there.passed_over)}")
        complain(describe_images(len(there.images), there.passed_over))
        found: list[ImageLike] = list(there.images)
    elif int8:
        from maxvit.data.builtin import load_digits

        digits = load_digits().train
        if network.class_names != digits.class_names:
            raise MaxViTError(f"{checkpoint} knows other classes than digits: give images of its kind with --images")
        found = list(digits.sources)
    else:
        return [] if network.preprocessing.takes_bands else list(photographs())
    return found[:: -(-len(found) // MOST)]


def _as_dict(done: "Exported") -> dict[str, Any]:
    """Plain values, for JSON."""
    quantization = done.quantization
    return {
        "file": str(done.path),
        "weights": str(done.weights) if done.weights else None,
        "verification": dataclasses.asdict(done.verification),
        "quantization": dataclasses.asdict(quantization) if quantization else None,
        "squeezes": done.squeezes,
    }


def _print(done: "Exported") -> None:
    if (result := done.quantization) is not None:
        kept = f"; {len(result.kept)} of {len(result.damage)} products stay in fp32" if result.kept else ""
        typer.echo(f"the prediction is that of fp32 for {result.agreement:.1%} of {result.compared_on} images{kept}")
    found = done.verification
    typer.echo(
        f"largest difference from PyTorch {found.largest:.1e} (relative {found.relative:.1e}) on {found.random} random "
        f"and {found.real} real images, in {found.engine}"
    )
    if done.squeezes:
        typer.echo(
            "its images are squeezed to one size, and keep their shapes in PyTorch: evaluate it before it is used"
        )
    typer.echo(f"wrote {done.path}" + (f" and {done.weights}" if done.weights else ""))
