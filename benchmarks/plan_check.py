"""What `maxvit plan` computes, beside what is measured: memory and operations of training steps on this CPU.

Each case is trained in a process of its own, in plain PyTorch and fp32, with AdamW and the average of the weights,
after a step of a small network, so that libraries do not count. "Tensors" is the most that PyTorch's allocator held at
once in a step. "Resident" is the highest resident memory, less that before the network was made: what the system's
allocator does not give back counts too. Operations are those that PyTorch's counter sees in a step, but for the
gradient of a depthwise convolution's weights, which it counts as if every channel met every other. Nothing is fitted to
these figures.

    python benchmarks/plan_check.py --out benchmarks/results/plan_check_HARDWARE_YYYY-MM
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from attention_scaling import peak_bytes as peak_of_tensors
from note import circumstances
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from maxvit import create_model
from maxvit.benchmark.machine import forget_peak, peak_bytes, resident_bytes
from maxvit.errors import MaxViTError
from maxvit.plan.cost import PASSES
from maxvit.plan.devices import machine_memory_bytes, this_cpu
from maxvit.plan.memory import Memory, memory
from maxvit.summary import summarize
from maxvit.training.ema import Average
from maxvit.training.optim import make_optimizer


@dataclass(frozen=True)
class Case:
    """What is trained."""

    model: str
    side: int
    batch: int
    checkpointing: bool


CASES = [
    Case(model, side, batch, checkpointing)
    for model, side, batch in [("maxvit_micro", 32, 64), ("maxvit_micro", 64, 64), ("maxvit_tiny", 224, 4)]
    for checkpointing in (False, True)
]


def convolution_backward(grad: Any, x: Any, weight: Any, *rest: Any, out_shape: Any = None) -> int:
    """Operations of a convolution's backward, from shapes: as many as forward for each gradient that is wanted."""
    wanted = rest[7]  # of the input, of the weights, of the bias
    return 2 * prod(grad) * prod(weight[1:]) * (wanted[0] + wanted[1])


def prepare(case: Case) -> tuple[Callable[[], None], Callable[[], int]]:
    """A step of a new network, and the bytes that it keeps between steps."""
    network = create_model(case.model, image_size=case.side).train()
    network.set_gradient_checkpointing(case.checkpointing)
    optimizer, average = make_optimizer(network, 1e-3, 0.05), Average(network, 0.9999)
    images = torch.randn(case.batch, 3, case.side, case.side)
    labels = torch.randint(network.config.num_classes, (case.batch,))

    def step() -> None:
        cross_entropy(network(images), labels).backward()
        optimizer.step()
        average.update(network)
        optimizer.zero_grad()

    def kept() -> int:
        moments = [t for state in optimizer.state.values() for t in state.values()]
        tensors = [*network.state_dict().values(), *average.network.state_dict().values(), *moments]
        return sum(t.numel() * t.element_size() for t in tensors)

    return step, kept


def measure(case: Case) -> dict[str, int]:
    """Train a few steps in this process, which must be new."""
    prepare(Case("maxvit_micro", 32, 2, case.checkpointing))[0]()
    forget_peak()
    before = resident_bytes()
    step, kept = prepare(case)
    mapping = {torch.ops.aten.convolution_backward: convolution_backward}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        step()  # AdamW makes its moments here
    if before is None or not forget_peak():
        raise MaxViTError("this system does not count the peak of resident memory anew: run this on Linux")
    step()
    resident = (peak_bytes() or 0) - before
    return {"resident": resident, "tensors": kept() + peak_of_tensors(step), "flops": counter.get_total_flops()}


def compute(case: Case) -> tuple[Memory, float]:
    """What `maxvit plan` says of a step."""
    with torch.device("meta"):
        summary = summarize(create_model(case.model, image_size=case.side))
    here = this_cpu(1e11, machine_memory_bytes())
    flops = 2 * summary.multiply_adds * PASSES[case.checkpointing] * case.batch
    return memory(summary, case.batch, here, "fp32", case.checkpointing), flops


def row(case: Case, needed: Memory, flops: float, found: dict[str, int]) -> str:
    """One row of the page."""
    cells = [
        f"{case.model}, {case.batch} x {case.side}",
        "yes" if case.checkpointing else "no",
        *(f"{n / 1e6:,.0f}" for n in (needed.total, found["tensors"], found["resident"])),
        *(f"{needed.total / found[name]:.2f}" for name in ("tensors", "resident")),
        *(f"{n / 1e9:,.2f}" for n in (flops, found["flops"])),
        f"{flops / found['flops']:.3f}",
    ]
    return f"| {' | '.join(cells)} |"


def page(rows: list[str], facts: dict[str, str]) -> str:
    """The result as Markdown."""
    header = ["network, images", "checkpointing", "memory computed, MB", "tensors, MB", "resident, MB"]
    header += [
        "computed / tensors",
        "computed / resident",
        "operations computed, G",
        "counted, G",
        "computed / counted",
    ]
    lines = ["# A plan beside measurements", "", (__doc__ or "").split("    python", maxsplit=1)[0].strip(), ""]
    lines += [f"| {' | '.join(header)} |", "|---|---|" + "---:|" * (len(header) - 2), *rows, ""]
    return "\n".join([*lines, *(f"- {key}: {value}" for key, value in facts.items()), ""])


def main(arguments: list[str] | None = None) -> None:
    """Measure every case, and write OUT.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, help="where to write, without the ending")
    parser.add_argument("--models", nargs="+", default=["maxvit_micro", "maxvit_tiny"], help="of these cases only")
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)  # the child's
    options = parser.parse_args(arguments)
    if options.case is not None:
        print(json.dumps(measure(Case(**options.case))))
        return
    if options.out is None:
        parser.error("--out says where to write")
    rows = []
    for case in (case for case in CASES if case.model in options.models):
        child = [sys.executable, __file__, "--case", json.dumps(asdict(case))]
        found = json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        rows.append(row(case, *compute(case), found))
        print(rows[-1], file=sys.stderr)
    words = sys.argv[1:] if arguments is None else arguments
    facts = {
        **circumstances(["benchmarks/plan_check.py", *words], []),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    written = options.out.with_name(f"{options.out.name}.md")
    written.write_text(page(rows, facts))
    print(written)


if __name__ == "__main__":
    main()
