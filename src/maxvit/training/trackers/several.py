"""The trackers of a run: opened, told the same, and left out where one fails."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from maxvit import storage
from maxvit.errors import MaxViTError, require
from maxvit.training.recipe import Recipe
from maxvit.training.signals import Stopped
from maxvit.training.trackers.mlflow import MLflow
from maxvit.training.trackers.tensorboard import TensorBoard
from maxvit.training.trackers.tracker import About, Shown, Tracker
from maxvit.training.trackers.wandb import WeightsAndBiases

IDENTITIES = "trackers.json"  # by which the trackers' own runs go on
LONGEST = 160  # letters of what a library says


class Kind(NamedTuple):
    """A tracker that a recipe may name.

    Attributes:
        title: What it is called.
        make: Opens it.
        module: The library's.
        hint: What to do where it cannot be opened.
    """

    title: str
    make: Callable[[About], Tracker]
    module: str
    hint: str


KINDS = {
    "tensorboard": Kind("TensorBoard", TensorBoard, "tensorboard", "see whether the folder can be written to"),
    "wandb": Kind("Weights & Biases", WeightsAndBiases, "wandb", "call wandb login, or set WANDB_MODE=offline"),
    "mlflow": Kind(
        "MLflow",
        MLflow,
        "mlflow",
        "set MLFLOW_TRACKING_URI to a server; for a database on this machine, install mlflow",
    ),
}


def check_trackers(recipe: Recipe) -> None:
    """Refuse trackers whose library is not installed. Raises `MaxViTError`."""
    settings = recipe.logging
    for name in settings.trackers:
        require(f"logging.trackers names {name}, which", KINDS[name].module)
    if settings.checkpoint and set(settings.trackers) <= {"tensorboard"}:
        raise MaxViTError(
            "logging.checkpoint sends the best checkpoint to wandb or mlflow, and logging.trackers names neither: name "
            "one, or set it to false"
        )


class Trackers:
    """Those that a recipe names, once they are opened; a context that closes them.

    What one of them cannot take, such as when the network is gone, is told once; it takes nothing more, and training
    goes on.
    """

    def __init__(self) -> None:
        self._opened: dict[str, Tracker] = {}
        self._tell: Callable[[str], object] = print
        self._done = False

    def open(
        self, recipe: Recipe, folder: Path, origin: Mapping[str, Any], tell: Callable[[str], object], going_on: bool
    ) -> None:
        """Open them all; the first process does.

        Args:
            recipe: It names them.
            folder: The run folder, which is there.
            origin: What checkpoints say of theirs.
            tell: Takes a sentence for a person.
            going_on: Whether the run goes on: then what cannot be opened is told, and training goes on without.

        Raises:
            MaxViTError: If one cannot be opened for a run that begins.
        """
        self._tell, known = tell, _identities(folder)
        whole = folder.resolve()
        name = whole.name if recipe.data.folds is None else f"{whole.parent.name}-{whole.name}"
        values = recipe.model_dump(mode="json")
        facts = {name: str(origin[name]) for name in ("command", "data", "devices")} | origin["versions"]
        for tracker in dict.fromkeys(recipe.logging.trackers):
            about = About(folder, name, recipe.logging.project, values, facts, known.get(tracker))
            try:
                self._opened[tracker] = KINDS[tracker].make(about)
            except Stopped:
                raise
            except Exception as error:  # a library's own, of any type
                said = f"{KINDS[tracker].title} cannot be opened ({_in_a_line(error)}): {KINDS[tracker].hint}"
                if not going_on:
                    raise MaxViTError(f"{said}, or leave {tracker} out of logging.trackers") from error
                tell(f"{said}; training goes on without")
        found = {name: one.identity for name, one in self._opened.items() if one.identity is not None}
        if found and {**known, **found} != known:
            storage.write_text(folder / IDENTITIES, json.dumps({**known, **found}))

    def log(self, values: Mapping[str, float], update: int) -> None:
        """Points in charts, after so many updates."""
        self._each(lambda tracker: tracker.log(values, update))

    def rewind(self) -> None:
        """Go back to an earlier update."""
        self._each(lambda tracker: tracker.rewind())

    def finish(self, best: Mapping[str, float], shown: Sequence[Shown], checkpoint: Path | None) -> None:
        """The run is done: see `Tracker.finish`."""
        self._each(lambda tracker: tracker.finish(best, shown, checkpoint))
        self._done = True

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._opened.items()):
            try:
                act(tracker)
            except Exception as error:  # a library's own, of any type
                del self._opened[name]
                title = KINDS[name].title
                self._tell(
                    f"{title} takes nothing more ({_in_a_line(error)}); the run folder has all, training goes on"
                )

    def __enter__(self) -> "Trackers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._each(lambda tracker: tracker.close(self._done))
        self._opened.clear()


def _identities(folder: Path) -> dict[str, Any]:
    file = folder / IDENTITIES
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError as error:
        raise MaxViTError(f"{file} is damaged: {error}; delete it, and trackers begin new runs") from error
    return found


def _in_a_line(error: Exception) -> str:
    """The beginning of what it says: how libraries go on is for who calls them."""
    said = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
    return said if len(said) <= LONGEST else f"{said[:LONGEST]} ..."
