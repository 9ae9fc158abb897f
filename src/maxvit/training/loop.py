"""The training loop: epochs of updates, and what must never be lost."""

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from maxvit.data.loading import Batch
from maxvit.data.sampling import TrainingBatches
from maxvit.errors import MaxViTError, is_out_of_memory
from maxvit.tasks.protocols import Metric
from maxvit.training.checkpoints import newest_state, write_state
from maxvit.training.distributed import Engine, Flag
from maxvit.training.exact_mean import Tally, means
from maxvit.training.files import HELD_OUT, RunFiles, best_epoch, monitor
from maxvit.training.learner import Learner
from maxvit.training.progress import ProgressBar
from maxvit.training.recipe import Recipe
from maxvit.training.signals import Stopped, StopRequest

LOWER = 0.5  # times the learning rate, after a divergence
NOTE_EVERY = 50  # updates between points in trackers' charts
MOST_SKIPPED = 30  # updates in a row without a finite gradient in fp16: the scale has become 1e-9 times what it was
LOOK_EVERY = 16  # updates between looks at a GPU's numbers, which wait for it


class TimeIsUp(Exception):
    """There is a checkpoint, and no time for a better one."""


class Diverged(Exception):
    """Loss or gradients are no finite numbers any more."""


@dataclass(slots=True)
class Position:
    """Where a run is: epochs done, updates of the current one, and what they took."""

    epoch: int = 0
    update: int = 0
    images: int = 0
    seconds: float = 0.0
    waited: float = 0.0  # for data


