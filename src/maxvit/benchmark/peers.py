"""Other people's MaxViT, with the same weights: timm's in four ways and in two engines, torchvision's in two.

PyTorch's peers in channels_last get images in that layout too, and an exported file is for one batch size: what a
careful user would do.
"""

import contextlib
import io
import logging
import warnings
from functools import partial
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from maxvit.benchmark.job import Array, Contender, Engine, Job, What
from maxvit.checkpoints.published import of_timm
from maxvit.config import OFFICIAL, MaxViTConfig, Size
from maxvit.errors import MaxViTError


def timm_network(config: MaxViTConfig, image_size: Size, drop_path_rate: float) -> nn.Module:
    """timm's network of a configuration, freshly initialised; by name where timm has one.

    Raises:
        MaxViTError: If its maps would not divide by its windows, which it cannot compute; or it is of another dialect
            and timm has no name for it.
    """
    _check_divides(image_size)
    import timm
    from timm.models.maxxvit import MaxxVit, MaxxVitCfg, MaxxVitConvCfg, MaxxVitTransformerCfg

    if rows := of_timm(config):
        name = rows[0].their_name.partition(".")[0]
        return timm.create_model(
            name, img_size=image_size, num_classes=config.num_classes, drop_path_rate=drop_path_rate
        )
    if config.dialect != OFFICIAL:
        raise MaxViTError("timm has no name for this network, which is not the official one in another size")
    theirs = MaxxVitCfg(
        embed_dim=config.channels,
        depths=config.depths,
        block_type=("M",) * len(config.depths),
        stem_width=config.stem_channels,
        stem_bias=True,
        head_hidden_size=config.channels[-1],
        conv_cfg=MaxxVitConvCfg(norm_eps=1e-3, act_layer="gelu_tanh", padding="same"),
        transformer_cfg=MaxxVitTransformerCfg(
            norm_eps=1e-5, act_layer="gelu_tanh", head_first=False, rel_pos_type="bias_tf"
        ),
    )
    return MaxxVit(theirs, img_size=image_size, num_classes=config.num_classes, drop_path_rate=drop_path_rate)


def torchvision_network(config: MaxViTConfig, image_size: Size, drop_path_rate: float) -> nn.Module:
    """torchvision's network of a configuration, freshly initialised: `maxvit_t` with other numbers.

    Raises:
        MaxViTError: If its maps would not divide by its windows, which it cannot compute.
    """
    _check_divides(image_size)
    if image_size[0] != image_size[1]:
        height, width = image_size
        raise MaxViTError(f"torchvision's windows are square, and images of {height} x {width} want others")
    from torchvision.models.maxvit import MaxVit

    return MaxVit(
        input_size=image_size,
        stem_channels=config.stem_channels,
        partition_size=image_size[0] // 32,
        block_channels=list(config.channels),
        block_layers=list(config.depths),
        head_dim=config.head_dim,
        stochastic_depth_prob=drop_path_rate,
        num_classes=config.num_classes,
    )


def _check_divides(image_size: Size) -> None:
    height, width = image_size
    if height % 32 or width % 32:
        raise MaxViTError(f"it takes sides that are multiples of 32, and these are {height} x {width}")


def _timm(job: Job) -> nn.Module:
    return _loaded(timm_network(job.config, job.image_size, job.drop_path_rate), "timm", job)


def _timm_checkpointing(job: Job) -> Any:
    network: Any = _timm(job)
    network.set_grad_checkpointing()
    return network


def _timm_last(job: Job) -> nn.Module:
    return _timm(job).to(memory_format=torch.channels_last)


def _timm_compiled(job: Job) -> Any:
    return torch.compile(_timm(job))


def _timm_compiled_last(job: Job) -> Any:
    return torch.compile(_timm_last(job))


def _torchvision(job: Job) -> nn.Module:
    network = torchvision_network(job.config, job.image_size, job.drop_path_rate)
    return _loaded(network, "torchvision", job)


def _torchvision_last(job: Job) -> nn.Module:
    return _torchvision(job).to(memory_format=torch.channels_last)


def _loaded(network: nn.Module, package: str, job: Job) -> nn.Module:
    network.load_state_dict(load_file(job.folder / f"of_{package}.safetensors"), strict=True)
    return network.to(job.device).train(job.what == "training")


def _export_timm(job: Job) -> None:
    """For this batch and size alone, which leaves the engine most to know beforehand."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    images = torch.zeros(job.batch, job.config.in_channels, *job.image_size)
    network = _timm(job)
    for part in network.modules():  # fused attention has a layout that PyTorch's exporter cannot follow everywhere
        if job.config.dialect != OFFICIAL and hasattr(part, "fused_attn"):
            part.fused_attn = False  # type: ignore[assignment]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        made = torch.onnx.export(network, (images,), input_names=["images"], dynamo=True, verbose=False)
    assert made is not None
    made.save(job.file)


def _open_onnxruntime(job: Job) -> Engine:
    """ONNX Runtime, with its defaults but for the threads."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # errors alone
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    session = onnxruntime.InferenceSession(job.file, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: Array) -> Array:
        return session.run(None, {name: images})[0]

    return run


def _open_openvino(job: Job, **more: str) -> Engine:
    """OpenVINO, told to compute in fp32 where it would choose less, and to answer soon rather than often."""
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": job.threads,
    }
    compiled = openvino.Core().compile_model(str(job.file), "CPU", settings | more)

    def run(images: Array) -> Array:
        return compiled(images)[0]

    return run


def _open_openvino_plain(job: Job) -> Engine:
    """OpenVINO without its fused attention ("snippets"), with which version 2026.4 is wrong by 1 % on small maps."""
    return _open_openvino(job, SNIPPETS_MODE="DISABLE")


BOTH: tuple[What, ...] = ("inference", "training")
_of_timm = partial(Contender, weights=("official",), imports=("timm",))
_compiled = partial(_of_timm, imports=("timm", "torch._inductor.compile_fx"))
_exported = partial(_of_timm, export=_export_timm, anywhere=False)
_of_torchvision = partial(Contender, weights=("torchvision",), what=BOTH, imports=("torchvision",))
_ONNX = ("timm", "onnx", "onnxscript", "onnxruntime")
_OPENVINO = ("timm", "onnx", "onnxscript", "openvino")
PEERS = (
    _of_timm(name="timm", label="timm", open=_timm, what=BOTH),
    _of_timm(name="timm-checkpointing", label="timm checkpointing", open=_timm_checkpointing, what=("training",)),
    _of_timm(name="timm-channels-last", label="timm channels_last", open=_timm_last, what=BOTH),
    _compiled(name="timm-compiled", label="timm compiled", open=_timm_compiled),
    _compiled(name="timm-compiled-channels-last", label="timm compiled channels_last", open=_timm_compiled_last),
    _exported(name="timm-onnxruntime", label="timm in ONNX Runtime", open=_open_onnxruntime, imports=_ONNX),
    _exported(name="timm-openvino", label="timm in OpenVINO", open=_open_openvino, imports=_OPENVINO),
    _exported(
        name="timm-openvino-plain",
        label="timm in OpenVINO, no snippets",
        open=_open_openvino_plain,
        imports=_OPENVINO,
    ),
    _of_torchvision(name="torchvision", label="torchvision", open=_torchvision),
    _of_torchvision(name="torchvision-channels-last", label="torchvision channels_last", open=_torchvision_last),
)
