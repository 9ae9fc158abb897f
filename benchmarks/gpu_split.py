"""Where the time of a network goes: each of its launches alone in a CUDA graph, and what the card's counters see."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from gpu_networks import CONTENDERS, GOALS, work_of
from gpu_setting import Cell, Result, Setting
from gpu_timing import one_time
from triton.runtime.interpreter import InterpretedFunction
from triton.runtime.jit import JITFunction

from maxvit.kernels.gpu.support import interpreted

OURS, COMPILED = "maxvit, Triton", "timm, compiled"
STEPS, MOST_KERNELS = 3, 80  # that are profiled, and that are named
PROFILE_S = 15.0  # that one takes, most of it to compile


def split_cells() -> Iterator[Cell]:
    """The goals' networks."""
    for variant, side, what, batch in GOALS:
        yield Cell(f"{variant} {side}, {what}", partial(_split, variant, side, what, batch), seconds=20.0)


def profile_cells() -> Iterator[Cell]:
    """The same, ours and timm's compiled."""
    for variant, side, what, batch in GOALS:
        for name in (OURS, COMPILED):
            measure = partial(_profile, name, variant, side, what, batch)
            yield Cell(f"{name}: {variant} {side}, {what}", measure, seconds=PROFILE_S)


def _run(name: str, variant: str, side: int, what: str, batch: int, setting: Setting) -> Callable[[], object]:
    work = work_of({name: CONTENDERS[what][name]}, variant, side, what, batch, "official", setting)
    return work.contenders[name]()


class Launched:
    """A launch that can be made again, on its own tensors."""

    def __init__(self, kernel: Any, grid: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.kernel, self.grid, self.arguments, self.named = kernel, grid, arguments, named

    @property
    def name(self) -> str:
        """The kernel, its grid, and its constants, by which launches are told apart."""
        given = dict(zip(self.kernel.arg_names, self.arguments, strict=False)) | self.named
        constants = " ".join(f"{k}={v}" for k, v in given.items() if isinstance(v, int | str))
        of = f"{self.kernel.__module__.rsplit('.', 1)[-1]}.{self.kernel.__name__}"
        return f"{of} {'x'.join(map(str, self.grid))} {constants}"

    def __call__(self) -> None:
        self.kernel.run(*self.arguments, grid=self.grid, warmup=False, **self.named)


@contextmanager
def written_down() -> Iterator[list[Launched]]:
    """Make all launches inside, and write them down; of those that are alike the first one keeps its tensors."""
    found: list[Launched] = []
    kind: Any = InterpretedFunction if interpreted() else JITFunction
    plain = kind.run

    def run(kernel: Any, *arguments: Any, grid: Any, warmup: bool, **named: Any) -> Any:
        one = Launched(kernel, grid, arguments, named)
        found.append(next((other for other in found if other.name == one.name), one))
        return plain(kernel, *arguments, grid=grid, warmup=warmup, **named)

    with patch.object(kind, "run", run):
        yield found


def _split(variant: str, side: int, what: str, batch: int, setting: Setting, deadline: float) -> Result:
    run = _run(OURS, variant, side, what, batch, setting)
    run()
    graphs = patch("maxvit.kernels.gpu.graphs.Graphs.__call__", lambda self, function, images: function(images))
    with graphs, written_down() as found:
        run()
    times, rows = Counter(one.name for one in found), {}
    for one in {one.name: one for one in found}.values():
        if time.monotonic() > deadline:
            rows[one.name] = {"times": times[one.name], "missing": "no time was left"}
            continue
        rows[one.name] = {"times": times[one.name], **one_time(one, setting, 0.06)}
        if setting.dry:
            break
    ours = sum(row["times"] * row["median_s"] for row in rows.values() if "median_s" in row)
    del found
    return {"whole": one_time(run, setting, 0.6), "launches_s": ours, "launches": rows}


def _profile(name: str, variant: str, side: int, what: str, batch: int, setting: Setting, deadline: float) -> Result:
    if not setting.compiles and name == COMPILED:
        return {"missing": "nothing is compiled in a dry run"}
    run = _run(name, variant, side, what, batch, setting)
    run()
    on_card = setting.device.type == "cuda"
    activity = torch.profiler.ProfilerActivity.CUDA if on_card else torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity]) as profiler:
        for _ in range(setting.times(STEPS)):
            run()
        if on_card:
            torch.cuda.synchronize()
    number: Counter[str] = Counter()
    seconds: defaultdict[str, float] = defaultdict(float)
    kind = torch.autograd.DeviceType.CUDA if on_card else torch.autograd.DeviceType.CPU
    for event in profiler.events() or ():
        if event.device_type == kind:
            label = event.name[:140]
            number[label] += 1
            seconds[label] += (event.device_time if on_card else event.self_cpu_time_total) / 1e6
    steps = setting.times(STEPS)
    rows = sorted(([n, number[n] / steps, seconds[n] / steps] for n in seconds), key=lambda row: -row[2])
    return {"seconds": sum(seconds.values()) / steps, "kernels": rows[:MOST_KERNELS]}
