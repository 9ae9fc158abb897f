"""Times of contenders that take turns, by CUDA's events; what they answer and hold; and what the card can do.

Runs are launched one by one: where Python is slower than the card, its time is measured. A run that is a CUDA graph, as
an optimised network is, has the card's.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

import torch
from torch import Tensor

Answer = Tensor | tuple[Tensor, ...]
Run = Callable[[], Answer]
WARM_UPS = 3
SAMPLE_S = 0.005  # the least that is timed at once: events are good to a microsecond
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
    """

    contenders: dict[str, Callable[[], Run]]
    close: float
    flops: float
    bytes: float | None
    images: int


@dataclass
class Measured:
    """What was found of each contender: seconds of a run by round, peak bytes; or why there is nothing."""

    times_s: dict[str, list[float]] = field(default_factory=dict)
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


def measure(work: Work, device: torch.device, budget_s: float, deadline: float) -> Measured:
    """Make every contender, compare their answers, and let those that agree take turns.

    Args:
        work: The cell.
        device: That it runs on.
        budget_s: For the rounds.
        deadline: Deadline of `time.monotonic`, for everything.
    """
    found, runs, answers = Measured(), {}, {}
    for name, make in work.contenders.items():
        try:
            with limit(min(LONGEST_S, deadline - time.monotonic() - budget_s)):
                before = _held(device)
                run = make()
                answers[name] = tuple(t.detach().clone() for t in _tensors(run()))  # a graph writes over its own
                found.peak_bytes[name] = _peak(run, device, before)
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
    ready = {name: run for name, run in runs.items() if name not in found.missing}
    found.times_s = take_turns(ready, device, min(budget_s, deadline - time.monotonic()))
    return found


def take_turns(runs: dict[str, Run], device: torch.device, budget_s: float) -> dict[str, list[float]]:
    """Seconds of each in every round; every second round goes the other way round."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    if not runs:
        return times
    repeats = {name: min(100, 1 + int(SAMPLE_S / seconds(run, device, 1))) for name, run in runs.items()}
    end = time.monotonic() + budget_s
    for number in range(MOST_ROUNDS):
        if number >= FEWEST_ROUNDS and time.monotonic() > end:
            break
        for name in list(runs) if number % 2 else reversed(list(runs)):
            times[name].append(seconds(runs[name], device, repeats[name]))
    return times


def seconds(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Seconds of one run, from several in a row."""
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        return (time.perf_counter() - start) / repeats
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    first.record()
    for _ in range(repeats):
        run()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1e3 / repeats


def difference(given: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> float:
    """Root mean square of the difference over that of the right answer; the largest, of several tensors."""
    return max(float((a.float() - b.float()).norm() / b.float().norm()) for a, b in zip(given, right, strict=True))


def ceilings(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Bytes a second of a large copy, and operations a second of a large product of matrices."""
    side, number = (8192, 2**30) if device.type == "cuda" else (256, 2**20)
    source = torch.zeros(number // dtype.itemsize, device=device, dtype=dtype)
    a, b = torch.randn(2, side, side, device=device, dtype=dtype)
    target, product = torch.empty_like(source), torch.empty_like(a)
    times = take_turns(
        {"copy": lambda: target.copy_(source), "product": lambda: torch.mm(a, b, out=product)}, device, 2.0
    )
    return {
        "bytes_per_s": 2 * source.nbytes / min(times["copy"]),
        "flops_per_s": 2 * side**3 / min(times["product"]),
    }


def _held(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def _peak(run: Run, device: torch.device, before: int) -> int | None:
    """The most that is allocated in a run, weights included, beyond what was before them; after a warm-up."""
    for _ in range(WARM_UPS):
        run()
    if device.type != "cuda":
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats(device)
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated(device) - before


def _tensors(answer: Answer) -> tuple[Tensor, ...]:
    return (answer,) if isinstance(answer, Tensor) else answer


def reason(error: Exception) -> str:
    """What went wrong, in a line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