class Loop:
    """Trains a learner to the recipe's last epoch, from wherever it is.

    Args:
        learner: What learns.
        engine: The processes that share the work.
        train: Training batches.
        val: Validation batches.
        names: What to call each training image.
        files: The files that the run leaves.
        bar: What a person sees.
        stop: Whether a signal has come.
        probed: Whether the last layer was fitted already, so that there is something to validate before training.
        deadline: By `time.monotonic()`, no epoch begins that would probably end later; None: there is none.
    """

    def __init__(
        self,
        learner: Learner,
        engine: Engine,
        train: DataLoader[Batch],
        val: DataLoader[Batch],
        names: Sequence[str],
        files: RunFiles,
        bar: ProgressBar,
        stop: StopRequest,
        probed: bool = False,
        deadline: float | None = None,
    ) -> None:
        assert isinstance(train.sampler, TrainingBatches)
        self.learner, self.engine, self.train, self.val = learner, engine, train, val
        self.names, self.files, self.bar, self.stop, self.probed = names, files, bar, stop, probed
        self.deadline = deadline
        self.order = train.sampler
        self.recipe, self.accumulate = learner.recipe, self.order.share.accumulate
        self.task = learner.task
        self.at, self.tally = Position(), Tally(engine.device)
        self.skipped: set[str] = set()  # a sentence for each image that could not be read
        self._broken: set[str] = set()  # those of training
        self._recent: list[tuple[int, Tensor, Tensor]] = []  # update, loss and norm, indices: not yet looked at
        self._skipped = 0  # updates in a row
        self._sizes: set[tuple[int, ...]] = set()  # of images that were tried out
        self._validated = 0  # images, the last time
        self._problem = ""  # with the data: it ends the run, of all processes at once
        self._saved_at, self._noted_at = time.monotonic(), 0
        self._counted = time.perf_counter()  # until when the epoch's time is counted

    def run(self) -> None:
        """Train.

        Raises:
            Stopped: After a signal, once the update under way is done and the state is written.
            MaxViTError: If training diverges twice, too many images are broken, or files cannot be written.
        """
        if not self.at.epoch and not self.at.update:
            self._save()  # so that there is one, and the disk has been tried
        while True:
            self.bar.start(self.at.epoch, self.at.update)
            try:
                return self._epochs()
            except Diverged as problem:
                self._restore(str(problem))
            finally:
                self.bar.stop()

    def _epochs(self) -> None:
        if self.probed and not self.files.rows:
            self._end_probe(*self._validate())
        longest = 0.0
        while not is_finished(self.recipe, self.files.rows):
            began = time.monotonic()
            try:
                if self.files.rows and self._epoch_would_be_late(longest):  # there is a checkpoint
                    raise TimeIsUp
                self._train_epoch()
                self._end_epoch(*self._validate())
            except TimeIsUp:
                self.bar.say(f"time is up after {self.at.epoch} of {self.recipe.optimization.epochs} epochs")
                return
            longest = max(longest, time.monotonic() - began)
        if self.at.epoch < self.recipe.optimization.epochs:
            chosen_by, patience = monitor(self.recipe, self.files.rows), self.recipe.optimization.patience
            self.bar.say(f"stopped early: {chosen_by} is no better for {patience} epochs")

    def _epoch_would_be_late(self, longest: float) -> bool:
        """Whether an epoch that takes so many seconds would end after the deadline, on any process."""
        late = self.deadline is not None and time.monotonic() + longest > self.deadline
        return any(self.engine.gather(late))

    def _train_epoch(self) -> None:
        self.learner.train()
        self.order.set_epoch(self.at.epoch, self.at.update * self.accumulate)
        batches: list[Batch] = []
        scores: list[dict[str, Tensor]] = []
        for batch in self._timed(self.train):
            self._check(batch)
            batches.append(batch)
            self._try_out(batches)
            scores = self._compute(batches, scores)
            if len(batches) == self.accumulate:
                self._update(list(zip(batches, scores, strict=True)))
                batches, scores = [], []

    def _compute(self, batches: list[Batch], scores: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        """The scores of an update's batches so far, of which all but the last are known; all again if memory ends."""
        while len(scores) < len(batches):
            batch = batches[len(scores)]
            try:
                scores = [*scores, self.learner.step(batch, len(scores), self.accumulate)]
                continue
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if self.engine.world > 1:  # the others are in the middle of the update
                    raise MaxViTError(
                        f"process {self.engine.rank} is out of memory with {len(batch.images)} images at once: set "
                        f"data.device_batch_size: {max(1, len(batch.images) // 2)} in config.yaml of the run, and go "
                        "on with --resume"
                    ) from error
            self.learner.undo()  # out here, nothing holds on to what was computed
            self.learner.take_less(batch)
            scores = []
        return scores

    def _try_out(self, batches: list[Batch]) -> None:
        """Where processes share the work: compute images of a new size for nothing first, until all have the memory.

        In the middle of an update a process cannot end without leaving the others waiting.
        """
        several = bool(self.order.buckets.any())  # sizes
        if not self.engine.tries_out or len(batches) > 1 or (self._sizes and not several):
            return
        size = tuple(batches[0].images.shape[-2:])
        new = Flag(0) if size in self._sizes else Flag.MEMORY
        self._sizes.add(size)
        if Flag.MEMORY not in self.engine.agree(new):
            return
        while Flag.MEMORY in self.engine.agree(Flag(0) if self.learner.fits(batches[0]) else Flag.MEMORY):
            self.learner.take_less(batches[0])

    def _update(self, parts: list[tuple[Batch, dict[str, Tensor]]]) -> None:
        """Change the weights, then see to what this process or another wants."""
        for batch, scores in parts:
            self.tally.add(scores, len(batch.targets))
        rate, norm = self.learner.learning_rate, self.learner.update()
        self.at.update += 1
        self.at.images += sum(len(batch.targets) for batch, _ in parts) * self.engine.world
        loss = torch.stack([scores["loss"] for _, scores in parts]).mean()
        indices = torch.cat([batch.indices for batch, _ in parts])
        self._recent.append((self.learner.updates, torch.stack([loss, norm.to(loss)]), indices))
        due = self._is_due()
        look = due or self.stop.number is not None or self.engine.device.type == "cpu"
        look = look or len(self._recent) >= LOOK_EVERY or self._is_last()
        mine = Flag(0)
        if self.stop.number is not None:
            mine |= Flag.STOP
        if due:
            mine |= Flag.SAVE
        if self.deadline is not None and time.monotonic() > self.deadline:
            mine |= Flag.LATE
        bad = self._find_bad() if look else ""
        if bad:
            mine |= Flag.DIVERGED
        if look:
            self._show(parts[-1][1], rate)
        flags = self.engine.agree(mine)
        if Flag.DIVERGED in flags:
            texts = [text for text in self.engine.gather(bad) if text]
            raise Diverged(min(texts, key=lambda text: "the loss is n" not in text and "the loss is inf" not in text))
        if Flag.STOP in flags and not self._is_last():
            self._save_and_stop()
        if Flag.LATE in flags and self.files.rows:
            raise TimeIsUp
        if Flag.SAVE in flags and not self._is_last():  # the end of the epoch saves
            self._save()

    def _validate(self) -> tuple[dict[str, float], Metric]:
        """Metrics of the averaged weights on the validation images, the first of the task first, then losses;
        and what computed the metrics."""
        tally, class_names = Tally(self.engine.device), self.learner.network.class_names or ()
        metric = self.task.val_metric(class_names)
        self.learner.begin_evaluation()
        for batch in self._readable(self.val):
            self.skipped.update(batch.skipped)
            if len(batch.targets):
                losses, predictions = self.learner.evaluate(batch)
                tally.add(losses, len(batch.targets))
                metric.add(predictions, list(batch.targets))
            mine = Flag.STOP if self.stop.number is not None else Flag(0)
            flags = self.engine.agree(mine | Flag.BROKEN if self._problem else mine)
            if Flag.BROKEN in flags:
                self._give_up()
            if Flag.STOP in flags:
                self.learner.end_evaluation()
                self._save_and_stop()
        self.learner.end_evaluation()
        totals = tally.totals(self.engine.add_up, self.engine.gather)
        if not totals["images"]:
            first = min((s for part in self.engine.gather(sorted(self.skipped)) for s in part), default="")
            raise MaxViTError(f"none of the validation images can be read: {first}")
        self._validated = totals["images"]
        everything = self.task.val_metric(class_names)
        for state in self.engine.gather(metric.state()):  # in one order, as some metrics depend on it
            everything.merge(state)
        return everything.compute() | means(totals), everything

    def _end_epoch(self, val: dict[str, float], metric: Metric) -> None:
        train = means(self.tally.totals(self.engine.add_up, self.engine.gather))
        row = {
            "epoch": self.at.epoch + 1,
            **{f"train_{name}": value for name, value in train.items()},
            **{f"val_{name}": value for name, value in val.items()},
            "learning_rate": self.learner.optimizer.param_groups[-1]["lr"],
            "images_per_second": self.at.images / self.at.seconds,
            "waiting": self.at.waited / self.at.seconds,
            "seconds": self.at.seconds,
        }
        self._keep(row, val, metric, Position(self.at.epoch + 1))
        self.bar.end_epoch(self.at.epoch - 1, *next(iter(val.items())))
        self._stop_if_asked()

    def _end_probe(self, val: dict[str, float], metric: Metric) -> None:
        """Epoch 0 is what training starts from: a checkpoint, which epochs must be better than to take its place."""
        scores = {f"val_{name}": value for name, value in val.items()}
        self._keep({"epoch": 0, HELD_OUT: self._validated, **scores}, val, metric, self.at)
        self.bar.end_probe(*next(iter(val.items())))
        self._stop_if_asked()

    def _keep(self, row: dict[str, float], val: dict[str, float], metric: Metric, then: Position) -> None:
        """Write what there is at the end of an epoch, and the state that goes on from `then`."""
        network = self.learner.result()
        self.task.settle(network, val, metric)
        self.files.rows.append(row)
        self.engine.on_first(lambda: self.files.end_epoch(network))
        self.at, self.tally = then, Tally(self.engine.device)
        self._save()
        self.engine.on_first(lambda: self.files.finish_epoch(self.learner.updates))

    def _stop_if_asked(self) -> None:
        stop = Flag.STOP in self.engine.agree(Flag.STOP if self.stop.number is not None else Flag(0))
        if stop and not is_finished(self.recipe, self.files.rows):
            self._save_and_stop()

    def _timed(self, batches: DataLoader[Batch]) -> Iterator[Batch]:
        """The batches, counting the time that they take to come and that of everything."""
        source = self._readable(batches)
        self._counted = time.perf_counter()
        while True:
            batch = next(source, None)
            self.at.waited += self._count_time()
            if batch is None:
                return
            yield batch
            self._count_time()

    def _count_time(self) -> float:
        """Add the time since the last call to the epoch's."""
        now = time.perf_counter()
        passed, self._counted = now - self._counted, now
        self.at.seconds += passed
        return passed

    def _check(self, batch: Batch) -> None:
        """Note broken images; end the run, of all processes at once, where one has too many, or nothing else."""
        self.skipped.update(batch.skipped)
        self._broken.update(batch.skipped)
        limit = self.recipe.data.max_unreadable_fraction
        if not self._problem and not len(batch.targets):
            self._problem = "all images of a batch cannot be read"
        elif not self._problem and len(self._broken) > limit * len(self.names) / self.engine.world:
            self._problem = f"more than data.max_unreadable_fraction ({limit:.0%}) of the images cannot be read"
        if Flag.BROKEN in self.engine.agree(Flag.BROKEN if self._problem else Flag(0)):
            self._give_up()

    def _readable(self, batches: DataLoader[Batch]) -> Iterator[Batch]:
        """The batches; in place of one that cannot be had an empty one, and the run ends at the next agreement."""
        source = iter(batches)
        while True:
            try:
                batch = next(source, None)
            except OSError as error:  # not one image, which would be left out, but a file of thousands, or the network
                self._problem = f"the data cannot be read any more: {str(error).splitlines()[-1]}"
                batch = Batch(torch.empty(0), [], torch.empty(0, dtype=torch.int64), [])
            if batch is None:
                return
            yield batch

    def _give_up(self) -> NoReturn:
        """End the run of all processes, for what one of them has found."""
        problem = next(problem for problem in self.engine.gather(self._problem) if problem)
        broken = sorted({sentence for part in self.engine.gather(sorted(self._broken)) for sentence in part})
        named = f"; {len(broken)} of {len(self.names)}, the first: {broken[0]}" if broken else ""
        raise MaxViTError(f"{problem}{named}: mend them, or raise the limit" if broken else problem)

    def _find_bad(self) -> str:
        """The first update since the last look whose loss or gradient is not a finite number, and its images.

        In fp16 a gradient may be so now and then: the update was left out, and the losses are scaled less.
        """
        numbers = torch.stack([values for _, values, _ in self._recent]).isfinite().tolist()
        recent, self._recent = self._recent, []
        for (loss_is, norm_is), (update, values, indices) in zip(numbers, recent, strict=True):
            self._skipped = 0 if norm_is else self._skipped + 1
            left_out = self.engine.precision == "fp16" and self._skipped <= MOST_SKIPPED
            if not loss_is or not (norm_is or left_out):
                names = ", ".join(self.names[i] for i in indices.tolist()[:4])
                return f"update {update}: the loss is {float(values[0]):.4g}, the norm of the gradient " + (
                    f"{float(values[1]):.4g}; the images were {names}" + (", ..." if len(indices) > 4 else "")
                )
        return ""

    def _restore(self, problem: str) -> None:
        """Go back to the last good state, with a lower learning rate; a second divergence ends the run."""
        if self.learner.rate < 1:
            wider = " or engine.precision=fp32" if self.engine.precision == "fp16" else ""
            raise MaxViTError(
                f"training diverged again with {LOWER:g} times the learning rate, at {problem}; the last good state is "
                f"kept: look at these images, or begin again with a lower optimization.learning_rate{wider}"
            )
        self.bar.say(f"diverged at {problem}\ngoing back to the last good state, with {LOWER:g} times the rate")
        found = newest_state(self.files.run, self.bar.say)
        assert found is not None
        self.set_state(found[1])
        self.learner.rate = LOWER

    def _show(self, scores: dict[str, Tensor], rate: float) -> None:
        self._count_time()
        values = {name: float(value) for name, value in scores.items()}
        values |= {"learning_rate": rate, "images_per_second": self.at.images / self.at.seconds}
        values |= {"waiting": self.at.waited / self.at.seconds}
        self.bar.update(self.at.epoch, self.at.update, values)
        if self.engine.is_first and self.learner.updates - self._noted_at >= NOTE_EVERY:
            noted = {f"update/{name}": value for name, value in values.items()}
            self.files.trackers.log(noted, self.learner.updates)
            self._noted_at = self.learner.updates

    def _is_last(self) -> bool:
        """Whether this is the last update of the epoch."""
        return self.at.update * self.accumulate == len(self.order)

    def _is_due(self) -> bool:
        settings = self.recipe.checkpoints
        if settings.every_updates and self.learner.updates % settings.every_updates == 0:
            return True
        return self.engine.is_first and time.monotonic() - self._saved_at > 60 * settings.every_minutes

    def _save_and_stop(self) -> NoReturn:
        self._save()
        after = f", {time.monotonic() - self.stop.at:.1f} s after the signal" if self.stop.number else ""
        self.bar.say(f"saved after update {self.learner.updates:,}{after}")
        raise Stopped(next(number for number in self.engine.gather(self.stop.number) if number))

    def _save(self) -> None:
        state, keep = self.state(), self.recipe.checkpoints.keep
        self.engine.on_first(lambda: write_state(self.files.run, self.learner.updates, state, keep))
        self._saved_at = time.monotonic()

    def state(self) -> dict[str, Any]:
        """Everything that `set_state` needs; all processes must call it."""
        return {
            "position": dataclasses.asdict(self.at),
            "learner": self.learner.state(),
            "tally": self.tally.totals(self.engine.add_up, self.engine.gather),
            "files": self.files.state(),
            "probed": self.probed,
            "setting": self.setting(),
            "classes": self.learner.network.class_names,
            "value range": self.learner.network.preprocessing.value_range,
        }

    def setting(self) -> dict[str, Any]:
        """What must be the same for a run that goes on to be, bit by bit, the run that never stopped."""
        return {
            "devices": self.engine.world,
            "device type": self.engine.device.type,
            "threads": torch.get_num_threads(),
            "strategy": self.engine.settings.strategy,
            "precision": self.engine.precision,
            "kernels": "PyTorch's" if self.learner.fast is None else "native",
            "teacher": self.learner.teacher and self.learner.teacher.digest,
            "training images": len(self.names),
            "PyTorch": str(torch.__version__),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go to the position of a state; all processes must call it."""
        self.at = Position(**state["position"])
        self.learner.set_state(state["learner"])
        self.probed = state.get("probed", False)  # states of before there were probes
        self.tally = Tally(self.engine.device, state["tally"] if self.engine.is_first else None)
        self._recent, self._skipped = [], 0
        if self.engine.is_first:
            self.files.set_state(state["files"])
        else:
            self.files.rows = state["files"]["rows"]


def is_finished(recipe: Recipe, rows: Sequence[Mapping[str, float]]) -> bool:
    """Whether a run with these metrics has done all its epochs, or gains nothing any more."""
    if not rows:
        return False
    done, settings = int(rows[-1]["epoch"]), recipe.optimization
    if settings.patience is not None and done - best_epoch(recipe, rows) >= settings.patience:
        return True
    return done >= settings.epochs
