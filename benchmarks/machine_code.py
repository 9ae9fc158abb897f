"""What a compiled kernel consists of: its instructions by kind, in its loops and outside of them.

NVIDIA documents the names of its instructions (CUDA Binary Utilities, "Instruction Set Reference").
"""

import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import triton

_INSTRUCTION = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:\{\s*)?(?:@!?U?P[T0-9]+\s+)?([A-Z0-9_.]+)\s*([^;]*);")
_LABEL = re.compile(r"^\.(L_x_\d+):")

# Cycles in which the unit of shared memory and the L1 cache is taken by an instruction of a warp, by width in bits.
_WAVEFRONTS = {"16": 1, "U16": 1, "32": 1, "64": 2, "128": 4}
_FLOATS = ("FFMA", "FMUL", "FADD", "FSETP", "FSEL", "FMNMX", "FCHK", "MUFU")
_GROUPS = {
    "tensors": "HGMMA|HMMA",
    "floats": "F(?!ENCE)|H|MUFU",
    "memory": "LD(?!C)|ST",
    "integers": "I|LEA|LOP|SHF|VIADD|PRMT|SEL|U",
}
_MEMORY = ("LDG", "STG", "LDGSTS", "LDS", "STS")


@dataclass(frozen=True)
class Instruction:
    """One instruction: where it is, its name with modifiers, such as LDG.E.128, and its arguments."""

    address: int
    name: str
    arguments: str

    @property
    def kind(self) -> str:
        """The name without modifiers."""
        return self.name.split(".")[0]

    @property
    def group(self) -> str:
        """What it is about: floats, integers, memory, tensors, or the rest."""
        return next((group for group, names in _GROUPS.items() if re.match(names, self.kind)), "rest")

    @property
    def global_bytes(self) -> int:
        """Bytes that a thread moves from or to global memory."""
        widths = [word.removeprefix("U") for word in self.name.split(".")]
        bits = next((int(word) for word in widths if word in ("8", "16", "64", "128")), 32)
        return bits // 8 if self.kind in ("LDG", "STG", "LDGSTS") else 0

    @property
    def wavefronts(self) -> int:
        """Cycles of shared memory and L1."""
        if self.kind in ("LDSM", "STSM"):
            return 1 if "M88" in self.name and not self.name.endswith((".2", ".4")) else int(self.name[-1])
        if self.kind in _MEMORY:
            return next((_WAVEFRONTS[word] for word in self.name.split(".") if word in _WAVEFRONTS), 1)
        return int(self.kind == "SHFL")


@dataclass(frozen=True)
class Loop:
    """A loop: its first and last address, and how many others it is in."""

    first: int
    last: int
    depth: int


@dataclass(frozen=True)
class MachineCode:
    """All instructions of a kernel, in order."""

    instructions: tuple[Instruction, ...]
    labels: dict[str, int]

    @cached_property
    def loops(self) -> tuple[Loop, ...]:
        """Jumps back to what is before, but for the endless one behind the last instruction."""
        found = set()
        for one in self.instructions:
            target = re.search(r"\.(L_x_\d+)", one.arguments) if one.kind == "BRA" else None
            if target and self.labels.get(target[1], one.address) < one.address:
                found.add((self.labels[target[1]], one.address))
        spans = sorted(found)
        return tuple(Loop(a, b, sum(c <= a and b <= d and (a, b) != (c, d) for c, d in spans)) for a, b in spans)

    def run(self, *trips: tuple[float, ...]) -> "Counter[Instruction]":
        """How often a warp issues each instruction, where the loops of each depth run so many times, in order.

        Loops beside the longest of their depth are what the compiler splits off; they count once. One that runs once is
        no loop in the code.
        """
        often: Counter[Instruction] = Counter(self.instructions)
        for depth, times in enumerate(trips):
            times = tuple(t for t in times if t != 1)
            loops = sorted(
                (loop for loop in self.loops if loop.depth == depth), key=lambda loop: loop.first - loop.last
            )
            for loop, number in zip(sorted(loops[: len(times)], key=lambda loop: loop.first), times, strict=False):
                for one in self.instructions:
                    if loop.first <= one.address <= loop.last:
                        often[one] *= number
        return often

    def floats_per_gelu(self) -> float | None:
        """Instructions on float32 numbers for each tanh, in the innermost loop that has one, or outside of all.

        With them are a bias that is added and what else an element takes. None: there is no tanh.
        """
        for loop in sorted(self.loops, key=lambda loop: -loop.depth):
            inside = [one for one in self.instructions if loop.first <= one.address <= loop.last]
            if any(one.name == "MUFU.TANH" for one in inside):
                break
        else:
            inside = list(self.instructions)
        tanh = sum(one.name == "MUFU.TANH" for one in inside)
        return sum(one.kind in _FLOATS for one in inside) / tanh if tanh else None

    def narrow_in_loops(self) -> int:
        """Accesses to global memory of fewer than four bytes a thread, in any loop."""
        inside = (one for one in self.instructions if any(x.first <= one.address <= x.last for x in self.loops))
        return sum(one.global_bytes in (1, 2) for one in inside)

    def number(self, *kinds: str) -> int:
        """Instructions of some kinds in the code, however often they run."""
        return sum(one.kind in kinds for one in self.instructions)


def disassembled(cubin: bytes) -> MachineCode:
    """Read a compiled kernel."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [triton.knobs.nvidia.nvdisasm.path, "-c", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return parse(text)


def parse(text: str) -> MachineCode:
    """Read what nvdisasm writes."""
    instructions, labels, waiting = [], {}, []
    for line in text.splitlines():
        if label := _LABEL.match(line.strip()):
            waiting.append(label[1])
        elif found := _INSTRUCTION.search(line):
            address = int(found[1], 16)
            labels |= dict.fromkeys(waiting, address)
            waiting = []
            instructions.append(Instruction(address, found[2], found[3].strip()))
    return MachineCode(tuple(instructions), labels)
