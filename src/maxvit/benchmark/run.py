"""The benchmark: every contender in a process of its own, compared with the plain network, then timed in turn."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import torch

from maxvit.benchmark import machine
from maxvit.benchmark.busy import busy_processes
from maxvit.benchmark.compare import Agreement, compare, why_refused
from maxvit.benchmark.job import Contender, Job, Weights, What
from maxvit.benchmark.ours import OURS
from maxvit.benchmark.plan import Plan
from maxvit.benchmark.record import Case, Entry, NotMeasured, Pair, Record, paired_ratio, spread
from maxvit.benchmark.runners import Answer
from maxvit.benchmark.weights import write_images, write_weights
from maxvit.benchmark.worker import ROUNDS_OF_A_PROCESS, Failure, Worker
from maxvit.config import MaxViTConfig, Size
from maxvit.create import create_model
from maxvit.errors import MaxViTError, say_missing
from maxvit.kernels.cpu.threads import limit_threads
from maxvit.summary import summarize

PAUSE_S = 0.1  # between two runs: threads that wait for work by spinning have gone to sleep then
BUSY_S = 1.0  # of runs beside busy processes, which take turns with ours every few milliseconds
INEXACT_IMAGES = 32  # to compare contenders whose answers may differ
Say = Callable[[str], None]


@dataclass(slots=True)
class _Runner:
    """A contender that may be timed, and what is known of it so far."""

    contender: Contender
    job: Job
    ours: bool
    worker: Worker
    agreement: Agreement
    open_s: float
    export_s: float | None
    seconds: list[float]
    busy_seconds: list[float]
    failed: bool
    peaks: list[tuple[int | None, str]]  # one of each process, as `Worker` gives them


def benchmark(
    plan: Plan,
    command: str = "",
    say: Say = lambda sentence: None,
    keep: Callable[[Record], object] = lambda record: None,
) -> Record:
    """Measure.

    Args:
        plan: What.
        command: What was typed, for the record.
        say: Is told, in sentences, what happens.
        keep: Is given what is known after every case, so that little is lost if a long run is stopped.

    Returns:
        The record. It says why a contender could not be measured.

    Raises:
        MaxViTError: If the images are too small for the network.
    """
    limit_threads()
    threads = plan.threads or torch.get_num_threads()
    packages = {name.split(".")[0] for c in (*plan.ours, *plan.theirs) for name in c.imports} | {"torch", "numpy"}
    about = {
        **machine.describe_machine(plan.device, threads),
        "native kernels": machine.native_kernels(),
        "packages": machine.versions(packages),
        "commit": machine.commit(),
        "date": machine.today(),
        "rounds": str(plan.rounds),
        "command": command,
    }
    record = Record(about, [])
    for what, size, batch in product(plan.what, plan.sizes, plan.batches):
        with tempfile.TemporaryDirectory(prefix="maxvit-benchmark-") as folder, ExitStack() as stack:
            record.cases.append(_Measurement(plan, what, size, batch, threads, Path(folder), stack, say).case())
        keep(record)
    return record


class _Measurement:
    """One case, from weights to numbers. Workers end with `stack`."""

    def __init__(
        self, plan: Plan, what: What, size: Size, batch: int, threads: int, folder: Path, stack: ExitStack, say: Say
    ) -> None:
        self.plan, self.what, self.batch, self.folder, self.stack, self.say = plan, what, batch, folder, stack, say
        with torch.device("meta"):
            network = create_model(plan.model, image_size=size)
        self.multiply_adds = summarize(network, size).multiply_adds
        self.config: MaxViTConfig = network.config
        self.job = Job(
            what=what,
            weights="official",
            config=network.config,
            image_size=size,
            batch=batch,
            precision=plan.precision,
            drop_path=True,
            device=plan.device,
            threads=threads,
            folder=folder,
            file=folder / "none",
        )
        # who does only another of the tasks is measured there
        self.ours, self.theirs = (
            [c for c in contenders if what in c.what or not set(plan.what) & set(c.what)]
            for contenders in (plan.ours, plan.theirs)
        )
        self.exports: dict[Path, float] = {}  # seconds, by file: two engines may run the same
        self.not_measured: list[NotMeasured] = []

    def case(self) -> Case:
        """Measure it."""
        plan, size = self.plan, self.job.image_size
        height, width = size
        self.say(f"{self.what} of {plan.model}, batch {self.batch}, {height} x {width}")
        inexact = any(not contender.exact for contender in (*self.ours, *self.theirs))
        number = self.batch * -(-INEXACT_IMAGES // self.batch) if inexact and self.what == "inference" else self.batch
        write_images(self.folder, number, self.config, size)
        ready = [runner for weights in self._networks() for runner in self._open_all(weights, number)]
        with Worker(OURS[0], self.job) as worker:
            before = worker.ask("matrix_product")
            self._take_turns(ready)
            after = worker.ask("matrix_product")
        entries = list(self._entries(ready, max(before, after)))
        for runner in ready:
            runner.worker.close()
        return Case(
            what=self.what,
            model=plan.model,
            batch=self.batch,
            image_size=size,
            precision=plan.precision,
            multiply_adds=self.multiply_adds,
            busy=plan.busy,
            matrix_product_flops=(before, after),
            entries=entries,
            pairs=_pairs(entries),
            not_measured=self.not_measured,
        )

    def _networks(self) -> Iterator[Weights]:
        """Networks that a peer has; the official one if there is no peer."""
        wanted = {weights for contender in self.theirs for weights in contender.weights}
        for weights in ("official", "torchvision"):
            if weights in (wanted or {"official"}):
                try:
                    write_weights(self.folder, self.config, self.job.image_size, weights)
                    yield weights
                except MaxViTError as error:
                    self._leave_out(self.theirs, weights, str(error))

    def _leave_out(self, contenders: Sequence[Contender], weights: Weights, why: str) -> None:
        for contender in contenders:
            if weights in contender.weights:
                self.not_measured.append(NotMeasured(contender.name, weights, why))
                self.say(f"  not measured: {contender.name}: {why}")

    def _open_all(self, weights: Weights, number: int) -> list[_Runner]:
        """The contenders of one network that agree with the plain one in fp32."""
        contenders = [c for c in (*self.ours, *self.theirs) if weights in c.weights]
        try:
            with Worker(OURS[0], replace(self.job, weights=weights, precision="fp32")) as worker:
                worker.ask("open")
                truth = worker.ask("answer", number)
        except Failure as error:
            self._leave_out(contenders, weights, f"the plain network, to compare with, could not run: {error}")
            return []
        ready = []
        for contender in contenders:
            try:
                ready.append(self._open(contender, weights, truth, number))
            except Failure as error:
                self._leave_out([contender], weights, str(error))
        return ready

    def _open(self, contender: Contender, weights: Weights, truth: Answer, number: int) -> _Runner:
        """Export, load, compare. Raises `Failure` with the reason if it may not be timed."""
        self._check_possible(contender)
        job = replace(self.job, weights=weights, file=self._file(contender, weights))
        name = contender.name if weights == "official" else f"{contender.name} (torchvision's weights)"
        self.say(f"  preparing {name}")
        if contender.export is not None and job.file not in self.exports:
            with Worker(contender, job) as exporter:
                self.exports[job.file] = exporter.ask("export")
        worker = self.stack.enter_context(Worker(contender, job))
        try:
            open_s = worker.ask("open")
            images = self.batch if contender.exact else number
            agreement = compare(worker.ask("answer", images), truth, images)
            if refused := why_refused(agreement, contender, self.what, self.plan.precision):
                raise Failure(refused)
            worker.ask("warm_up")
        except Failure:
            worker.close()
            raise
        ours = contender in self.ours
        return _Runner(contender, job, ours, worker, agreement, open_s, self.exports.get(job.file), [], [], False, [])

    def _check_possible(self, contender: Contender) -> None:
        packages = [name.split(".")[0] for name in contender.imports]
        missing = [name for name in packages if find_spec(name) is None]
        if missing:
            raise Failure(f"it needs {say_missing(*missing)}")
        if self.what not in contender.what:
            raise Failure(f"it does {contender.what[0]} alone")
        if not contender.anywhere and (self.job.device != "cpu" or self.job.precision != "fp32"):
            raise Failure("it runs on the CPU in fp32 alone")

    def _file(self, contender: Contender, weights: Weights) -> Path:
        """What it exports to: the same for contenders that export alike."""
        export = contender.export
        if export is None:
            return self.folder / "none"
        return self.folder / f"{weights}-{export.__module__}.{export.__qualname__}.onnx"

    def _take_turns(self, ready: list[_Runner]) -> None:
        """Each runs once a round, in the opposite order every second round."""
        for done in range(self.plan.rounds):
            self.say(f"  round {done + 1} of {self.plan.rounds}")
            turns = ready if done % 2 == 0 else ready[::-1]
            for runner in turns:
                self._take_turn(runner, done, self._time)
            if self.plan.busy:
                with busy_processes(self.plan.busy):
                    for runner in turns:
                        self._take_turn(runner, done, self._time_beside)

    def _take_turn(self, runner: _Runner, done: int, measure: Callable[[_Runner, int], None]) -> None:
        """In a round, after so many; who fails is left out from then on."""
        if runner.failed:
            return
        try:
            measure(runner, done)
        except Failure as error:
            runner.failed = True
            self._leave_out([runner.contender], runner.job.weights, f"in round {done + 1}: {error}")

    def _time(self, runner: _Runner, done: int) -> None:
        if done and done % ROUNDS_OF_A_PROCESS == 0:
            self._start_anew(runner)
        time.sleep(PAUSE_S)
        runner.seconds.append(runner.worker.ask("time"))

    def _time_beside(self, runner: _Runner, _: int) -> None:
        runner.busy_seconds.append(runner.worker.ask("time", BUSY_S))

    def _start_anew(self, runner: _Runner) -> None:
        """The same contender in another process."""
        runner.peaks.append(runner.worker.ask("peak"))
        runner.worker.close()
        runner.worker = self.stack.enter_context(Worker(runner.contender, runner.job))
        runner.worker.ask("open")
        runner.worker.ask("warm_up")

    def _entries(self, ready: Sequence[_Runner], peak_flops: float) -> Iterator[Entry]:
        """Entries of the contenders that ran in every round."""
        for runner in ready:
            if not runner.failed:
                try:
                    yield self._entry(runner, peak_flops)
                except Failure as error:
                    self._leave_out([runner.contender], runner.job.weights, f"after the last round: {error}")

    def _entry(self, runner: _Runner, peak_flops: float) -> Entry:
        times = spread([1e3 * s for s in runner.seconds])
        peak_bytes, peak_is = max((*runner.peaks, runner.worker.ask("peak")), key=lambda peak: peak[0] or 0)
        operations = 2 * self.multiply_adds * self.batch * (3 if self.what == "training" else 1)
        return Entry(
            contender=runner.contender.name,
            label=runner.contender.label,
            ours=runner.ours,
            weights=runner.job.weights,
            seconds=runner.seconds,
            time_ms=times,
            images_per_s=1e3 * self.batch / times.median,
            peak_bytes=peak_bytes,
            peak_is=peak_is,
            share_of_peak=1e3 * operations / times.median / peak_flops,
            agreement=runner.agreement,
            open_s=runner.open_s,
            export_s=runner.export_s,
            operators=runner.worker.ask("profile") if self.plan.profile else [],
            busy_seconds=runner.busy_seconds,
        )


def _pairs(entries: Sequence[Entry]) -> list[Pair]:
    return [
        Pair(
            ours.contender,
            theirs.contender,
            paired_ratio(ours.seconds, theirs.seconds),
            paired_ratio(ours.busy_seconds, theirs.busy_seconds) if ours.busy_seconds else None,
        )
        for ours in entries
        for theirs in entries
        if ours.ours and not theirs.ours and ours.weights == theirs.weights
    ]
