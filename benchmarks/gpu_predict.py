"""Predicted time of every launch of a network on an H200, from its machine code, without one.

Every kernel is compiled for compute capability 9.0 as a launch would compile it. Its instructions, times the trips of
its loops, and its bytes and operations give the least time that each unit of the card needs: memory, tensor cores,
issue of instructions, special functions (MUFU), and shared memory with the L1 cache. A unit reaches a share of its
peak that depends on how many warps a multiprocessor holds, counted with registers, shared memory and the grid. The
slowest unit is the prediction. Operators of PyTorch are taken as bytes and operations at a share of the peak.

The peaks of memory and tensor cores are those measured on an H200 (gpu_h200_2026-11.md). The shares were fitted to that
run: to four rows of MBConv's hidden map and to three whole networks, with the kernels of that time. So all times are
**predictions and no measurements**: a network's within about a quarter, a launch's within about a third.

    python benchmarks/gpu_predict.py --out benchmarks/results/gpu_predicted_YYYY-MM [--before OTHER.json]
"""

import argparse
import json
import re
import sys
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from math import ceil, prod
from pathlib import Path
from typing import Any

import triton
from gpu_resources import FLOPS
from launches import TARGETS, WARP, Launch, Operation, of_network, of_training_step
from machine_code import Instruction
from note import table, write_note

from maxvit import storage

CAPABILITY = 90
CLOCK_HZ, BYTES_PER_S, FLOPS_PER_S = 1.85e9, 4.25e12, 766e12
SCHEDULERS = 4  # of a multiprocessor; each issues an instruction a cycle
MUFU_CYCLES = 2  # that a warp's special functions take of a multiprocessor
LAUNCH_S = 2e-6  # until the first program runs, in a graph
SHARES = (
    (0.0, 0.0),
    (4.0, 0.21),
    (5.2, 0.22),
    (8.0, 0.37),
    (16.0, 0.53),
    (24.0, 0.6),
    (64.0, 0.65),
)  # by warps: fitted
# A unit's share of its peak, over the share of the issue slots, and the most of it.
UNITS = {
    "memory": (1.45, 0.8),
    "tensor": (1.0, 1.0),
    "issue": (1.0, 1.0),
    "special": (1.4, 0.8),
    "shared": (1.2, 0.75),
}
# Images of a batch, by network and side; of a training step.
NETWORKS = {
    ("maxvit_tiny", 224): 256,
    ("maxvit_base", 384): 64,
    ("maxvit_tiny", 512): 64,
    ("maxvit_tiny", 384): 128,
    ("maxvit_base", 224): 256,
    ("maxvit_base", 512): 64,
}
TRAINED = {("maxvit_tiny", 224): 128}
# By the first version of the kernels (gpu_h200_2026-11.md): the networks that a page is about, if none are named.
MEASURED_S = {"maxvit_tiny 224": 27.351e-3, "maxvit_base 384": 88.984e-3, "maxvit_tiny 512": 46.471e-3}

# How often the loops of a kernel run, those of each depth in order, the outer depth first.
TRIPS: dict[str, Callable[[dict[str, Any]], tuple[tuple[int, ...], ...]]] = {
    "attention._forward": lambda a: ((a["each"],), (a["CHUNKS"],)),
    "attention_inference._attend": lambda a: ((a["each"],),),
    "attention._backward": lambda a: ((a["each"],),),
    "depthwise._filter": lambda a: ((a["each"],),),
    "depthwise_training._backward": lambda a: ((a["each"],), (a["high"],)),
    "depthwise_training._forward": lambda a: ((a["each"],), (a["high"],)),
    "excitation._pool": lambda a: ((ceil(a["each"] / a["ROWS"]),),),
    "excitation._scale_gradient": lambda a: ((ceil(a["each"] / a["ROWS"]),),),
    "feedforward._gelu_pair": lambda a: (),
    "feedforward._feedforward": lambda a: ((ceil(a["HIDDEN"] / a["BLOCK_H"]),),),
    "layer_norm._layer_norm": lambda a: (),
    "linear._normed_linear": lambda a: ((ceil(a["C_OUT"] / a["BLOCK_N"]),),),
    "normalization._apply": lambda a: ((ceil(a["each"] / a["ROWS"]),),),
    "normalization._input_gradient": lambda a: ((ceil(a["each"] / a["ROWS"]),),),
    "normalization._totals": lambda a: ((ceil(a["parts"] / a["PARTS"]),),),
    "normalization._sums": lambda a: ((ceil(a["each"] / a["ROWS"]),),),
    "product._product": lambda a: ((ceil(a["C"] / a["BLOCK_K"]),),),
    "shortcut._project_pooled": lambda a: ((ceil(a["C"] / a["BLOCK_K"]), ceil(a["C_IN"] / a["BLOCK_P"])),),
    "squeeze._squeeze": lambda a: ((ceil(a["C"] / a["BLOCK_C"]),), (ceil(a["parts"] / a["PARTS"]),)),
    "squeeze._excite": lambda a: (),
    "statistics._moments": lambda a: ((ceil(a["each"] / a["ROWS"]),),),
    "statistics._statistics": lambda a: ((ceil(a["parts"] / a["PARTS"]),),),
    "stem._convolve": lambda a: ((ceil(9 * a["INPUTS"] / a["TAPS"]),),),
}
GROUPS = ("floats", "integers", "memory", "tensors")  # of instructions
LINEAR = {"aten::linear": 0, "aten::_addmm_activation": 1}  # and which tensor of theirs is multiplied


