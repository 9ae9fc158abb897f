"""The training loop: Lightning around a task. The only file, with `callbacks.py`, that knows Lightning."""

import logging
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from maxvit.data.loading import Batch
from maxvit.model import MaxViT
from maxvit.tasks.classification import Classification
from maxvit.training.optim import average_weights, learning_rate_factor, make_optimizer
from maxvit.training.recipe import Recipe


class Stopped(Exception):
    """Training was asked to stop; all finished epochs are saved."""


class TrainingModule(pl.LightningModule):
    """A task, its optimiser and the average of its weights.

    Args:
        task: What is trained.
        recipe: How.
        steps_per_epoch: Batches of one epoch.
        fast: What training steps call in place of the task: the same parameters on faster layers.
    """

    def __init__(
        self, task: Classification, recipe: Recipe, steps_per_epoch: int, fast: Classification | None = None
    ) -> None:
        super().__init__()
        self.task = task
        self.scores = task.__call__ if fast is None else fast.__call__  # no submodule: its tensors are the task's
        self.recipe = recipe
        self.steps_per_epoch = steps_per_epoch
        self.average = average_weights(task.network, recipe.optimization.ema_decay).requires_grad_(False)
        self.skipped: set[str] = set()  # a sentence for each image that could not be read

    @property
    def result(self) -> MaxViT:
        """The network with averaged weights."""
        network = self.average.module
        assert isinstance(network, MaxViT)
        return network

    def on_train_batch_start(self, batch: Batch, index: int) -> None:
        """Stochastic depth is a function of (seed, step), so that a resumed run is the same run.

        Of the step and not of the epoch: Lightning makes iterators, which draw a number, at other times in a resumed
        epoch.
        """
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.current_epoch * self.steps_per_epoch + index)

    def training_step(self, batch: Batch, index: int) -> Tensor | None:
        self.skipped.update(batch.skipped)
        if len(batch.labels) == 0:  # all were broken
            return None
        if len(batch.labels) == 1 and max(batch.images.shape[2:]) <= 32:  # batch norm needs two values, and the last
            return None  # map has one
        scores = self.scores(batch.images, batch.labels)
        self._log("train", scores, len(batch.labels))
        return scores["loss"]

    def on_train_batch_end(self, outputs: Any, batch: Batch, index: int) -> None:
        self.average.update_parameters(self.task.network)

    def validation_step(self, batch: Batch, index: int) -> None:
        self.skipped.update(batch.skipped)
        if len(batch.labels):
            scores = Classification(self.result).eval()(batch.images, batch.labels)
            self._log("val", scores, len(batch.labels))

    def _log(self, part: str, scores: dict[str, Tensor], images: int) -> None:
        values = {f"{part}_{name}": value.detach() for name, value in scores.items()}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=images)

    def configure_optimizers(self) -> Any:
        settings = self.recipe.optimization
        optimizer = make_optimizer(self.task.network, settings.learning_rate, settings.weight_decay)
        total, warmup = settings.epochs * self.steps_per_epoch, int(settings.warmup_epochs * self.steps_per_epoch)
        floor = settings.min_learning_rate / settings.learning_rate
        schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(step, total, warmup, floor))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def fit(
    module: TrainingModule,
    train: DataLoader[Batch],
    val: DataLoader[Batch],
    callbacks: Sequence[pl.Callback],
    run: Path,
    state: Path | None = None,
) -> None:
    """Train until the recipe's last epoch.

    Args:
        module: What to train.
        train: Training batches.
        val: Validation batches.
        callbacks: What else happens, such as writing files.
        run: The run folder.
        state: Continue from this file.

    Raises:
        Stopped: After Ctrl-C or SIGTERM, at the end of the batch under way; after a second Ctrl-C, at once.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)  # hints for programmers
    with warnings.catch_warnings(), _stop_on_signal() as stop:
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*(treespec|LeafSpec|weights_only|NVML).*")
        trainer = pl.Trainer(
            accelerator="auto",
            devices=1,
            max_epochs=module.recipe.optimization.epochs,
            gradient_clip_val=module.recipe.optimization.clip_norm,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=run,
            callbacks=[stop, *callbacks],
        )
        try:
            trainer.fit(module, train, val, ckpt_path=state, weights_only=True if state else None)
        except SystemExit as end:  # what Lightning makes of a second Ctrl-C
            raise Stopped from end


class _Stop(pl.Callback):
    """Ends the run after the batch during which it was asked to."""

    def __init__(self) -> None:
        self.requested = False

    def on_train_batch_end(self, *_: Any) -> None:
        if self.requested:
            raise Stopped

    def on_validation_batch_end(self, *_: Any) -> None:
        if self.requested:
            raise Stopped


@contextmanager
def _stop_on_signal() -> Iterator[_Stop]:
    """The first Ctrl-C or SIGTERM asks to stop; a second one is an ordinary interrupt."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may handle signals
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        stop.requested = True
        for n, handler in before.items():
            signal.signal(n, handler)

    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
