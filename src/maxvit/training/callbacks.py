"""What happens beside the learning: the run's files, and the progress bar."""

import csv
import io
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from maxvit import storage
from maxvit.errors import MaxViTError
from maxvit.training.loop import TrainingModule

METRICS = "metrics.csv"
STATE = "last.state"


def read_metrics(run: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics, one an epoch. Raises `MaxViTError` if the file is damaged."""
    path = run / METRICS
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (ValueError, TypeError) as error:
        raise MaxViTError(f"{path} is damaged: {error}; the checkpoints beside it may still be good") from error
    if any("epoch" not in row for row in rows):
        raise MaxViTError(f"{path} is damaged: it has no column 'epoch'; the checkpoints beside it may still be good")
    return rows


class RunFiles(pl.Callback):
    """Writes, after every epoch: metrics.csv, TensorBoard events, best and last checkpoint, and the state to resume.

    Args:
        run: The run folder.
        provenance: What a checkpoint says of its origin, beside epoch and scores.
    """

    def __init__(self, run: Path, provenance: dict[str, Any]) -> None:
        self.run, self.provenance = run, provenance
        self.best = (-1.0, 0.0)  # validation accuracy, then minus the loss
        self.rows: list[dict[str, float]] = []
        self.started = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"best": list(self.best), "rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.rows = (state["best"][0], state["best"][1]), state["rows"]

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(self.run), purge_step=len(self.rows) + 1)
        if self.rows:
            self._write_metrics()  # a crash may have come between state and metrics

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.started = time.perf_counter()
        self.images = 0

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, out: Any, batch: Any, i: int) -> None:
        self.images += len(batch.labels)

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.train_seconds = time.perf_counter() - self.started

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        scores = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = {
            "epoch": trainer.current_epoch + 1,
            **{name: scores.get(name, float("nan")) for name in _SCORES},
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "images_per_second": self.images / self.train_seconds,
            "seconds": time.perf_counter() - self.started,
        }
        self.rows.append(row)
        network = module.result
        network.provenance = {**self.provenance, "epoch": row["epoch"], **{n: row[n] for n in _SCORES}}
        rank = (row["val_accuracy"], -row["val_loss"])
        if rank > self.best:
            self.best = rank
            network.save(self.run / "best.safetensors")
        network.save(self.run / "last.safetensors")
        storage.write_atomically(self.run / STATE, lambda path: trainer.save_checkpoint(path))
        self._write_metrics()  # last: what they count as finished can be resumed from
        for name, value in row.items():
            if name != "epoch":
                self.writer.add_scalar(name, value, int(row["epoch"]))
        self.writer.flush()

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        if hasattr(self, "writer"):
            self.writer.close()

    def _write_metrics(self) -> None:
        text = io.StringIO()
        table = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        storage.write_text(self.run / METRICS, text.getvalue())


_SCORES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


class ProgressBar(pl.Callback):
    """One bar for the whole run: epoch, loss, accuracy, images/s, time left. In a pipe, a line an epoch."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[scores]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.scores: dict[str, str] = {}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        self.total = module.recipe.optimization.epochs
        done = trainer.current_epoch * module.steps_per_epoch
        self.bar.start()
        self.task = self.bar.add_task(
            "", total=self.total * module.steps_per_epoch, completed=done, epoch=f"0/{self.total}", scores=""
        )

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.started, self.images = time.perf_counter(), 0
        self.bar.update(self.task, epoch=f"{trainer.current_epoch + 1}/{self.total}")

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, out: Any, batch: Any, i: int) -> None:
        self.images += len(batch.labels)
        rate = self.images / (time.perf_counter() - self.started)
        if isinstance(out, dict) and "loss" in out:
            self.scores["loss"] = f"{float(out['loss']):.3f}"
        self.scores["images/s"] = f"{rate:.0f}"
        self.bar.update(self.task, advance=1, scores=self._text())

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.scores["val accuracy"] = f"{float(trainer.callback_metrics.get('val_accuracy', float('nan'))):.2%}"
        self.bar.update(self.task, scores=self._text())
        if not self.console.is_terminal:
            self.console.print(f"epoch {trainer.current_epoch + 1}/{self.total}  {self._text()}", highlight=False)

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        self.bar.stop()

    def _text(self) -> str:
        return "  ".join(f"{name} {value}" for name, value in self.scores.items())
