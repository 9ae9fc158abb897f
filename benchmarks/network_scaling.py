"""Time per pixel of the whole optimised network, from small images to large, with the same windows.

One image a run; sizes take turns, so that what slows a whole round down cancels in the ratios.

    python benchmarks/network_scaling.py --out benchmarks/results/network_scaling_HARDWARE_YYYY-MM
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from note import table, write_note
from torch import Tensor

from maxvit import MaxViT, create_model, optimize
from maxvit.benchmark.record import paired_ratio, spread


@torch.inference_mode()
def seconds(network: MaxViT, images: Tensor) -> float:
    """The time of one forward."""
    start = time.perf_counter()
    network(images)
    return time.perf_counter() - start


def measure(network: MaxViT, sides: list[int], rounds: int) -> dict[int, list[float]]:
    """Nanoseconds a pixel of each side, round by round, after one round that warms up."""
    images = {side: torch.randn(1, 3, side, side) for side in sides}
    found: dict[int, list[float]] = {side: [] for side in sides}
    for _ in range(rounds + 1):
        for side in sides:
            found[side].append(seconds(network, images[side]) / side**2 * 1e9)
    return {side: values[1:] for side, values in found.items()}


def body(found: dict[int, list[float]], base: int) -> list[str]:
    """The result as Markdown."""
    rows = []
    for side, values in found.items():
        here, ratio = spread(values), paired_ratio(found[base], values)
        rows.append(
            [
                str(side),
                f"{here.median:.0f} ({here.p20:.0f} to {here.p80:.0f})",
                f"{ratio.median:.2f} ({ratio.p20:.2f} to {ratio.p80:.2f})",
            ]
        )
    return table(["image side", "ns a pixel (20th to 80th percentile)", f"times as long a pixel as at {base}"], rows)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write OUT.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, required=True, help="where to write, without the ending")
    parser.add_argument("--model", default="maxvit_tiny", help="a variant")
    parser.add_argument("--sides", type=int, nargs="+", default=[224, 448, 896, 1792], help="image sides")
    parser.add_argument("--base", type=int, default=448, help="the side that others are compared with")
    parser.add_argument("--rounds", type=int, default=7, help="timed forwards of each side, two at least")
    options = parser.parse_args(arguments)
    if options.base not in options.sides:
        parser.error(f"--base {options.base} is none of --sides {' '.join(map(str, options.sides))}")
    network = optimize(create_model(options.model))
    found = measure(network, options.sides, options.rounds)
    words = sys.argv[1:] if arguments is None else arguments
    windows = f"{options.model}, windows and grids of {network.config.window_size[0]}, {network.engine}"
    command = ["benchmarks/network_scaling.py", *words]
    written = write_note(options.out, __doc__ or "", body(found, options.base), command, facts={"network": windows})
    print(written.read_text())


if __name__ == "__main__":
    main()
