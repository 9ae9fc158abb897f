"""Exported files, opened on the CPU: in ONNX Runtime, OpenVINO, PyTorch or ExecuTorch, as their names say."""

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from maxvit.description import FORMAT
from maxvit.errors import MaxViTError, require
from maxvit.signatures import EXECUTORCH, ONNX, OPENVINO, other_kind
from maxvit.storage import decode

T = TypeVar("T")

IN_CACHE = 224 * 224  # pixels of the images that one core computes at once: their maps stay in its cache
BYTE = 0  # uint8, as ExecuTorch numbers PyTorch's types
KEYS = ("format", "task", "config", "preprocessing", "class_names", "provenance", "precision", "quantization")


class Runtime(Protocol):
    """A file that is ready to answer, on all cores that PyTorch would use.

    Attributes:
        name: What computes.
        metadata: What the file says of itself.
        shape: Shape of what it takes; a word stands for any number.
        takes_pixels: It takes pixels (B, H, W, 3) uint8; else images (B, C, H, W) float32.
    """

    name: str
    metadata: dict[str, Any]
    shape: list[int | str]
    takes_pixels: bool

    def __call__(self, values: Tensor) -> list[Tensor]:
        """Each output of the file for these, however many they are."""
        ...


def open_file(path: Path) -> Runtime:
    """Open an exported file: `.onnx`, `.xml`, `.pt2` or `.pte`.

    Raises:
        MaxViTError: If it is missing, damaged or was not written by maxvit, or the package that runs it is not
            installed.
    """
    if not path.is_file():
        raise MaxViTError(f"{path} is not a file: check the path")
    if path.suffix == ".xml":
        if sentence := other_kind(path, OPENVINO):  # which OpenVINO would try to read as TensorFlow's, and say so
            raise MaxViTError(sentence)
        return OpenVinoFile(path)
    if path.suffix == ".pt2":
        return ProgramFile(path)
    if path.suffix == ".pte":
        return ExecutorchFile(path)
    try:
        return OnnxFile(path)
    except NotImplementedError:  # bf16, of which ONNX Runtime knows next to nothing on a CPU
        return OpenVinoFile(path)


