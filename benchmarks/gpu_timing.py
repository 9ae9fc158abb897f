"""Times of contenders that take turns, by CUDA's events, in CUDA graphs; and what they answer and hold.

Runs that are launched one by one take as long as Python needs to launch them, where the card is faster. So each is
captured, and its graph is what is timed. How long a run takes without one is kept beside it.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from statistics import median
from types import FrameType

import torch
from gpu_setting import Cell, Result, Setting
from torch import Tensor

Answer = Tensor | tuple[Tensor, ...]
Run = Callable[[], Answer]
WARM_UPS = 3
SAMPLE_S = 0.002  # the least that is timed at once: events are good to a microsecond
MOST_CALLS = 50  # in a graph
LONGEST_S = 60.0  # for a contender to be ready: longer is left to the processes that compile beforehand
FEWEST_ROUNDS, MOST_ROUNDS = 5, 50


@dataclass(frozen=True)
class Work:
    """What the contenders of a cell do.

    Attributes:
        contenders: By name, ours first; each is made when its turn comes. The answer of the second one is the right
            one; where it has none, that of the next.
        close: Largest difference to it that others may have, see `difference`.
        flops: Operations of a run: multiplications and additions.
        bytes: That a run cannot but move; None: not counted.
        images: Images of a run.
        graphs: Names of contenders that are CUDA graphs by themselves; nothing else can be captured around those.
        longest_s: For a contender to be ready.
    """

    contenders: dict[str, Callable[[], Run]]
    close: float
    flops: float
    bytes: float | None
    images: int
    graphs: frozenset[str] = frozenset()
    longest_s: float = LONGEST_S


@dataclass
class Measured:
    """What was found of each contender, or why there is nothing.

    Attributes:
        times_s: Seconds of a run in a graph, by round.
        eager_s: Seconds of a run that Python launches, or that is a graph by itself.
        peak_bytes: The most that is held in a run without a graph.
        graph_bytes: What a graph holds for as long as there is one.
        differences: See `difference`.
        missing: Why a contender is not timed.
    """

    times_s: dict[str, list[float]] = field(default_factory=dict)
    eager_s: dict[str, float] = field(default_factory=dict)
    graph_bytes: dict[str, int] = field(default_factory=dict)
    peak_bytes: dict[str, int | None] = field(default_factory=dict)
    differences: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


class OutOfTime(Exception):
    """A contender was not ready when its time was up."""


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in the middle of what takes longer."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTime(f"not done in {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    timer = signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)  # somebody else's


def comparison(name: str, make: Callable[[Setting], Work], budget_s: float, ready_s: float) -> Cell:
    """A cell of contenders: so many seconds for the rounds, and for all to be ready."""

    def compare(setting: Setting, deadline: float) -> Result:
        work = make(setting)
        found = measure(work, setting, 0.2 if setting.dry else budget_s, deadline)
        facts = {"ours": next(iter(work.contenders)), "flops": work.flops, "bytes": work.bytes, "images": work.images}
        return facts | asdict(found)

    return Cell(name, compare, budget_s + ready_s)


def measure(work: Work, setting: Setting, budget_s: float, deadline: float) -> Measured:
    """Make every contender, compare their answers, and let those that agree take turns.

    Args:
        work: The contenders.
        setting: Where they run.
        budget_s: For the rounds.
        deadline: Deadline of `time.monotonic`, for everything.
    """
    found, runs, answers, device = Measured(), {}, {}, setting.device
    for name, make in work.contenders.items():
        try:
            with limit(min(work.longest_s, deadline - time.monotonic() - budget_s)):
                before = _held(device)
                run = make()
                answers[name] = tuple(t.detach().clone() for t in _tensors(run()))  # a graph writes over its own
                found.peak_bytes[name] = _peak(run, setting, before)
                runs[name] = run
        except Exception as error:  # of anybody's code: the others are timed nevertheless
            found.missing[name] = reason(error)
    right = next((name for name in list(work.contenders)[1:] if name in runs), None)
    if right is None:
        found.missing |= dict.fromkeys(runs, "not timed: there is no other answer to compare with")
    for name in runs if right is not None else ():
        found.differences[name] = difference(answers[name], answers[right])
        if not found.differences[name] <= work.close:
            found.missing[name] = f"not timed: its answer is {found.differences[name]:.1e} off that of {right}"
    ready = {}
    for name in (name for name in runs if name not in found.missing):
        try:
            ready[name] = _repeated(name, runs[name], work, setting, found)
        except Exception as error:  # what cannot be captured
            found.missing[name] = reason(error)
    found.times_s = take_turns(ready, setting, min(budget_s, deadline - time.monotonic()))
    return found


Repeated = tuple[Callable[[], object], int]  # something to run, and how many runs it is


def _repeated(name: str, run: Run, work: Work, setting: Setting, found: Measured) -> Repeated:
    """A run in a graph, as often as makes it long enough; without a card, the run itself."""
    times = sorted(seconds(run, setting.device, 1) for _ in range(setting.times(FEWEST_ROUNDS)))
    found.eager_s[name] = median(times)
    if setting.device.type != "cuda" or name in work.graphs:
        return run, 1
    before = torch.cuda.memory_reserved()
    repeated = in_graph(run, setting)
    found.graph_bytes[name] = torch.cuda.memory_reserved() - before
    return repeated


def in_graph(run: Callable[[], object], setting: Setting) -> Repeated:
    """The replay of a CUDA graph of some calls: what takes time is the card, never Python."""
    if setting.device.type != "cuda":
        return run, 1
    once = _captured(run, 1)
    calls = max(1, min(MOST_CALLS, int(SAMPLE_S / max(1e-6, seconds(once, setting.device, 1)))))
    return (once, 1) if calls == 1 else (_captured(run, calls), calls)


def _captured(run: Callable[[], object], calls: int) -> Callable[[], object]:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            run()
    return graph.replay


def take_turns(runs: dict[str, Repeated], setting: Setting, budget_s: float) -> dict[str, list[float]]:
    """Seconds of a run of each in every round; every second round goes the other way round."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.monotonic() + budget_s
    for number in range(MOST_ROUNDS if runs else 0):
        if number >= max(2, setting.times(FEWEST_ROUNDS)) and time.monotonic() > end:
            break
        for name in list(runs) if number % 2 else reversed(list(runs)):
            times[name].append(seconds(runs[name][0], setting.device, runs[name][1]))
    return times


