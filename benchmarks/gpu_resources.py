"""What the Triton kernels take of a GPU, as compiled for it without one; and the least time each launch could take.

Every kernel is compiled to machine code as a launch would compile it, in bfloat16, at the shapes of every stage, for
compute capability 8.0 (A100) and 9.0 (H100). Registers are of a thread; a stack is what did not fit into them.
"Programs" is how many of them one multiprocessor holds at once, "waves" how often all multiprocessors fill.

Times are **predictions and no measurements**: the tensors of a launch, each moved once, at 3.0 TB/s; its operations at
790 TFLOP/s; the larger of the two. Both ceilings are assumed, of an H100. No kernel has run on a GPU for this page.

    python benchmarks/gpu_resources.py --out benchmarks/results/gpu_resources_YYYY-MM
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from gpu_kernels import KERNELS, Shape
from launches import TARGETS, Launch, Resources, recorded
from note import table, write_note
from torch import Tensor

from maxvit import storage
from maxvit.config import VARIANTS

BYTES_PER_S, FLOPS_PER_S = 3.0e12, 790e12  # assumed: an H100's, as measured on such a card
DTYPE = torch.bfloat16


# Multiplications and additions of products and filters in a launch, from its arguments by name; GELU and such are free.
FLOPS: dict[str, Callable[[dict[str, Any]], int]] = {
    "attention._forward": lambda a: 2 * 2 * a["groups"] * a["T"] ** 2 * a["N"] * a["D"],
    "attention_inference._attend": lambda a: 2 * 2 * a["groups"] * a["T"] ** 2 * a["N"] * a["D"],
    "attention._backward": lambda a: 5 * 2 * a["groups"] * a["T"] ** 2 * a["N"] * a["D"],  # scores are made again
    "layer_norm._layer_norm": lambda a: 0,
    "linear._normed_linear": lambda a: 2 * a["rows"] * a["C"] * a["C_OUT"],
    "product._product": lambda a: 2 * a["rows"] * a["C"] * a["C_OUT"],
    "shortcut._project_pooled": lambda a: 2 * a["rows"] * (a["C"] + a["C_IN"]) * a["C_OUT"],
    "squeeze._squeeze": lambda a: 2 * a["images"] * a["C"] * a["S"],
    "squeeze._excite": lambda a: 2 * a["images"] * a["C"] * a["S"],
    "stem._convolve": lambda a: 2 * 9 * a["out"].numel() * a["INPUTS"],
    "feedforward._feedforward": lambda a: 2 * 2 * a["rows"] * a["C"] * a["HIDDEN"],
    "feedforward._gelu_pair": lambda a: 0,
    "depthwise._filter": lambda a: 2 * 9 * a["out"].numel(),
    "depthwise_training._forward": lambda a: 2 * 9 * a["out"].numel(),
    "depthwise_training._backward": lambda a: 2 * 2 * 9 * a["grad"].numel(),
    "excitation._pool": lambda a: 0,
    "excitation._scale_gradient": lambda a: 0,
    "normalization._apply": lambda a: 0,
    "normalization._sums": lambda a: 0,
    "normalization._input_gradient": lambda a: 0,
    "normalization._totals": lambda a: 0,
    "statistics._moments": lambda a: 0,
    "statistics._statistics": lambda a: 0,
}


@dataclass(frozen=True)
class Row:
    """A launch, and what its kernel takes by compute capability."""

    use: str
    kernel: str
    network: str
    side: int
    stage: int
    map: Shape  # that goes in
    programs: int
    bytes: int
    flops: int | None  # None: nobody has counted them, see FLOPS
    resources: dict[int, Resources]

    @property
    def seconds(self) -> float:
        """The least that the ceilings allow: a prediction."""
        return max(self.bytes / BYTES_PER_S, (self.flops or 0) / FLOPS_PER_S)


def launches(network: str, side: int, stage: int, batch: int) -> Iterator[tuple[str, Shape, Launch]]:
    """What every row of `gpu_kernels.KERNELS` launches in a stage, forward and backward; stages count from 1."""
    config = VARIANTS[network].resized(side)
    for kernel in KERNELS:
        with torch.device("meta"):
            layer, shape, _ = kernel.prepare(config, stage, batch, DTYPE)
            x = torch.empty(shape, dtype=DTYPE)
        if kernel.autocast:  # which casts for PyTorch's operators, and does not know this device
            layer.shortcut.to(DTYPE)
        with recorded() as found:
            if kernel.inference:
                kernel.ours(layer, x)
            if kernel.training:
                result = kernel.ours(layer, x.detach().requires_grad_())
                assert isinstance(result, Tensor)
                result.sum().backward()
        for launch in found.launches:
            yield kernel.name, shape, launch


def rows(network: str, side: int, stage: int, batch: int, capabilities: Iterable[int]) -> Iterator[Row]:
    """Compile all that a stage launches."""
    for use, shape, launch in launches(network, side, stage, batch):
        count = FLOPS.get(launch.name)
        flops = count and count(launch.arguments)
        resources = {c: launch.resources(c) for c in capabilities}
        yield Row(use, launch.name, network, side, stage, shape, launch.programs, launch.bytes, flops, resources)


def misfits(found: list[Row]) -> list[str]:
    """Kernels that spill, or want more shared memory than there is: where, and by how much at the most."""
    lines = []
    for kernel in sorted({row.kernel for row in found}):
        for capability, limits in TARGETS.items():
            own = [row for row in found if row.kernel == kernel and capability in row.resources]
            bad = [r for r in own if r.resources[capability].misfit(limits)]
            if bad:
                stack = max(r.resources[capability].stack for r in bad)
                shared = max(r.resources[capability].shared for r in bad)
                at = list(dict.fromkeys(f"{r.network.removeprefix('maxvit_')} {r.side}, stage {r.stage}" for r in bad))
                some = "; ".join(at[:2]) + (f"; {len(at) - 2} more" if len(at) > 2 else "")
                lines.append([f"`{kernel}`", f"{capability / 10:.1f}", f"{stack}", f"{shared}", some])
    return table(["kernel", "capability", "stack up to", "shared up to", "where"], lines) if lines else ["Nothing."]


def overview(found: list[Row]) -> list[str]:
    """The most that each kernel takes at any shape."""
    lines = []
    for kernel in dict.fromkeys(row.kernel for row in found):
        for capability in found[0].resources:
            every = [row.resources[capability] for row in found if row.kernel == kernel]
            cells = [
                f"{min(values)} to {max(values)}" if min(values) < max(values) else f"{min(values)}"
                for values in (
                    [r.registers for r in every],
                    [r.stack for r in every],
                    [r.shared for r in every],
                    [r.warps for r in every],
                    [r.programs for r in every],
                )
            ]
            lines.append([f"`{kernel}`", f"{capability / 10:.1f}", *cells])
    return table(["kernel", "capability", "registers", "stack, bytes", "shared, bytes", "warps", "programs"], lines)


def predictions(found: list[Row]) -> list[str]:
    """Each launch once: those that differ in nothing shown here are one row."""
    lines = {}
    newest = max(found[0].resources)
    for row in found:
        r = row.resources[newest]
        flops = ["-", "-"] if row.flops is None else [f"{row.flops / 1e9:.2f}", f"{row.flops / row.bytes:.0f}"]
        batch, height, width, channels = row.map
        waves = row.programs / (TARGETS[newest].number * max(1, r.programs))
        at = f"{row.network.removeprefix('maxvit_')} {row.side}, stage {row.stage}"
        cells = [f"`{row.kernel}`", at, f"{batch} x {height} x {width} x {channels}"]
        cells += [f"{n}" for n in (r.registers, r.stack, r.shared, r.programs)]
        cells += [f"{row.programs}", f"{waves:.2f}", f"{row.bytes / 1e6:.1f}", *flops, f"{row.seconds * 1e6:.1f}"]
        lines[tuple(cells)] = cells
    head = ["kernel", "network", "map", "registers", "stack", "shared", "programs", "launched", "waves"]
    return table([*head, "MB", "GFLOP", "FLOP/byte", "least time, us"], sorted(lines.values(), key=lambda c: c[0]))


def main(arguments: list[str] | None = None) -> None:
    """Compile, and write OUT.md and OUT.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, required=True, help="where to write, without the ending")
    parser.add_argument("--networks", nargs="+", default=["maxvit_tiny", "maxvit_base"], help="whose shapes")
    parser.add_argument("--sides", type=int, nargs="+", default=[224, 384, 512], help="of images")
    parser.add_argument("--stages", type=int, nargs="+", default=[1, 2, 3, 4], help="which of them")
    parser.add_argument("--batch", type=int, default=64, help="images")
    parser.add_argument("--capabilities", type=int, nargs="+", default=sorted(TARGETS), choices=sorted(TARGETS))
    options = parser.parse_args(arguments)
    found = []
    for network in options.networks:
        for side in options.sides:
            for stage in options.stages:
                found += rows(network, side, stage, options.batch, options.capabilities)
                print(f"{network} {side}, stage {stage}: {len(found)} launches", file=sys.stderr, flush=True)
    storage.write_text(options.out.with_name(f"{options.out.name}.json"), _json(found))
    body = ["## What does not fit", "", *misfits(found), ""]
    body += ["## What a kernel takes", "", *overview(found), ""]
    shown = [row for row in found if row.side == options.sides[0]]
    body += [f"## Launch by launch at {options.sides[0]}, capability {max(found[0].resources) / 10:.1f}", ""]
    body += [*predictions(shown), "", "Launches at other sides are in the JSON file beside this page."]
    words = sys.argv[1:] if arguments is None else arguments
    print(write_note(options.out, __doc__ or "", body, ["benchmarks/gpu_resources.py", *words], ["triton"]))


def _json(found: list[Row]) -> str:
    records = [{**asdict(row), "predicted_seconds": row.seconds} for row in found]
    return json.dumps({"assumed": {"bytes_per_s": BYTES_PER_S, "flops_per_s": FLOPS_PER_S}, "launches": records}) + "\n"


if __name__ == "__main__":
    main()
