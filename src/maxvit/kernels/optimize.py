"""`maxvit.optimize`: a copy of a network for inference that answers the same, faster."""

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, cast, get_args

import torch
from torch import Tensor, nn
from torch.cuda import is_current_stream_capturing

from maxvit.config import Sides
from maxvit.errors import MaxViTError
from maxvit.kernels.comparison import BLAME, whole_floats
from maxvit.kernels.cpu.build import KernelsUnavailable
from maxvit.kernels.cpu.inference import NativeBlock, NativeStem, lacking, unsupported, width_for
from maxvit.kernels.cpu.linear import NativeLinear
from maxvit.kernels.cpu.network import NativeNetwork, is_seen
from maxvit.kernels.cpu.packing import Packing, Precision
from maxvit.kernels.cpu.threads import limit_threads
from maxvit.kernels.folding import fold_for_inference
from maxvit.kernels.gpu.records import on_record
from maxvit.kernels.gpu.support import obstacle
from maxvit.kernels.gradients import refuse_gradients
from maxvit.kernels.known import layer_change, network_change, other_order, untouched
from maxvit.layers.attention import GroupAttention
from maxvit.layers.images import check_images
from maxvit.layers.modes import evaluating
from maxvit.layers.sharing import made_by_hooks
from maxvit.model import MaxViT, check_network

if TYPE_CHECKING:
    from maxvit.kernels.gpu.graphs import Graphs

Backend = Literal["auto", "native", "triton", "torch"]
CLOSE = 1e-4  # largest difference to the original over its largest answer, in float32
# difference of the last map over its size, as root mean squares: 0.002 is usual in fp16, 0.02 to 0.05 in int8
CLOSE_MAPS: Mapping[str, float] = {"fp16": 0.02, "int8": 0.25}
CLOSE_ROUNDED = {torch.bfloat16: 2**-9, torch.float16: 2**-12}  # kernels may be so far, and twice PyTorch's own error
CHECK_SIDE = 256  # pixels; the check needs no larger images


def optimize(
    model: MaxViT, *, backend: Backend = "auto", precision: Precision = "fp32", compile: bool = False
) -> "OptimizedMaxViT":
    """Make a copy for inference, and check that it answers as the original does.

    Args:
        model: It is left as it is.
        backend: "native": our own kernels for the CPU, float32, which the machine's C++ compiler makes once (about ten
            seconds; kept in a cache). "torch": PyTorch's operators, on any device and in any type, with batch norms
            folded and position biases computed beforehand. "triton": fused kernels for NVIDIA GPUs, with a CUDA graph
            for each shape of images (docs/gpu.md). Where they cannot serve, PyTorch computes, with a warning that says
            why. "auto": native where it can serve; triton on the cards of `maxvit.kernels.gpu.records`. Kernels
            serve networks whose layers nobody changed, see `maxvit.kernels.known`.
        precision: Of the products of blocks, with the native kernels alone. "fp16": 16-bit floats, on processors that
            multiply them (AVX512-FP16, ARM's FP16); closer to float32 than PyTorch's bfloat16. "int8": 8-bit integers;
            answers differ, so measure the agreement on your images. Rows are scaled as they come, which needs no
            calibration.
        compile: Let `torch.compile` have it too: the first call at each size then takes minutes with "torch".

    Returns:
        A network in evaluation mode on the same device that takes images of any size; its `engine` says what computes.

    Raises:
        MaxViTError: If it is not a `MaxViT`, the backend is unknown or cannot be used here, or the answers differ.
    """
    if backend not in get_args(Backend):
        raise MaxViTError(f"backend is {backend!r}; choose {', '.join(get_args(Backend))}")
    if precision not in get_args(Precision):
        raise MaxViTError(f"precision is {precision!r}; choose {', '.join(get_args(Precision))}")
    if precision != "fp32" and backend in ("torch", "triton"):
        raise MaxViTError(
            f"{precision} is computed by the native kernels alone: choose backend='native', or precision='fp32'"
        )
    check_network(model)
    if hasattr(model, "with_backbone"):
        raise MaxViTError(
            f"a {type(model).__name__} of a task was given; optimise its backbone: "
            "network.with_backbone(maxvit.optimize(network.backbone))"
        )
    limit_threads()
    folded = fold_for_inference(model)
    with torch.device("meta"):
        fast = OptimizedMaxViT(model.config, model.preprocessing, model.class_names)
    for name in ("stem", "stages", "head", "inner_head", "novelty"):
        setattr(fast, name, getattr(folded, name))
    fast.provenance, fast.engine = folded.provenance, "PyTorch"
    changed = reason = other_order(model.config) or network_change(model, "stem", "stages")
    if backend == "triton" or (backend == "auto" and precision == "fp32" and on_record(model.any_weight())):
        if (reason := reason or _put_triton(fast)) and backend == "triton":
            warnings.warn(f"the network is computed by plain PyTorch: {reason}", stacklevel=2)
    elif backend != "torch":
        reason = reason or _put_native(fast, precision)
        if reason and (backend == "native" or precision != "fp32"):
            raise MaxViTError(
                f"the native kernels cannot be used: {reason}; choose backend='torch' or 'auto', and fp32"
            )
    if not fast.engine.startswith("native"):
        _fix_position_biases(model, fast)
        fast.engine += f" ({reason})" if reason and backend != "torch" else ""
    fast = fast.eval()
    if difference := _difference(model, fast, precision):
        sentence = f"the optimised network differs from the original by {difference}"
        if backend != "auto" or fast.engine.startswith("PyTorch") or precision != "fp32":
            raise MaxViTError(f"{sentence}: use the original, or backend='torch'; {changed or BLAME}")
        fast = optimize(model, backend="torch", compile=compile)
        fast.engine += f" ({sentence})"
        return fast
    fast._forget_addresses()  # what the check captured rounds as the check does
    if compile:
        fast.compile()
        fast.engine += ", compiled"
    return fast


