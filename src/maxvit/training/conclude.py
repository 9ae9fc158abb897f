"""After the last epoch: what a task adds to the best network of a run, and what trackers are told of it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from maxvit import storage
from maxvit.data.dataset import Splits
from maxvit.tasks import find_task, load, make_task
from maxvit.tasks.task import Task
from maxvit.training.checkpoints import find_states
from maxvit.training.distributed import Engine
from maxvit.training.files import RunFiles, best_epoch, read_metrics
from maxvit.training.loop import is_finished
from maxvit.training.recipe import Recipe
from maxvit.training.signals import Stopped, StopRequest
from maxvit.training.trackers.pictures import show_predictions


def is_done(recipe: Recipe, run: Path) -> bool:
    """Whether nothing is left to do for a run."""
    if not is_finished(recipe, read_metrics(run)):
        return False
    concludes = find_task(recipe.task["name"]).conclude is not Task.conclude
    if not concludes or not find_states(run) or not (run / storage.BEST).is_file():  # or it cannot go on
        return True
    return _is_concluded(storage.load_metadata(run / storage.BEST).get("provenance") or {})


def _is_concluded(provenance: Mapping[str, Any]) -> bool:
    return bool(provenance.get("concluded"))


def conclude(
    run: Path, recipe: Recipe, data: Splits, engine: Engine, stop: StopRequest, say: Callable[[str], None]
) -> None:
    """Have the task add to the best network what it learns after training; one process does, and the others wait.

    A run that is stopped here has the best network of before, and the work begins anew.

    Raises:
        Stopped: After a signal.
    """
    task, stopped = make_task(recipe.task), list[int]()

    def between() -> None:
        if stop.number is not None:
            raise Stopped(stop.number)

    def add() -> None:
        network = load(run / storage.BEST)
        if _is_concluded(network.provenance):
            return
        try:
            said = task.conclude(network.to(engine.device), data, recipe.data.workers, between)
        except Stopped as request:
            stopped.append(request.signal)
            return
        network.provenance = {**network.provenance, "concluded": True}
        network.to("cpu").save(run / storage.BEST)
        say(said)

    if type(task).conclude is not Task.conclude:
        engine.on_first(add)
    for number in engine.gather(stopped)[0]:
        raise Stopped(number)


def tell_trackers(files: RunFiles, data: Splits, engine: Engine) -> None:
    """What trackers get at the end: the metrics of the best epoch, and what else the recipe sends."""
    recipe, settings, best = files.recipe, files.recipe.logging, files.run / storage.BEST
    if not settings.trackers or not files.rows:
        return
    network = load(best).to(engine.device) if settings.pictures else None
    shown = [] if network is None else show_predictions(network, data.val, settings.pictures)
    epoch = best_epoch(recipe, files.rows)
    row = next(row for row in files.rows if row["epoch"] == epoch)
    files.trackers.finish(row, shown, best if settings.checkpoint else None)
