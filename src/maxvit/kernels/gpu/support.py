"""Where the Triton kernels can run, and how they multiply."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from maxvit.model import MaxViT

TYPES = (torch.float32, torch.bfloat16, torch.float16)  # that the kernels compute in; sums are always float32
SHARED_BYTES = 104 * 1024  # that tiles take on an A100, see benchmarks/results/gpu_resources_*
LIBRARY = torch.library.Library("maxvit", "FRAGMENT")
HOST_FUNCTIONS: dict[str, Callable[..., Any]] = {}  # that launch kernels, by the operators' names
WIDEST_HEAD = 128  # channels: tiles of wider ones do not fit on the chip


@functools.cache
def missing() -> str:
    """Why Triton cannot be used at all, in a few words; nothing where it can."""
    try:
        import triton  # noqa: F401
    except ImportError as error:
        return f"Triton cannot be imported ({error}); it comes with PyTorch for CUDA on Linux"
    return ""


def obstacle(model: MaxViT) -> str:
    """Why the kernels cannot serve a network, in a few words; nothing where they can."""
    if reason := missing():
        return reason
    device, dtype = model.any_weight().device, model.any_weight().dtype
    if dtype not in TYPES:
        return f"they compute in float32, bfloat16 and float16, and the network is {dtype}"
    dialect = model.config.dialect
    if dialect.conv_activation != "gelu" or not dialect.conv_bias or dialect.layer_scale:
        return "they know convolutions with GELU and biases, and branches without a scale, and the network's are others"
    if model.config.head_dim > WIDEST_HEAD:
        return f"they take heads of up to {WIDEST_HEAD} channels, and the network's have {model.config.head_dim}"
    if device.type != "cuda" or torch.version.hip:
        return "" if interpreted() else f"they run on an NVIDIA GPU, and the network is on {device.type}"
    facts = torch.cuda.get_device_properties(device)
    if facts.major < 8:
        return f"they need compute capability 8.0, and the GPU has {facts.major}.{facts.minor}"
    shared = facts.shared_memory_per_block_optin  # type: ignore[attr-defined]
    if shared < SHARED_BYTES:
        return (
            f"tiles take {SHARED_BYTES // 1024} KiB of shared memory, and the GPU has {shared // 1024} (an A100: 163)"
        )
    return ""


def compute_type(x: Tensor) -> torch.dtype:
    """Type of the products and maps that a layer makes of x: autocast's where that is on."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


class Operator:
    """A function as an operator of PyTorch, which costs little to call.

    `torch.library.custom_op` does the same at twice the time or more: it looks through all arguments in every call.

    Attributes:
        overload: The operator itself, as `torch.library` and compilers know it.
    """

    def __init__(self, name: str, function: Callable[..., Any], mutated: Sequence[str]) -> None:
        self.short = name.removeprefix("maxvit::")
        HOST_FUNCTIONS[name] = function

        @functools.wraps(function)
        def launch(*arguments: Any) -> Any:
            x = arguments[0]
            kind = x.device.type
            with torch.cuda.device_of(x):
                if not torch.is_autocast_enabled(kind):
                    return function(*arguments)
                torch.set_autocast_enabled(kind, False)
                try:
                    return function(*arguments)
                finally:
                    torch.set_autocast_enabled(kind, True)

        LIBRARY.define(self.short + torch.library.infer_schema(function, mutates_args=mutated))
        for key in ("CPU", "CUDA"):
            LIBRARY.impl(self.short, launch, key)
        self.overload = getattr(torch.ops.maxvit, self.short).default

    def __call__(self, *arguments: Any) -> Any:
        return self.overload(*arguments)

    def register_fake(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Say what shapes come out, for compilers."""
        torch.library.register_fake(f"maxvit::{self.short}", function, lib=LIBRARY)
        return function

    def register_autograd(self, backward: Callable[..., Any], *, setup_context: Callable[..., Any]) -> None:
        """Say what the gradients are, as in `torch.library.register_autograd`."""
        overload = self.overload

        class Differentiable(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *arguments: Any) -> Any:
                with torch._C._AutoDispatchBelowAutograd():
                    out = overload(*arguments)
                setup_context(ctx, arguments, out)
                return out

            @staticmethod
            def backward(ctx: Any, *gradients: Any) -> Any:
                return backward(ctx, *gradients)

        LIBRARY.impl(self.short, Differentiable.apply, "Autograd")


def operator(name: str, mutated: Sequence[str] = ()) -> Callable[[Callable[..., Any]], Operator]:
    """Make a function an operator of PyTorch, whose kernels are launched on the GPU that holds its first tensor.

    Autocast is off in it: it is given tensors of the types that it computes in.

    Args:
        name: Such as "maxvit::moments".
        mutated: Names of arguments that are written to.
    """
    return lambda function: Operator(name, function, mutated)


def interpreted() -> bool:
    """Whether Triton's interpreter stands in for a GPU (TRITON_INTERPRET=1): for tests, and slow."""
    import triton

    return bool(triton.knobs.runtime.interpret)


def precision(x: Tensor) -> str:
    """How products of x's type are computed on tensor cores.

    float32 takes three products of parts of its digits (whole floats would not be computed by tensor cores, and need
    more registers than there are), or one where PyTorch's own setting allows it.
    """
    if x.dtype != torch.float32:
        return "ieee"
    matmul = torch.backends.cuda.matmul  # with the newer setting the older one cannot be read
    allowed = matmul.fp32_precision == "tf32" if hasattr(matmul, "fp32_precision") else matmul.allow_tf32
    return "tf32" if allowed else "tf32x3"
