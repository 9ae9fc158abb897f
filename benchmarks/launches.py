"""Which Triton kernels a call launches and with what, and what they take of a multiprocessor: all without a GPU.

The call runs on tensors of the meta device, so that nothing is computed. Our operators run their host functions there
and not their stand-ins, and a launch is written down instead of made. Triton must not interpret (TRITON_INTERPRET).
"""

import functools
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any
from unittest.mock import patch

import torch
import triton
from machine_code import MachineCode, disassembled
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend
from triton.runtime.jit import JITFunction, create_function_from_signature

from maxvit.config import VARIANTS
from maxvit.kernels.folding import fold_for_inference
from maxvit.kernels.gpu.inference import TritonBlock
from maxvit.kernels.gpu.stem import TritonStem
from maxvit.kernels.gpu.support import HOST_FUNCTIONS
from maxvit.kernels.optimize import _FixedBias
from maxvit.layers.attention import GroupAttention
from maxvit.layers.mbconv import MBConv
from maxvit.model import MaxViT, Stem

WARP = 32


@dataclass(frozen=True)
class Multiprocessor:
    """What the programs on one multiprocessor share (CUDA C++ Programming Guide, "Compute Capabilities").

    Attributes:
        number: How many of them a GPU has.
        shared_bytes: Shared memory; the runtime takes 1 KiB of it for each program.
        program_bytes: What of it one program may have.
        registers: Each of 32 bits, given to a warp in units of 256.
        warps: That can be resident.
        programs: Likewise.
    """

    number: int
    shared_bytes: int
    program_bytes: int
    registers: int = 65536
    warps: int = 64
    programs: int = 32

    def resident(self, registers: int, shared: int, warps: int) -> int:
        """How many programs run at once: each has so many warps, bytes, and registers a thread."""
        of_warp = -(-registers * WARP // 256) * 256
        by_registers = self.registers // of_warp // warps if registers else self.programs
        return min(by_registers, self.warps // warps, self.shared_bytes // (shared + 1024), self.programs)


KIB = 1024
TARGETS = {80: Multiprocessor(108, 164 * KIB, 163 * KIB), 90: Multiprocessor(132, 228 * KIB, 227 * KIB)}  # A100, H100


@dataclass(frozen=True)
class Resources:
    """What the compiler made of a kernel: registers of a thread, bytes of a thread's stack (spills), shared bytes."""

    registers: int
    stack: int
    shared: int
    warps: int
    programs: int  # at once on a multiprocessor

    def misfit(self, limits: Multiprocessor) -> bool:
        """Whether it spills registers, or cannot be launched at all."""
        return self.stack > 0 or self.shared > limits.program_bytes


@dataclass(frozen=True)
class Launch:
    """One launch of a kernel."""

    operator: str  # of PyTorch, the outermost that launches it
    kernel: JITFunction[Any]
    grid: tuple[int, ...]
    arguments: dict[str, Any]
    options: dict[str, Any]  # of the launch, such as num_warps

    @property
    def name(self) -> str:
        """The file and the function."""
        return f"{self.kernel.__module__.rsplit('.', 1)[-1]}.{self.kernel.__name__}"

    @property
    def programs(self) -> int:
        """How many the launch has."""
        return prod(self.grid)

    @property
    def bytes(self) -> int:
        """Bytes of all tensors that it is given, each once: no kernel that reads or writes them all can move fewer."""
        tensors = {id(t): t for t in self.arguments.values() if isinstance(t, Tensor)}
        return sum(t.numel() * t.element_size() for t in tensors.values())

    def source(self, capability: int) -> tuple[ASTSource, dict[str, Any]]:
        """What Triton compiles when it launches this, and with which options."""
        backend = make_backend(_target(capability))
        bind = create_function_from_signature(self.kernel.signature, self.kernel.params, backend)
        bound, specialization, options = bind(**self.arguments, **self.options, debug=False)
        parsed, signature, constants, attributes = self.kernel._pack_args(
            backend, options, bound, specialization, options
        )
        return ASTSource(self.kernel, signature, constants, attributes), parsed.__dict__

    def resources(self, capability: int) -> Resources:
        """Compile for a GPU of such a capability (90 is 9.0), and read what the machine code takes."""
        return _compiled(_Source(*self.source(capability)), capability)[0]

    def code(self, capability: int) -> MachineCode:
        """The machine code itself."""
        return disassembled(_compiled(_Source(*self.source(capability)), capability)[1])

    def waves(self, capability: int) -> float:
        """How often all multiprocessors fill with its programs."""
        at_once = max(1, self.resources(capability).programs)
        return self.programs / (TARGETS[capability].number * at_once)

    def warps(self, capability: int) -> float:
        """Warps on a multiprocessor at once, as registers, shared memory and the number of programs allow."""
        taken, number = self.resources(capability), TARGETS[capability].number
        return taken.warps * min(taken.programs, self.programs / number)


@dataclass(frozen=True)
class Operation:
    """One call of PyTorch's own operators, which a vendor's kernel or PyTorch's serves."""

    operator: str  # of ours that calls it; nothing where the network does
    name: str
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    bytes: int  # of all tensors that go in and come out


class _Source:
    """Equal where the compiled kernels are."""

    def __init__(self, source: ASTSource, options: dict[str, Any]) -> None:
        self.source, self.options = source, options
        self.key = f"{source.hash()} {sorted(map(str, options.items()))}"

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Source) and self.key == other.key


@functools.cache
def _compiled(source: _Source, capability: int) -> tuple[Resources, bytes]:
    kernel = triton.compile(source.source, target=_target(capability), options=source.options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    registers, stack = (int(_found(rf"{what}:(\d+)", usage)) for what in ("REG", "STACK"))
    shared, warps = kernel.metadata.shared, kernel.metadata.num_warps
    programs = TARGETS[capability].resident(registers, shared, warps)
    return Resources(registers, stack, shared, warps, programs), kernel.asm["cubin"]


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, text
    return match[1]


def _target(capability: int) -> GPUTarget:
    return GPUTarget("cuda", capability, WARP)


class _HostFunctions(TorchDispatchMode):
    """Runs what launches kernels also where tensors are on the meta device, and writes down PyTorch's own operators."""

    def __init__(self, found: "Recording") -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func._schema.name
        function = HOST_FUNCTIONS.get(name)
        if function is None:
            result = func(*args, **(kwargs or {}))
            self.found.add_operation(func._schema, (args, kwargs), result)
            return result
        outer, self.found.operator = self.found.operator, self.found.operator or name
        try:
            with self:  # one may call another
                return function(*args, **(kwargs or {}))
        finally:
            self.found.operator = outer


class Recording:
    """What was launched and called, in order."""

    def __init__(self) -> None:
        self.everything: list[Launch | Operation] = []
        self.operator = ""  # the outermost of ours that runs

    @property
    def launches(self) -> list[Launch]:
        """What is known of our kernels."""
        return [one for one in self.everything if isinstance(one, Launch)]

    def add_operation(self, schema: Any, given: Any, result: Any) -> None:
        """Write down an operator that computes: no view and no allocation."""
        tensors, results = ([t for t in tree_leaves(x) if isinstance(t, Tensor)] for x in (given, result))
        views = any(r.alias_info is not None and not r.alias_info.is_write for r in schema.returns)
        if tensors and results and not views and not _FREE.fullmatch(schema.name):
            moved = sum(t.numel() * t.element_size() for t in (*tensors, *results))
            shapes = (tuple(tuple(t.shape) for t in ts) for ts in (tensors, results))
            self.everything.append(Operation(self.operator, schema.name, *shapes, moved))


# Nothing is computed; and maps are channels_last on a GPU, so that what is cloned for that here is not cloned there.
_FREE = re.compile(r"aten::(_unsafe_view|\w*empty\w*|detach|is_same_size|clone)")


@contextmanager
def recorded() -> Iterator[Recording]:
    """Write down what is launched and called inside, in order, and launch nothing.

    Raises:
        RuntimeError: If Triton interprets: kernels are then no kernels.
    """
    if os.environ.get("TRITON_INTERPRET", "0") not in ("", "0"):
        raise RuntimeError("TRITON_INTERPRET is set, and interpreted kernels cannot be compiled: unset it")
    found = Recording()

    def run(kernel: JITFunction[Any], /, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        given = {name: kwargs.pop(name) for name in kernel.arg_names if name in kwargs}
        bound = kernel.signature.bind(*args, **given)
        bound.apply_defaults()
        grid = grid(bound.arguments) if isinstance(grid, Callable) else tuple(grid)  # type: ignore[arg-type]
        found.everything.append(Launch(found.operator, kernel, grid, dict(bound.arguments), kwargs))

    never = patch.object(torch, "is_autocast_enabled", lambda *_: False)  # PyTorch refuses to say for this device
    with patch.object(JITFunction, "run", run), never, _HostFunctions(found):
        yield found


def of_network(name: str, side: int, batch: int, dtype: torch.dtype = torch.bfloat16) -> list[Launch | Operation]:
    """All that one inference of a network launches and calls, as `maxvit.optimize` makes it with the Triton kernels."""
    with torch.device("meta"):
        network = fold_for_inference(MaxViT(VARIANTS[name].resized(side)).to(dtype).eval())
        for part in network.modules():
            if isinstance(part, GroupAttention):
                part.bias = _FixedBias(part.size, part.bias())  # type: ignore[assignment]
        network.stem = TritonStem(network.stem)  # type: ignore[assignment]
        for stage in network.stages:
            assert isinstance(stage, torch.nn.Sequential)
            for i, block in enumerate(stage):
                stage[i] = TritonBlock(block)  # type: ignore[arg-type]
        network = network.to(memory_format=torch.channels_last)
        images = torch.empty(batch, 3, side, side, dtype=dtype).contiguous(memory_format=torch.channels_last)
    with recorded() as found, torch.no_grad():
        network(images)
    return found.everything


def of_training_step(name: str, side: int, batch: int, dtype: torch.dtype = torch.bfloat16) -> list[Launch | Operation]:
    """All that forward and backward of a network launch and call, as `maxvit.accelerate` makes it with these kernels.

    Parameters are in float32, as under autocast, but for those of PyTorch's own layers, which would cast them.
    """
    from maxvit.kernels.gpu.training import FORWARDS

    with torch.device("meta"):
        network = MaxViT(VARIANTS[name].resized(side)).train().to(memory_format=torch.channels_last)
        network.head.to(dtype)
        for part in network.modules():
            for kind, forward in FORWARDS.items():
                if isinstance(part, kind):
                    part.forward = functools.partial(forward, part)
            if isinstance(part, MBConv):
                part.shortcut.to(dtype)
            if isinstance(part, Stem):
                part.conv1.to(dtype)
                part.conv2.to(dtype)
        images = torch.empty(batch, 3, side, side, dtype=dtype).contiguous(memory_format=torch.channels_last)
    with recorded() as found:
        network(images).sum().backward()
    return found.everything