def seconds(run: Callable[[], object], device: torch.device, runs: int) -> float:
    """Seconds of one of so many runs that a call makes."""
    if device.type != "cuda":
        start = time.perf_counter()
        run()
        return (time.perf_counter() - start) / runs
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    first.record()
    run()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1e3 / runs


def one_time(run: Callable[[], object], setting: Setting, budget_s: float) -> dict[str, float]:
    """Median and 20th percentile of the seconds of a run in a graph, and how many times that is."""
    times = sorted(take_turns({"it": in_graph(run, setting)}, setting, 0.0 if setting.dry else budget_s)["it"])
    return {"median_s": median(times), "p20_s": times[len(times) // 5], "rounds": len(times)}


def difference(given: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> float:
    """Root mean square of the difference over that of the right answer; the largest, of several tensors."""
    return max(float((a.float() - b.float()).norm() / b.float().norm()) for a, b in zip(given, right, strict=True))


def _held(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def _peak(run: Run, setting: Setting, before: int) -> int | None:
    """The most that is allocated in a run, weights included, beyond what was before them; after a warm-up."""
    if setting.device.type != "cuda":
        return None
    for _ in range(WARM_UPS):
        run()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats(setting.device)
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated(setting.device) - before


def _tensors(answer: Answer) -> tuple[Tensor, ...]:
    return (answer,) if isinstance(answer, Tensor) else answer


def reason(error: Exception) -> str:
    """What went wrong, in a line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
