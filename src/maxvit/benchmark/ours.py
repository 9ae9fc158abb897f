"""Our contenders: the plain network, and what `optimize`, `accelerate` and the exports make of it."""

import dataclasses
from importlib import import_module
from typing import Any

from maxvit import storage
from maxvit.benchmark.engines import open_onnxruntime
from maxvit.benchmark.job import Contender, Job
from maxvit.config import MaxViTConfig
from maxvit.errors import MaxViTError
from maxvit.export.onnx import export_onnx
from maxvit.model import MaxViT


def plain(job: Job) -> MaxViT:
    """The network as `create_model` makes it, with the job's weights, on its device."""
    state, metadata = storage.load(job.folder / f"{job.weights}.safetensors")
    config = MaxViTConfig.from_dict(metadata["config"])
    model = MaxViT(dataclasses.replace(config, drop_path_rate=job.drop_path_rate))
    model.load_state_dict(state)
    return model.to(job.device).train(job.what == "training")


def _optimized(job: Job) -> MaxViT:
    return _newer("maxvit.kernels.optimize", "optimize")(plain(job))


def _compiled(job: Job) -> MaxViT:
    return _newer("maxvit.kernels.optimize", "optimize")(plain(job), compile=True)


def _int8(job: Job) -> MaxViT:
    return _newer("maxvit.kernels.optimize", "optimize")(plain(job), precision="int8")


def _accelerated(job: Job) -> MaxViT:
    return _newer("maxvit.kernels.accelerate", "accelerate")(plain(job))


def _export(job: Job) -> None:
    export_onnx(plain(job), job.file, job.image_size, any_batch=job.batch > 1)


def _export_int8(job: Job) -> None:
    quantize = _newer("maxvit.export.quantize", "quantize")
    full = job.file.with_suffix(".fp32.onnx")
    export_onnx(plain(job), full, job.image_size, any_batch=job.batch > 1)
    quantize(full, job.file)


def _newer(module: str, function: str) -> Any:
    """A function that not every version has."""
    try:
        return getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise MaxViTError(f"this version of maxvit has no {module}.{function}") from error


_ONNX = ("torch", "onnx", "onnxscript", "onnxruntime")
OURS = (
    Contender(name="eager", label="maxvit", open=plain, what=("inference", "training")),
    Contender(name="optimized", label="maxvit optimized", open=_optimized),
    Contender(
        name="compiled", label="maxvit compiled", open=_compiled, imports=("torch", "torch._inductor.compile_fx")
    ),
    Contender(name="int8", label="maxvit int8", open=_int8, exact=False, anywhere=False),
    Contender(
        name="onnxruntime",
        label="maxvit in ONNX Runtime",
        open=open_onnxruntime,
        imports=_ONNX,
        export=_export,
        anywhere=False,
    ),
    Contender(
        name="onnxruntime-int8",
        label="maxvit int8 in ONNX Runtime",
        open=open_onnxruntime,
        imports=_ONNX,
        export=_export_int8,
        exact=False,
        anywhere=False,
    ),
    Contender(name="accelerated", label="maxvit accelerated", open=_accelerated, what=("training",)),
)
