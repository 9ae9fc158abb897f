"""A process of its own for each contender: its threads, its memory and its crashes are not the others'."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, NamedTuple, Self

from maxvit.benchmark.job import Contender, Job
from maxvit.errors import MaxViTError

LONGEST_S = 1800  # to wait for one answer
TIDY_UP_S = 5
WARM_UPS = 2
ROUNDS_OF_A_PROCESS = 4  # then it starts again: where its memory happens to be can slow it by a third, all its life


class Failure(MaxViTError):
    """A contender that cannot go on; the message says why."""


class Operator(NamedTuple):
    """Where time goes: one operator of PyTorch, summed over its calls in one run.

    Attributes:
        name: As PyTorch calls it.
        calls: How many.
        seconds: In itself, without the operators that it calls; on CUDA: of its kernels.
        share: Share of the time of all.
    """

    name: str
    calls: int
    seconds: float
    share: float


class Worker:
    """The parent's end of a worker process, which ends when the block does.

    Args:
        contender: What it opens.
        job: What it runs.
    """

    def __init__(self, contender: Contender, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, contender, job), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, command: str, *arguments: object) -> Any:
        """Have a command done, and wait.

        Args:
            command: "export", "open", "answer", "warm_up", "time", "peak", "profile" or "matrix_product": see
                `_Bench`.
            arguments: For it.

        Raises:
            Failure: If it cannot be done, takes too long, or the process ended.
        """
        try:
            self._ours.send((command, arguments))
            if not self._ours.poll(LONGEST_S):
                self.close()
                raise Failure(f"no answer within {LONGEST_S} s")
            done, value = self._ours.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            raise Failure(_how_it_ended(self._process.exitcode)) from error
        if not done:
            raise Failure(value)
        return value

    def close(self) -> None:
        """End the process: it may tidy up, but not for long."""
        self._ours.close()
        self._process.join(TIDY_UP_S)
        self._process.kill()
        self._process.join()


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        why = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{why}"
    return f"its process ended with exit code {code}"


def _serve(connection: Connection, contender: Contender, job: Job) -> None:
    """The worker's life: one command after another, until the parent's end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends us
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler has nothing to say
    bench: _Bench | None = None
    while True:
        try:
            command, arguments = connection.recv()
        except EOFError:
            return
        try:
            bench = bench or _Bench(contender, job)
            connection.send((True, bench.commands[command](*arguments)))
        except Exception as error:
            connection.send((False, _sentence(error)))


def _sentence(error: Exception) -> str:
    """A message of ours as it is; of others the first line, with its kind."""
    text = str(error).strip()
    if isinstance(error, MaxViTError):
        return text
    return f"{type(error).__name__}: {text.splitlines()[0][:300]}" if text else type(error).__name__


class _Bench:
    """The worker's end: what it has opened, and what it can be asked."""

    def __init__(self, contender: Contender, job: Job) -> None:
        for module in contender.imports:
            import_module(module)
        import torch

        from maxvit.benchmark import machine, runners

        torch.set_num_threads(job.threads)
        torch.backends.cudnn.allow_tf32 = False  # fp32 is fp32
        self.contender, self.job = contender, job
        self.torch, self.machine, self.runners = torch, machine, runners
        self.runner: runners.Runner | None = None
        self.since_warm_up = False
        self.before = machine.resident_bytes()
        self.commands: dict[str, Callable[..., Any]] = {
            "export": self.export,
            "open": self.open,
            "answer": self.answer,
            "warm_up": self.warm_up,
            "time": self.time,
            "peak": self.peak,
            "profile": self.profile,
            "matrix_product": self.matrix_product,
        }

    def export(self) -> float:
        """Write the file. Returns the seconds that took."""
        assert self.contender.export is not None
        start = time.perf_counter()
        self.contender.export(self.job)
        return time.perf_counter() - start

    def open(self) -> float:
        """Get ready, up to the first run, in which some compile. Returns the seconds that took."""
        start = time.perf_counter()
        self.runner = self._make(self.job)
        self.runner.run()
        return time.perf_counter() - start

    def _make(self, job: Job) -> Any:
        return self.runners.make_runner(self.contender.open(job), job)

    def answer(self, number: int) -> Any:
        """What is compared: of training, a step that drops no paths."""
        if self.job.what == "training":
            return self._make(replace(self.job, drop_path=False)).answer(number)
        return self._ready().answer(number)

    def warm_up(self) -> None:
        """Run a few times, and count memory from here on."""
        for _ in range(WARM_UPS):
            self._ready().run()
        self.since_warm_up = self.machine.forget_peak()
        if self.job.device == "cuda":
            self.torch.cuda.reset_peak_memory_stats()

    def time(self, at_least: float = 0.0) -> float:
        """The seconds of a run: the mean of as many as take so long together, of one at least."""
        runner, runs = self._ready(), 0
        start = time.perf_counter()
        while not runs or time.perf_counter() - start < at_least:
            runner.run()
            runs += 1
        return (time.perf_counter() - start) / runs

    def peak(self) -> tuple[int | None, str]:
        """The most memory it took, in bytes, and what that is."""
        if self.job.device == "cuda":
            return self.torch.cuda.max_memory_allocated(), "allocated on the GPU"
        most = self.machine.peak_bytes()
        if most is None or self.before is None:
            return None, "this system does not say"
        return most - self.before, "resident" if self.since_warm_up else "resident, from the start on"

    def profile(self) -> list[Operator]:
        """Where the time of one run goes, the most first."""
        from torch.profiler import ProfilerActivity, profile

        runner, on_gpu = self._ready(), self.job.device == "cuda"
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
        with profile(activities=activities) as profiler:
            runner.run()
        events = profiler.key_averages()
        times = {e.key: (e.self_device_time_total if on_gpu else e.self_cpu_time_total) / 1e6 for e in events}
        whole = sum(times.values())
        rows = [Operator(e.key, e.count, times[e.key], times[e.key] / whole) for e in events if times[e.key] > 0]
        return sorted(rows, key=lambda row: -row.seconds)

    def matrix_product(self) -> float:
        """The machine's best, in operations a second: of no contender."""
        return self.machine.matrix_product_flops(self.job.device, self.job.precision)

    def _ready(self) -> Any:
        assert self.runner is not None, "open comes first"
        return self.runner