@dataclass(frozen=True)
class Prediction:
    """A launch or an operator, and what it will take.

    Attributes:
        part: Part of the network that it belongs to.
        name: Name of the kernel or operator.
        shape: What tells it from others of the name.
        units_s: Least time of each unit.
        seconds: The predicted time.
        facts: What the compiler made of a kernel, and how it fills the card; nothing for PyTorch's operators.
    """

    part: str
    name: str
    shape: str
    bytes: int
    units_s: dict[str, float]
    seconds: float
    facts: dict[str, float]


def share(warps: float) -> float:
    """Share of the issue slots that so many warps on a multiprocessor fill."""
    at = min(bisect([w for w, _ in SHARES], warps), len(SHARES) - 1)
    (w0, s0), (w1, s1) = SHARES[at - 1], SHARES[at]
    return s0 + (s1 - s0) * (min(warps, w1) - w0) / (w1 - w0)


def of_launch(launch: Launch, training: bool = False) -> Prediction:
    """Predict a launch of one of our kernels."""
    instructions, wavefronts, special, facts = _counted(_Same(launch))
    every = facts["instructions"] * facts["warps"] * WARP * launch.programs  # of threads
    if "out" in launch.arguments:
        facts = {**facts, "instructions an output": every / launch.arguments["out"].numel()}
    number = TARGETS[CAPABILITY].number
    per_s = facts["warps"] * launch.programs / (number * CLOCK_HZ)
    units = {
        "memory": launch.bytes / BYTES_PER_S,
        "tensor": FLOPS[launch.name](launch.arguments) / FLOPS_PER_S,
        "issue": instructions * per_s / SCHEDULERS,
        "special": special * MUFU_CYCLES * per_s,
        "shared": wavefronts * per_s,
    }
    full = share(facts["resident warps"])
    seconds = max(units[unit] / min(most, factor * full) for unit, (factor, most) in UNITS.items())
    persistent = launch.name.startswith("attention")  # programs are long: a last wave that is not full costs
    if persistent and facts["waves"] > 1:
        seconds *= ceil(facts["waves"]) / facts["waves"]
    return Prediction(
        _part(launch, training), launch.name, _shape(launch), launch.bytes, units, seconds + LAUNCH_S, facts
    )


def _shape(launch: Launch) -> str:
    named = {k: v for k, v in launch.arguments.items() if k.isupper() and isinstance(v, int | str)}
    return f"{'x'.join(map(str, launch.grid))} " + " ".join(f"{k}={v}" for k, v in named.items())


