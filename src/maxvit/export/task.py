"""The network of a task as a file for other programs: ONNX, `torch.export` or OpenVINO, for images of one size."""

import copy
import json
import logging
import warnings
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from maxvit.config import Size, check_known
from maxvit.errors import MaxViTError
from maxvit.export.files import ENDINGS, Exported, Format
from maxvit.export.form import Form
from maxvit.export.onnx import ANY_OPSET, check_onnx, check_packages
from maxvit.export.openvino import check_openvino, write_openvino
from maxvit.export.runtimes import open_file
from maxvit.export.verify import ALLOWED, NOISE, Verification
from maxvit.storage import write_together
from maxvit.tasks import task_for
from maxvit.tasks.network import TaskNetwork


def export_task(
    network: TaskNetwork,
    path: str | Path,
    to: Format = "onnx",
    image_size: Size | None = None,
    batch: int | None = None,
) -> Exported:
    """Write what `Task.exported` makes of a network, in fp32; compared with PyTorch before it is put in place.

    Args:
        network: It is left as it is.
        path: Where to, ending in `.onnx`, `.pt2` or `.xml`; with OpenVINO a `.bin` file lies beside it.
        to: "onnx", "torch" or "openvino".
        image_size: (height, width) of the prepared images; None: that of the network's preprocessing.
        batch: Images at once; None: any number.

    Raises:
        MaxViTError: If the task has no graph, a package is missing, or the file answers otherwise than the network.
    """
    path = Path(path)
    check_known("format", [to], get_args(Format))
    if path.suffix != ENDINGS[to]:
        check_known("ending", [path.suffix], [ENDINGS[to]])
    if to != "torch":
        check_packages()
    if to == "openvino":
        check_openvino(Form())
    size = image_size or network.preprocessing.image_size
    module = task_for(network).exported(copy.deepcopy(network)).cpu().eval()
    images = torch.randn(batch or NOISE, network.config.in_channels, *size, generator=torch.Generator().manual_seed(0))
    metadata = _description(network, size)
    program = _trace(module, images, any_batch=batch is None)
    checked: list[Verification] = []

    def write(temporary: Path) -> None:
        if to == "torch":
            with open(temporary, "wb") as file:
                torch.export.save(program, file, extra_files=metadata)
        elif to == "onnx":
            _write_onnx(program, temporary, metadata)
        else:
            write_openvino(temporary, Form(), metadata, lambda graph: _write_onnx(program, graph, metadata))
        checked.append(_compare(module, temporary, images))

    beside = path.with_suffix(".bin") if to == "openvino" else None
    write_together(path, beside, write)
    return Exported(path, beside, checked[0], None)


def _description(network: TaskNetwork, size: Size) -> dict[str, str]:
    known = network.metadata()
    known["preprocessing"] = {**known["preprocessing"], "image_size": list(size)}
    return {key: json.dumps(value) for key, value in {**known, "precision": "fp32"}.items()}


def _trace(module: nn.Module, images: Tensor, any_batch: bool) -> ExportedProgram:
    shapes = ({0: Dim.DYNAMIC} if any_batch else {},)
    with torch.no_grad():
        return torch.export.export(module, (images,), dynamic_shapes=shapes)


def _write_onnx(program: ExportedProgram, path: Path, metadata: dict[str, str]) -> None:
    from onnx import helper

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # what it says is for its programmers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = {"input_names": ["images"], "output_names": ["answers"]}
        made = torch.onnx.export(program, opset_version=ANY_OPSET, dynamo=True, verbose=False, **names)  # type: ignore[arg-type]
    assert made is not None
    proto = made.model_proto  # a new one whenever it is asked for
    helper.set_model_props(proto, metadata)
    path.write_bytes(proto.SerializeToString())
    check_onnx(path)


def _compare(module: nn.Module, path: Path, images: Tensor) -> Verification:
    """Run the file and the module on the same images."""
    with torch.inference_mode():
        expected = module(images)
    file = open_file(path)
    found = file(images)
    largest = float((found - expected).abs().max())
    relative = largest / max(float(expected.square().mean().sqrt()), 1e-30)
    if not found.isfinite().all() or not relative <= ALLOWED:
        raise MaxViTError(
            f"the file answers otherwise than the network: the relative difference is {relative:.1e} in {file.name}, "
            f"where {ALLOWED:.1e} is allowed; nothing was written: please report this"
        )
    return Verification(largest, relative, ALLOWED, len(images), 0, file.name)