class OnnxFile:
    """An ONNX file in ONNX Runtime.

    One image is computed by all cores together. With several, each core takes its own, which needs no waiting for one
    another and keeps their maps in its cache.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.threads, self.name = path, torch.get_num_threads(), "ONNX Runtime"
        self.metadata = _ours(path, self._together.get_modelmeta().custom_metadata_map)
        given = _only(path, self._together.get_inputs())
        self.shape: list[int | str] = given.shape
        self.takes_pixels = given.type == "tensor(uint8)"

    def __call__(self, values: Tensor) -> list[Tensor]:
        """See `Runtime`."""
        if isinstance(number := self.shape[0], int) and number > 1:
            return in_batches(lambda part: _run(self._together, part), values, number)
        if len(values) < self.threads and (len(values) == 1 or number != 1):
            return _run(self._together, values)
        at_once = 1 if number == 1 else max(1, IN_CACHE // _pixels(values, self.takes_pixels))
        parts = values.split(min(at_once, -(-len(values) // self.threads)))
        with ThreadPoolExecutor(self.threads) as pool:
            return _joined(list(pool.map(lambda part: _run(self._apart, part), parts)))

    @cached_property
    def _together(self) -> Any:
        return self._session(self.threads)

    @cached_property
    def _apart(self) -> Any:
        return self._together if self.threads == 1 else self._session(1)

    def _session(self, threads: int) -> Any:
        return _onnx_session(self.path, self.path, threads)


class OpenVinoFile:
    """A file of OpenVINO, or an ONNX file, in OpenVINO; told to compute in fp32 where it would choose less."""

    def __init__(self, path: Path) -> None:
        model, self._compiled = _compile(path, path)
        self.name = "OpenVINO"
        where = "framework" if path.suffix == ".onnx" else "maxvit"
        known = [key for key in KEYS if model.has_rt_info([where, key])]
        self.metadata = _ours(path, {key: model.get_rt_info([where, key]).astype(str) for key in known})
        given = _only(path, model.inputs)
        self.shape = [d.get_length() if d.is_static else "any" for d in given.partial_shape]
        self.takes_pixels = given.element_type.get_type_name() == "u8"

    def __call__(self, values: Tensor) -> list[Tensor]:
        """See `Runtime`."""
        return in_batches(lambda part: _infer(self._compiled, part), values, self.shape[0])


class ProgramFile:
    """A program of `torch.export` in PyTorch. Open no file of a stranger: it may hold any code."""

    def __init__(self, path: Path) -> None:
        found = dict.fromkeys(KEYS, "")
        logging.getLogger("torch.export").setLevel(logging.ERROR)  # of a damaged file it logs a traceback
        try:
            with open(path, "rb") as file:
                program = torch.export.load(file, extra_files=found)
        except Exception as error:  # of many types, which the zip file, JSON and PyTorch raise
            sentence = other_kind(path, "a program of torch.export") or f"{path} is damaged: copy it again"
            raise MaxViTError(sentence) from error
        self.name = "PyTorch, exported"
        self.metadata = _ours(path, {key: text for key, text in found.items() if text})
        name = _only(path, program.graph_signature.user_inputs)
        given = next(node.meta["val"] for node in program.graph.nodes if node.name == name)
        self.shape = [side if isinstance(side, int) else str(side) for side in given.shape]
        self.takes_pixels = given.dtype == torch.uint8
        self._module = program.module()

    @torch.inference_mode()
    def __call__(self, values: Tensor) -> list[Tensor]:
        """See `Runtime`."""
        return in_batches(self._run, values, self.shape[0])

    def _run(self, values: Tensor) -> list[Tensor]:
        outputs = self._module(values)
        return [outputs] if isinstance(outputs, Tensor) else list(outputs)


class ExecutorchFile:
    """A program of ExecuTorch, on XNNPACK."""

    def __init__(self, path: Path) -> None:
        require(str(path), "executorch.runtime")
        if sentence := other_kind(path, EXECUTORCH):
            raise MaxViTError(sentence)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that its API may change
            from executorch.extension.pybindings import portable_lib
            from executorch.runtime import Runtime as Executorch

        if portable_lib._threadpool_get_thread_count() != torch.get_num_threads():
            portable_lib._unsafe_reset_threadpool(torch.get_num_threads())  # while no program of the process runs
        self.name = "ExecuTorch"
        try:
            program = Executorch.get().load_program(path)
            known = sorted(program.method_names.intersection(KEYS))
            self.metadata = _ours(path, {key: program.load_method(key).execute([])[0] for key in known})
            self._method = program.load_method("forward")
        except RuntimeError as error:
            raise MaxViTError(
                f"ExecuTorch cannot read {path} ({error}): it may be damaged, or need a newer version"
            ) from error
        takes = self._method.metadata
        name = _only(path, range(takes.num_inputs()))
        given = takes.input_tensor_meta(name)
        self.shape: list[int | str] = list(given.sizes())
        self.takes_pixels = given.dtype() == BYTE

    def __call__(self, values: Tensor) -> list[Tensor]:
        """See `Runtime`."""
        return in_batches(lambda part: list(self._method.execute([part.contiguous()])), values, self.shape[0])


def _ours(path: Path, said: Mapping[str, str]) -> dict[str, Any]:
    """What a file says of itself. Raises `MaxViTError` if it was not written by maxvit."""
    metadata = decode(said)
    if metadata.get("format") != FORMAT:
        raise MaxViTError(f"{path} was not written by maxvit, and does not say its classes: use maxvit export")
    return metadata


def _only(path: Path, inputs: Sequence[T]) -> T:
    """The one input of a file. Raises `MaxViTError` if somebody has given it more."""
    if len(inputs) != 1:
        raise MaxViTError(f"{path} takes {len(inputs)} inputs, and maxvit writes files that take one: export it again")
    return inputs[0]


Opener = Callable[[bytes], Callable[[Tensor], Tensor]]  # of an ONNX file's content


def in_onnxruntime(file: bytes) -> Callable[[Tensor], Tensor]:
    """Open the content of an ONNX file in ONNX Runtime."""
    session = _onnx_session(file, "the file", torch.get_num_threads())
    number = session.get_inputs()[0].shape[0]
    return lambda values: in_batches(lambda part: _run(session, part), values, number)[0]


def in_openvino(file: bytes) -> Callable[[Tensor], Tensor]:
    """Open the content of an ONNX file in OpenVINO."""
    _, compiled = _compile(file, "the file")
    (given,) = compiled.inputs
    number = "any" if given.partial_shape[0].is_dynamic else given.partial_shape[0].get_length()
    return lambda values: in_batches(lambda part: _infer(compiled, part), values, number)[0]


def _onnx_session(source: Path | bytes, name: object, threads: int) -> Any:
    require(str(name), "onnxruntime")
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except NoKernel as error:
        raise NotImplementedError(str(error)) from error
    except Exception as error:  # of onnxruntime's own types, which have no common base
        sentence = other_kind(source, ONNX) if isinstance(source, Path) else None
        *_, reason = str(error).splitlines()[0].split(" : ")
        raise MaxViTError(sentence or f"ONNX Runtime cannot read {name} ({reason}): it may be damaged") from error


def _compile(source: Path | bytes, name: object) -> tuple[Any, Any]:
    """OpenVINO's model, and the same compiled for the CPU."""
    require(str(name), "openvino")
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    core = openvino.Core()
    try:
        model = core.read_model(source)
        return model, core.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise MaxViTError(f"OpenVINO cannot read {name} ({reason}): it may be damaged") from error


def _infer(compiled: Any, values: Tensor) -> list[Tensor]:
    found = compiled(values.numpy())
    return [torch.from_numpy(found[i].copy()) for i in range(len(compiled.outputs))]


def in_batches(run: Callable[[Tensor], list[Tensor]], values: Tensor, number: int | str) -> list[Tensor]:
    """Run what takes `number` at once, a word for any: the last batch is filled with zeros, whose outputs go away."""
    if not isinstance(number, int):
        return run(values)
    rest = values.new_zeros(-len(values) % number, *values.shape[1:])
    parts = [run(part) for part in torch.cat([values, rest]).split(number)]
    return [output[: len(values)] for output in _joined(parts)]


def _joined(parts: Sequence[list[Tensor]]) -> list[Tensor]:
    """Each output of all parts."""
    return [torch.cat(outputs) for outputs in zip(*parts, strict=True)]


def _pixels(values: Tensor, channels_last: bool) -> int:
    return values[0, ..., 0].numel() if channels_last else values[0, 0].numel()


def _run(session: Any, values: Tensor) -> list[Tensor]:
    return [torch.from_numpy(one) for one in session.run(None, {session.get_inputs()[0].name: values.numpy()})]
