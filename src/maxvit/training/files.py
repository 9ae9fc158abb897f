"""The files of a run: metrics, the best and the last checkpoint; and trackers, which are told the metrics too."""

import csv
import io
from collections.abc import Mapping, Sequence
from math import inf, isfinite, isnan
from pathlib import Path
from typing import Any

from maxvit import storage
from maxvit.errors import MaxViTError
from maxvit.tasks import find_task
from maxvit.tasks.network import Network
from maxvit.training.recipe import Recipe, load_recipe
from maxvit.training.trackers.several import Trackers

CONFIG = storage.RUN_CONFIG
METRICS = "metrics.csv"
HELD_OUT = "held_out"  # column of epoch 0: validation images
LAST = "last.safetensors"


def read_metrics(run: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics, one an epoch. Raises `MaxViTError` if the file is damaged."""
    path = run / METRICS
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (ValueError, TypeError) as error:
        raise MaxViTError(f"{path} is damaged: {error}; the checkpoints next to it may still be good") from error
    if any("epoch" not in row for row in rows):
        raise MaxViTError(f"{path} is damaged: it has no column 'epoch'; the checkpoints next to it may still be good")
    return rows


def read_recipe(run: Path) -> Recipe:
    """The recipe of a run. Raises `MaxViTError` if the folder holds none."""
    if not (run / CONFIG).is_file():
        why = f"is not a run folder: it has no {CONFIG}" if run.exists() else "does not exist"
        raise MaxViTError(f"{run} {why}; give a run folder, which maxvit train makes")
    return load_recipe(str(run / CONFIG))


def read_epochs(run: Path) -> int:
    """How many epochs of a run are finished."""
    rows = read_metrics(run)
    return int(rows[-1]["epoch"]) if rows else 0


def monitor(recipe: Recipe, rows: Sequence[Mapping[str, float]]) -> str:
    """The metric that chooses the best epoch: the recipe's, else the first of the validation."""
    first = next(name.removeprefix("val_") for name in rows[0] if name.startswith("val_"))
    return recipe.optimization.metric or first


def best_epoch(recipe: Recipe, rows: Sequence[Mapping[str, float]]) -> int:
    """The epoch with the best `monitor`; of equal ones that with the lowest validation loss.

    Epoch 0 is what training started from; without rows, it is said to be the best too. Where a loss chooses, another
    takes its place only if it is better by more than chance may make it on n validation images: by 1 / sqrt(n) of the
    loss, its standard error where the losses of images spread as widely as their mean.

    Where it is not a number, as nothing can be said yet, an epoch is worse than any other.
    """
    if not rows:
        return 0
    name = monitor(recipe, rows)
    lowest = name in find_task(recipe.task["name"]).lower_is_better
    found = [((-1 if lowest else 1) * row[f"val_{name}"], -row.get("val_loss", 0.0)) for row in rows]
    if lowest and HELD_OUT in rows[0]:
        value, loss = found[0]
        found[0] = value * (1 - rows[0][HELD_OUT] ** -0.5), loss
    ranks = [(-inf if isnan(value) else value, loss) for value, loss in found]
    return int(rows[ranks.index(max(ranks))]["epoch"])


class RunFiles:
    """Writes what a run leaves, besides the states that it can go on from.

    Args:
        run: The run folder.
        recipe: Recipe of the run.
        provenance: What a checkpoint says of its origin, besides epoch and scores.
        trackers: Where the metrics go besides.

    Attributes:
        rows: Rows of the metrics, one for each finished epoch.
    """

    def __init__(self, run: Path, recipe: Recipe, provenance: dict[str, Any], trackers: Trackers) -> None:
        self.run, self.recipe, self.provenance = run, recipe, provenance
        self.rows: list[dict[str, float]] = []
        self.trackers = trackers

    def state(self) -> dict[str, Any]:
        """What `set_state` takes."""
        return {"rows": [dict(row) for row in self.rows]}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from there; metrics that came later are forgotten, those that a crash has lost are written."""
        self.rows = state["rows"]
        self.trackers.rewind()
        if self.rows:
            self._write_metrics()
        else:
            (self.run / METRICS).unlink(missing_ok=True)

    def end_epoch(self, network: Network) -> None:
        """Write the checkpoints of the epoch of the last row. `finish_epoch` follows, once the state is written."""
        row = self.rows[-1]
        scores = {name: value for name, value in row.items() if name.startswith(("train_", "val_")) and isfinite(value)}
        network.provenance = {**self.provenance, "epoch": row["epoch"], **scores}
        if best_epoch(self.recipe, self.rows) == row["epoch"]:
            network.save(self.run / storage.BEST)
        network.save(self.run / LAST)

    def finish_epoch(self, update: int) -> None:
        """Write the metrics, after so many updates: what they count as finished can be resumed from."""
        self._write_metrics()
        self.trackers.log(self.rows[-1], update)

    def _write_metrics(self) -> None:
        text = io.StringIO()
        # epoch 0 has fewer, and a new version may measure more
        columns = dict.fromkeys(name for row in reversed(self.rows) for name in row)
        table = csv.DictWriter(text, list(columns), restval="nan", lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        storage.write_text(self.run / METRICS, text.getvalue())
