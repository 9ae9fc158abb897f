"""Our contenders: the plain network, and what `optimize`, `accelerate` and the exports make of it."""

import dataclasses
from functools import partial

import numpy as np
import torch

from maxvit import storage
from maxvit.benchmark.job import Contender, Engine, Job
from maxvit.config import MaxViTConfig
from maxvit.errors import MaxViTError
from maxvit.inference.engines import FileEngine
from maxvit.kernels.accelerate import accelerate, obstacle
from maxvit.kernels.optimize import Backend, optimize
from maxvit.model import MaxViT


def plain(job: Job) -> MaxViT:
    """The network as `create_model` makes it, with the job's weights, on its device."""
    state, metadata = storage.load(job.folder / f"{job.weights}.safetensors")
    config = MaxViTConfig.from_dict(metadata["config"])
    model = MaxViT(dataclasses.replace(config, drop_path_rate=job.drop_path_rate))
    model.load_state_dict(state)
    return model.to(job.device).train(job.what == "training")


def _optimized(job: Job) -> MaxViT:
    return optimize(plain(job), backend=_backend(job))


def _compiled(job: Job) -> MaxViT:
    return optimize(plain(job), backend=_backend(job), compile=True)


def _backend(job: Job) -> Backend:
    """The native kernels compute in float32 whatever autocast says."""
    return "auto" if job.precision == "fp32" else "torch"


def _fp16(job: Job) -> MaxViT:
    return optimize(plain(job), precision="fp16")


def _int8(job: Job) -> MaxViT:
    return optimize(plain(job), precision="int8")


def _accelerated(job: Job) -> MaxViT:
    model = plain(job)
    if reason := obstacle(model):
        raise MaxViTError(reason)
    return accelerate(model)


def _export(job: Job) -> None:
    from maxvit.export.onnx import write_onnx
    from maxvit.export.options import ExportOptions

    write_onnx(plain(job), job.file, ExportOptions(image_size=job.image_size, batch=None if job.batch > 1 else 1))


def _export_int8(job: Job) -> None:
    """With ranges from noise: good for the speed, and no word on the answers."""
    from maxvit.export.options import ExportOptions
    from maxvit.export.quantize import FEWEST, quantized

    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (*job.image_size, 3), np.uint8) for _ in range(FEWEST)]
    made, _ = quantized(plain(job), ExportOptions(precision="int8"), images, agreement=0)
    job.file.write_bytes(made.SerializeToString())


def _onnxruntime(job: Job) -> Engine:
    engine = FileEngine(job.file)
    return lambda images: engine(torch.from_numpy(images)).numpy()


def _checkpointing(job: Job) -> MaxViT:
    network = plain(job)
    network.set_gradient_checkpointing()
    return network


_ONNX = ("torch", "onnx", "onnxscript", "onnxruntime")
_in_onnxruntime = partial(Contender, open=_onnxruntime, imports=_ONNX, anywhere=False)
OURS = (
    Contender(name="eager", label="maxvit", open=plain, what=("inference", "training")),
    Contender(name="optimized", label="maxvit optimized", open=_optimized),
    Contender(
        name="compiled", label="maxvit compiled", open=_compiled, imports=("torch", "torch._inductor.compile_fx")
    ),
    Contender(name="fp16", label="maxvit fp16", open=_fp16, exact=False, anywhere=False),
    Contender(name="int8", label="maxvit int8", open=_int8, exact=False, anywhere=False),
    _in_onnxruntime(name="onnxruntime", label="maxvit in ONNX Runtime", export=_export),
    _in_onnxruntime(name="onnxruntime-int8", label="maxvit int8 in ONNX Runtime", export=_export_int8, exact=False),
    Contender(name="checkpointing", label="maxvit checkpointing", open=_checkpointing, what=("training",)),
    Contender(name="accelerated", label="maxvit accelerated", open=_accelerated, what=("training",), anywhere=False),
)