class OptimizedMaxViT(MaxViT):
    """What `optimize` returns: a `MaxViT` that can compute, and not be changed.

    Attributes:
        engine: What computes, and if it is not the native kernels, why.
    """

    engine: str
    norms_are_folded = True
    graphs: "Graphs | None" = None  # of the Triton kernels
    whole: NativeNetwork | None = None  # of the native ones

    def __getstate__(self) -> dict[str, Any]:
        """What is copied or pickled: a copy has its weights elsewhere."""
        return {**self.__dict__, "whole": None}

    def forward(self, images: Tensor) -> Tensor:
        """As `MaxViT.forward`."""
        if self.graphs is None:
            return super().forward(images)
        refuse_gradients(images)
        check_images(images, self.config.in_channels, self.any_weight().dtype)
        with torch.autocast(images.device.type, enabled=False):  # kernels take maps and weights of one type
            images = images.to(self.any_weight().dtype)
            if images.device.type != "cuda" or torch.compiler.is_compiling() or is_current_stream_capturing():
                return super().forward(images)
            return self.graphs(super().forward, images)

    def _maps_at(self, images: Tensor, strides: Sequence[int]) -> dict[int, Tensor]:
        """In one call, where the kernels can and nobody looks at a part of it."""
        if not strides or not isinstance(self.stem, NativeStem) or is_seen(self, images):
            return super()._maps_at(images, strides)
        stages = [list(stage.children()) for stage in self.stages]
        if self.whole is None or self.whole.parts != [self.stem, *chain(*stages)]:
            if not all(isinstance(block, NativeBlock) for block in chain(*stages)):
                return super()._maps_at(images, strides)
            self.whole = NativeNetwork(self.stem, cast("list[list[NativeBlock]]", stages))
        check_images(images, self.config.in_channels, self.any_weight().dtype)
        return self.whole(images, strides)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What moves or converts weights: `to`, `half`, `cpu`."""
        self._forget_addresses()
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        self._forget_addresses()
        return super().load_state_dict(state_dict, strict, assign)

    def _forget_addresses(self) -> None:
        """Those of weights, which graphs and the native network hold."""
        self.whole = None
        if self.graphs is not None:
            self.graphs = type(self.graphs)()

    def train(self, mode: bool = True) -> Self:
        """Evaluation mode is the only one."""
        return self._refuse() if mode else super().train(False)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise MaxViTError("an optimised network only computes: train, change or save the original, then optimise that")

    # windows are built in, weights are packed; a classifier is trained in the original, which is what can be saved
    set_image_size = set_in_channels = inflated = set_pool = reset_classifier = set_novelty = check_savable = _refuse


def fp16_obstacle(model: MaxViT) -> str:
    """Why the native kernels cannot compute a network in fp16, in a few words; nothing where they can."""
    return other_order(model.config) or network_change(model, "stem", "stages") or _native_obstacle(model, "fp16")


def _native_obstacle(model: MaxViT, precision: Precision) -> str:
    """The same of a network whose layers nobody changed, in any precision."""
    try:
        return unsupported(model) or lacking(Packing(width_for(model), precision))
    except KernelsUnavailable as error:
        return str(error)


def _put_native(fast: MaxViT, precision: Precision) -> str:
    """Replace stem and blocks by native ones; returns why not, where they cannot serve."""
    if reason := _native_obstacle(fast, precision):
        return reason
    packing = Packing(width_for(fast), precision)
    fast.stem = NativeStem(fast.stem, packing)  # type: ignore[assignment]
    for stage in fast.stages:
        assert isinstance(stage, nn.Sequential)
        for i, block in enumerate(stage):
            stage[i] = NativeBlock(block, packing)  # type: ignore[arg-type]
    for head in (fast.head, fast.inner_head):
        for name in ("dense", "classifier"):
            layer = getattr(head, name, None)
            if type(layer) is nn.Linear and not (layer._forward_hooks or layer._forward_pre_hooks):
                setattr(head, name, NativeLinear(layer, packing.width))
    fast.engine = f"native CPU kernels, {precision}"  # type: ignore[assignment]
    return ""


def _put_triton(fast: MaxViT) -> str:
    """Replace stem and blocks by those of the Triton kernels; returns why not, where they cannot serve."""
    if reason := obstacle(fast):
        return reason
    from maxvit.kernels.gpu.graphs import Graphs
    from maxvit.kernels.gpu.inference import TritonBlock
    from maxvit.kernels.gpu.stem import TritonStem

    fast.stem = TritonStem(fast.stem)  # type: ignore[assignment]
    for stage in fast.stages:
        assert isinstance(stage, nn.Sequential)
        for i, block in enumerate(stage):
            stage[i] = TritonBlock(block)  # type: ignore[arg-type]
    fast.graphs = Graphs()  # type: ignore[assignment]
    fast.engine = "Triton kernels"  # type: ignore[assignment]
    return ""


class _FixedBias(nn.Module):
    """A relative position bias that is not learned any more: the same numbers, gathered once."""

    def __init__(self, size: Sides, bias: Tensor) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("bias", bias)

    def forward(self) -> Tensor:
        """The bias of every (query, key) pair, (N, T, T)."""
        bias: Tensor = self.bias  # type: ignore[assignment]
        return bias


def _fix_position_biases(model: MaxViT, fast: MaxViT) -> None:
    for name, known in untouched(model.config).items():
        if isinstance(known, GroupAttention) and not layer_change(model, name):
            part = fast.get_submodule(name)
            assert isinstance(part, GroupAttention)
            part.bias = _FixedBias(part.size, part.bias().detach())  # type: ignore[assignment]


@torch.inference_mode()
def _difference(model: MaxViT, fast: OptimizedMaxViT, precision: Precision) -> str:
    """How far the two are apart on random images, in words; nothing where that is rounding."""
    like = model.any_weight()
    sides = (min(side, CHECK_SIDE) for side in model.config.image_size)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, model.config.in_channels, *sides, generator=generator).to(like.device, like.dtype)
    is_coarse, allowed = precision in CLOSE_MAPS, CLOSE_MAPS.get(precision, CLOSE)
    with evaluating(model), whole_floats(), torch.autocast(like.device.type, enabled=False):
        expected = (model.forward_features(images) if is_coarse else model(images)).float()
        try:
            given = (fast.forward_features(images) if is_coarse else fast(images)).float()
        except RuntimeError as error:
            return f"an error ({str(error).splitlines()[0]})"
        if like.dtype in CLOSE_ROUNDED and fast.graphs is not None:
            exact = copy.deepcopy(model, made_by_hooks(model)).float()(images.float())
            allowed = CLOSE_ROUNDED[like.dtype] + 2 * float((expected - exact).abs().max() / exact.abs().max())
            expected = exact
    if given.shape != expected.shape:
        return f"its shape, {tuple(given.shape)} instead of {tuple(expected.shape)}"
    off = given - expected
    difference = float(off.norm() / expected.norm() if is_coarse else off.abs().max() / expected.abs().max())
    measure = "its last map (root mean square)" if is_coarse else "its largest output"
    compared = like.dtype in (torch.float32, torch.float64) or fast.graphs is not None
    if difference <= allowed or not compared or not expected.abs().max() > 0:
        return ""
    return f"{difference:.1e} of {measure} (allowed are {allowed:g})"
