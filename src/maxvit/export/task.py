"""The network of a task as a file for other programs: ONNX, `torch.export` or OpenVINO, for images of one size."""

import copy
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from maxvit.config import Size, check_known
from maxvit.errors import MaxViTError
from maxvit.export.export import ENDINGS, Exported, Format
from maxvit.export.onnx import ANY_OPSET, check_onnx, check_packages
from maxvit.export.openvino import check_openvino, write_openvino
from maxvit.export.options import ExportOptions
from maxvit.export.runtimes import open_file
from maxvit.export.verify import ALLOWED, NOISE, Verification
from maxvit.storage import check_folder, write_together
from maxvit.tasks import task_for
from maxvit.tasks.network import TaskNetwork
from maxvit.tasks.task import ExportSpec


def export_task(
    network: TaskNetwork,
    path: str | Path,
    to: Format = "onnx",
    image_size: Size | None = None,
    batch: int | None = None,
) -> Exported:
    """Write what `Task.export_spec` makes of a network, in fp32; compared with PyTorch before it is put in place.

    Args:
        network: It is left as it is.
        path: Where to, ending in `.onnx`, `.pt2` or `.xml`; with OpenVINO a `.bin` file lies beside it.
        to: "onnx", "torch" or "openvino".
        image_size: (height, width) of the prepared images; None: that of the network's preprocessing.
        batch: Images at once; None: any number, or one where the task's graph is for a fixed number.

    Raises:
        MaxViTError: If the task has no graph, a package is missing, or the file answers otherwise than the network.
    """
    path = Path(path)
    check_known("format", [to], get_args(Format))
    if path.suffix != ENDINGS[to]:
        check_known("ending", [path.suffix], [ENDINGS[to]])
    check_folder(path.parent)
    if to != "torch":
        check_packages()
    if to == "openvino":
        check_openvino(ExportOptions())
    size = image_size or network.preprocessing.image_size
    graph = task_for(network).export_spec(copy.deepcopy(network))
    graph.module.cpu().eval()
    any_batch = batch is None and graph.any_batch
    number = batch or (NOISE if any_batch else 1)
    images = torch.randn(number, network.config.in_channels, *size, generator=torch.Generator().manual_seed(0))
    metadata = _description(network, size)
    program = _trace(graph.module, images, any_batch)
    checked: list[Verification] = []

    def write(temporary: Path) -> None:
        if to == "torch":
            with open(temporary, "wb") as file:
                torch.export.save(program, file, extra_files=metadata)
        elif to == "onnx":
            _write_onnx(program, temporary, graph.outputs, metadata)
        else:
            write_openvino(
                temporary, ExportOptions(), metadata, lambda onnx: _write_onnx(program, onnx, graph.outputs, metadata)
            )
        checked.append(_compare(graph, temporary, images))

    beside = path.with_suffix(".bin") if to == "openvino" else None
    write_together(path, beside, write)
    return Exported(path, beside, checked[0], None)


def _description(network: TaskNetwork, size: Size) -> dict[str, str]:
    known = network.metadata()
    known["preprocessing"] = {**known["preprocessing"], "image_size": list(size)}
    return {key: json.dumps(value) for key, value in {**known, "precision": "fp32"}.items()}


def _trace(module: nn.Module, images: Tensor, any_batch: bool) -> ExportedProgram:
    shapes = ({0: Dim.DYNAMIC} if any_batch else {},)
    with torch.no_grad(), warnings.catch_warnings():
        # of torchvision's non-maximum suppression, which names a size that depends on values by an older word
        warnings.filterwarnings("ignore", message=".*create_unbacked_symint", category=FutureWarning)
        return torch.export.export(module, (images,), dynamic_shapes=shapes)


def _write_onnx(program: ExportedProgram, path: Path, outputs: Sequence[str], metadata: dict[str, str]) -> None:
    from onnx import helper

    for name in ("torch.onnx", "onnx_ir._convenience"):
        logging.getLogger(name).setLevel(logging.ERROR)  # what they say is for their programmers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            program,
            input_names=["images"],
            output_names=list(outputs),
            opset_version=ANY_OPSET,
            dynamo=True,
            verbose=False,
        )
    assert made is not None
    proto = made.model_proto  # a new one whenever it is asked for
    helper.set_model_props(proto, metadata)
    path.write_bytes(proto.SerializeToString())
    check_onnx(path)


def _compare(graph: ExportSpec, path: Path, images: Tensor) -> Verification:
    """Run the file and the module on the same images."""
    with torch.inference_mode():
        answers = graph.module(images)
    expected = [answers] if isinstance(answers, Tensor) else list(answers)
    file = open_file(path)
    found = file.all_outputs(images)
    largest = max(float((f - e).abs().max()) for f, e in zip(found, expected, strict=True))
    measure = graph.difference or _relative
    relative = measure(found, expected)
    if not all(f.isfinite().all() for f in found) or not relative <= ALLOWED:
        raise MaxViTError(
            f"the file answers otherwise than the network: the relative difference is {relative:.1e} in {file.name}, "
            f"where {ALLOWED:.1e} is allowed; nothing was written: please report this"
        )
    return Verification(largest, relative, ALLOWED, len(images), 0, file.name)


def _relative(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest difference over the root mean square of what is expected."""
    pairs = zip(found, expected, strict=True)
    return max(float((f - e).abs().max()) / max(float(e.square().mean().sqrt()), 1e-30) for f, e in pairs)