class _Same:
    """Launches that are alike but for their tensors' addresses."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        plain = sorted((k, str(v)) for k, v in launch.arguments.items() if isinstance(v, int | float | str))
        self.key = f"{launch.name} {launch.grid} {plain} {launch.options}"

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.key == other.key


@cache
def _counted(same: _Same) -> tuple[float, float, float, dict[str, float]]:
    """Instructions, wavefronts and special functions of a warp; and the facts."""
    launch = same.launch
    code, taken = launch.code(CAPABILITY), launch.resources(CAPABILITY)
    depths = 1 + max((loop.depth for loop in code.loops), default=-1)  # a loop that runs once may be gone
    run: Counter[Instruction] = code.run(*TRIPS[launch.name](launch.arguments)[-depths:])
    facts = {
        "registers": taken.registers,
        "stack": taken.stack,
        "shared": taken.shared,
        "warps": taken.warps,
        "programs": taken.programs,
        "resident warps": launch.warps(CAPABILITY),
        "waves": launch.waves(CAPABILITY),
        "instructions": run.total(),
        **{group: float(sum(n for one, n in run.items() if one.group == group)) for group in GROUPS},
        "calls": code.number("CALL"),
        "narrow in loops": code.narrow_in_loops(),
        "share of wide": sum(16 * n for one, n in run.items() if one.global_bytes == 16)
        / sum(one.global_bytes * n for one, n in run.items()),  # of the bytes that go to and from memory
        "floats per GELU": code.floats_per_gelu() or 0.0,
    }
    wavefronts = sum(one.wavefronts * times for one, times in run.items())
    special = sum(times for one, times in run.items() if one.kind == "MUFU")
    return run.total(), wavefronts, special, facts


def of_operation(operation: Operation, training: bool = False) -> Prediction:
    """Predict an operator of PyTorch by rules of thumb."""
    memory, flops, of_memory, of_flops, start = operation.bytes / BYTES_PER_S, 0, 0.75, 0.7, 3e-6
    if operation.name == "aten::convolution":
        _, weight, *_ = operation.inputs
        flops = 2 * prod(operation.outputs[0]) * prod(weight[1:])
        of_memory, of_flops, start = (
            (0.7, 0.45 if weight[1] >= 32 else 0.06, 4e-6) if weight[2] == 3 else (0.6, 0.5, 6e-6)
        )
    elif operation.name in LINEAR:
        flops, of_memory = 2 * prod(operation.outputs[0]) * operation.inputs[LINEAR[operation.name]][-1], 0.8
    elif operation.name in ("aten::mm", "aten::addmm", "aten::bmm"):
        flops, of_memory = 2 * prod(operation.outputs[0]) * operation.inputs[-2][-1], 0.8
    elif operation.name == "aten::convolution_backward":
        weight = operation.inputs[2]  # after the gradient and the input: two products of the forward's size
        flops = 4 * prod(operation.inputs[0]) * prod(weight[1:])
        of_memory, of_flops, start = (
            (0.7, 0.45 if weight[1] >= 32 else 0.06, 8e-6) if weight[2] == 3 else (0.6, 0.5, 9e-6)
        )
    elif operation.name == "aten::avg_pool2d":
        of_memory = 0.4
    units = {"memory": memory, "tensor": flops / FLOPS_PER_S}
    seconds = max(memory / of_memory, units["tensor"] / of_flops) + start
    shape = " ".join("x".join(map(str, s)) for s in (*operation.inputs[:1], *operation.outputs[:1]))
    return Prediction(_part(operation, training), operation.name, shape, operation.bytes, units, seconds, {})


PARTS = {
    "maxvit::group_attention": "attention",
    "maxvit::group_attention_fixed": "attention",
    "maxvit::normed_linear": "norm, Q K V",
    "maxvit::feedforward": "feed-forward",
    "maxvit::convolved": "stem",
    "maxvit::excited": "squeeze-and-excite, head",
    "maxvit::projected_pooled": "MBConv, project",
    "maxvit::activated": "MBConv, expand and filter",
    "maxvit::filtered": "MBConv, expand and filter",
    # in training
    "maxvit::batch_statistics": "batch norms' statistics",
    "maxvit::norm_expand": "MBConv, expand",
    "maxvit::norm_expand_gradient": "MBConv, expand, backward",
    "maxvit::norm_depthwise": "MBConv, filter",
    "maxvit::norm_depthwise_gradient": "MBConv, filter, backward",
    "maxvit::excite_project": "MBConv, excite and project",
    "maxvit::excite_project_gradient": "MBConv, excite and project, backward",
    "maxvit::group_attention_gradient": "attention, backward",
    "maxvit::gelu_pair": "feed-forward, GELU backward",
    "maxvit::normalized": "stem",
    "maxvit::normalized_gradient": "stem",
}
# PyTorch's operators in training, by the ending of their names; the shortcuts' are among them.
TRAINING_PARTS = {"mm": "products by PyTorch", "addmm": "products by PyTorch", "convolution": "convolutions by PyTorch"}
TRAINING_PARTS |= {"convolution_backward": "convolutions by PyTorch"}


def _part(one: Launch | Operation, training: bool) -> str:
    if one.operator == "maxvit::projected":
        scaled = isinstance(one, Launch) and one.arguments["SCALED"]
        return PARTS["maxvit::projected_pooled"] if scaled else "attention, projection"
    if one.operator:
        return PARTS[one.operator]
    assert isinstance(one, Operation)
    if training:
        return TRAINING_PARTS.get(one.name.split("::")[1], "sums, casts, norms by PyTorch")
    convolves = one.name == "aten::convolution"
    if (convolves and one.inputs[1][2] == 3) or one.name in ("aten::gelu", "aten::constant_pad_nd"):
        return "stem"
    return "squeeze-and-excite, head"


def predicted(network: str, side: int, batch: int, training: bool, only: str = "") -> list[Prediction]:
    """All that an inference or a step launches and calls, in order; of launches those that match by their shape."""
    found = []
    for one in (of_training_step if training else of_network)(network, side, batch):
        if isinstance(one, Operation):
            found.append(of_operation(one, training))
        elif re.search(only, f"{one.name} {_shape(one)}"):
            found.append(of_launch(one, training))
    return found


def _alike(found: list[Prediction]) -> list[dict[str, Any]]:
    """Each once, with how often it comes, and numbers of four digits."""
    times = Counter((one.part, one.name, one.shape) for one in found)
    first = {(one.part, one.name, one.shape): one for one in reversed(found)}
    return [{"times": times[key], **_short(asdict(first[key]))} for key in times]


def _short(record: dict[str, Any]) -> dict[str, Any]:
    cut = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in record.items()}
    return {k: _short(v) if isinstance(v, dict) else v for k, v in cut.items()}


def by_part(found: dict[str, list[dict[str, Any]]], before: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Milliseconds of each part of each network, and the megabytes that an image moves."""
    versions = {}
    for key, rows in found.items():
        versions |= {f"{key}, before": before[key]} if key in before else {}
        versions[key] = rows
    parts = dict.fromkeys(row["part"] for rows in versions.values() for row in rows)
    sums = [_sums(rows) for rows in versions.values()]
    lines = [[part, *(f"{of[part] * 1e3:.2f}" for of in sums)] for part in parts]
    lines.append(["all", *(f"{sum(of.values()) * 1e3:.2f}" for of in sums)])
    first = (MEASURED_S.get(key.removesuffix(", before")) if key.endswith("before") else None for key in versions)
    lines.append(["measured", *("-" if seconds is None else f"{seconds * 1e3:.2f}" for seconds in first)])
    images = {_key(*case, trained): batch for case, batch, trained in _CASES}
    moved = {key: sum(row["bytes"] * row["times"] for row in rows) for key, rows in versions.items()}
    per_image = (total / images[key.removesuffix(", before")] / 1e6 for key, total in moved.items())
    lines.append(["MB an image", *(f"{megabytes:.0f}" for megabytes in per_image)])
    return table(["part, ms", *versions], lines)


_CASES = [*((*case, False) for case in NETWORKS.items()), *((*case, True) for case in TRAINED.items())]


def _key(network: str, side: int, training: bool) -> str:
    return f"{network} {side}" + ", training" * training


def _sums(rows: list[dict[str, Any]]) -> defaultdict[str, float]:
    sums: defaultdict[str, float] = defaultdict(float)
    for row in rows:
        sums[row["part"]] += row["times"] * row["seconds"]
    return sums


TAKEN = ("registers", "stack", "shared", "warps", "instructions")


def launch_by_launch(rows: list[dict[str, Any]]) -> list[str]:
    """Each launch of our kernels and each operator of PyTorch once, with how often it is made."""
    lines = []
    for row in rows:
        facts = row["facts"]
        cells = [f"{facts[k]:.0f}" if k in facts else "-" for k in (*TAKEN, *GROUPS)]
        cells += [f"{facts[k]:.1f}" if facts else "-" for k in ("resident warps", "waves")]
        cells += [f"{row['bytes'] / 1e6:.0f}", *(f"{row['units_s'].get(unit, 0.0) * 1e6:.0f}" for unit in UNITS)]
        lines.append([f"`{row['name']}`", row["shape"], f"{row['times']}", *cells, f"{row['seconds'] * 1e6:.0f}"])
    head = ["kernel or operator", "grid and constants", "times", *TAKEN, *GROUPS, "warps an SM", "waves", "MB"]
    return table([*head, *(f"{u}, us" for u in UNITS), "predicted, us"], lines)


def main(arguments: list[str] | None = None) -> None:
    """Predict, and write OUT.md and OUT.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, required=True, help="where to write, without the ending")
    parser.add_argument("--before", type=Path, help="a file of this script from other kernels, to show beside")
    parser.add_argument("--networks", nargs="+", default=list(MEASURED_S), help="such as 'maxvit_tiny 224, training'")
    parser.add_argument("--only", default="", help="compile launches alone whose kernel and constants match this")
    options = parser.parse_args(arguments)
    found = {}
    for (network, side), batch, training in _CASES:
        if (key := _key(network, side, training)) in options.networks:
            found[key] = _alike(predicted(network, side, batch, training, options.only))
            print(f"{key}: {sum(_sums(found[key]).values()) * 1e3:.2f} ms predicted", file=sys.stderr, flush=True)
    before = json.loads(options.before.read_text())["networks"] if options.before else {}
    content = {"triton": triton.__version__, "networks": found}
    storage.write_text(options.out.with_name(f"{options.out.name}.json"), json.dumps(content) + "\n")
    body = ["## By part of the network", "", *by_part(found, {k: before[k] for k in found if k in before}), ""]
    for key, rows in found.items():
        for title, some in [(f"{key}, before", before.get(key, [])), (key, rows)]:
            body += [f"## {title}", "", *launch_by_launch(some), ""] if some else []
    words = sys.argv[1:] if arguments is None else arguments
    print(write_note(options.out, __doc__ or "", body, ["benchmarks/gpu_predict.py", *words], ["triton"]))


if __name__ == "__main__":
    main()
