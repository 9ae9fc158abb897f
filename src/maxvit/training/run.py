"""A training run from recipe to report, in one folder."""

import copy
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

import maxvit
from maxvit import storage
from maxvit.config import Preprocessing
from maxvit.data.builtin import DIGITS
from maxvit.data.dataset import LabelledImages, Splits, describe
from maxvit.data.loading import Batch, evaluation_batches, training_batches
from maxvit.data.record import find_changes, write_record
from maxvit.data.sampling import Share
from maxvit.errors import MaxViTError
from maxvit.inference.engines import say
from maxvit.inference.held_out import fingerprints
from maxvit.kernels.accelerate import TrainingBackend, accelerate, obstacle
from maxvit.tasks import make_task
from maxvit.tasks.examples import TaskExamples
from maxvit.tasks.network import Network, backbone_of, with_backbone
from maxvit.tasks.task import Task
from maxvit.training.checkpoints import FOLDER, find_states, newest_state, read_state
from maxvit.training.conclude import conclude, is_done, tell_trackers
from maxvit.training.distributed import Engine, is_lost_peer
from maxvit.training.files import CONFIG, LAST, RunFiles, read_epochs, read_metrics, read_recipe
from maxvit.training.first_check import first_check
from maxvit.training.learner import Learner
from maxvit.training.loop import Loop
from maxvit.training.probe import begin_with_probe
from maxvit.training.progress import ProgressBar
from maxvit.training.ranks import processes
from maxvit.training.recipe import Recipe
from maxvit.training.setup import (
    channels_of,
    check_libraries,
    check_metric,
    check_rates,
    limited,
    load_data,
    make_network,
    say_bands,
    say_start,
    set_value_range,
    settle_value_range,
)
from maxvit.training.signals import Stopped, StopRequest, stop_request
from maxvit.training.teacher import Teacher, find_teacher
from maxvit.training.time_plan import measure_speed, plan_for
from maxvit.training.trackers.several import Trackers, check_trackers

IMAGES = "images.csv.gz"
KERNELS = {"native": "the native CPU kernels", "triton": "the Triton kernels"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        run: Its folder.
        finished: False if it was asked to stop before the last epoch.
        skipped: A sentence for each image that could not be read.
        signal: The signal that asked to stop, if one did.
    """

    run: Path
    finished: bool
    skipped: list[str]
    signal: int | None

    @property
    def best(self) -> Path:
        """The checkpoint of the best epoch."""
        return self.run / storage.BEST


def train(
    recipe: Recipe, run: Path, show_progress: bool = False, command: str = "", device: str = "auto", note: str = ""
) -> Outcome:
    """Train into a new folder.

    Args:
        recipe: What to do.
        run: The folder to make; it must not exist, or be empty.
        show_progress: Draw a bar on standard error.
        command: What the user typed; it travels with the checkpoints.
        device: As for `maxvit.inference.device.choose_device`.
        note: A sentence about the start, told when the data has been read.

    Raises:
        MaxViTError: If the folder is taken or cannot be written to, the data cannot be used, or training diverges.
    """
    taken = run.exists() and (not run.is_dir() or set(run.iterdir()) > set(storage.leftovers(run)))
    if processes().rank == 0 and taken:
        raise MaxViTError(f"{run} exists already: choose another --out, or continue that run with --resume {run}")
    return _fit(recipe, run, show_progress, command, device, note, resuming=False)


def resume(run: Path, show_progress: bool = False, command: str = "", device: str = "auto") -> Outcome:
    """Continue a run that stopped, from its last state; the result is that of a run never stopped.

    That is so bit by bit on as many devices with as many threads; otherwise it goes on at the same image, and says so.
    Arguments are those of `train`; the folder `run` is there.

    Raises:
        MaxViTError: If the folder holds no run, one that is finished or damaged, or one of other classes.
    """
    recipe = read_recipe(run)
    if is_done(recipe, run):
        done, epochs = read_epochs(run), recipe.optimization.epochs
        how = (
            f"it has done all of its epochs ({done})"
            if done >= epochs
            else f"it ended early after {done} of {epochs} epochs"
        )
        raise MaxViTError(f"{run} is finished: {how}; see its report with maxvit report {run}")
    if read_metrics(run) and not find_states(run):
        raise MaxViTError(f"{run} has metrics but none of the {FOLDER}/ that it could go on from: copy them again")
    return _fit(recipe, run, show_progress, command, device, "", resuming=True)


def train_or_resume(
    recipe: Recipe, run: Path, show_progress: bool = False, command: str = "", device: str = "auto", note: str = ""
) -> Outcome:
    """Go on if the folder holds a run of this recipe, begin one otherwise; one that is finished stays as it is.

    Raises:
        MaxViTError: As `train` and `resume`, or if the run began with another recipe.
    """
    if not (run / CONFIG).is_file():
        return train(recipe, run, show_progress, command, device, note)
    begun = read_recipe(run)
    _check_same(recipe, begun, run)
    if is_done(begun, run):
        return Outcome(run, True, [], None)
    return resume(run, show_progress, command, device)


def _check_same(recipe: Recipe, begun: Recipe, run: Path) -> None:
    """Refuse to go on with another recipe than the run began with."""
    new, old = recipe.model_dump(), begun.model_dump()
    if recipe.optimization.minutes is not None:  # then these were planned
        planned = {name: old["optimization"][name] for name in ("epochs", "warmup_epochs")}
        new["optimization"] |= planned
        new["data"]["limit"] = old["data"]["limit"]
    for section, values in new.items():
        parts = values if isinstance(values, dict) else {None: values}
        for key, value in parts.items():
            before = old[section] if key is None else old[section][key]
            if before != value:
                name = section if key is None else f"{section}.{key}"
                raise MaxViTError(f"{run} began with {name} {before!r}, and now it is {value!r}: choose another --out")


def _fit(
    recipe: Recipe, run: Path, show_progress: bool, command: str, device: str, note: str, resuming: bool
) -> Outcome:
    with stop_request() as stop, Trackers() as trackers:
        try:
            with stop.at_once():
                loop, data, state = _set_up(recipe, run, show_progress, command, device, note, resuming, stop, trackers)
        except Stopped as stopped:
            return Outcome(run, False, [], stopped.signal)
        engine, recipe, say = loop.engine, loop.recipe, loop.bar.say
        try:
            if state is not None:
                for name, value in loop.setting().items():
                    if (before := state["setting"].get(name)) != value:
                        say(f"{name}: {before} before, {value} now: it goes on at the same image, but not bit by bit")
                loop.set_state(state)
            loop.run()
            conclude(run, recipe, data, engine, stop, say)
            engine.on_first(lambda: tell_trackers(loop.files, data, engine))
        except Stopped as stopped:
            engine.close()
            return Outcome(run, False, sorted(loop.skipped), stopped.signal)
        except RuntimeError as error:
            if engine.world > 1 and is_lost_peer(error):
                raise MaxViTError("another process has ended; its own message says why") from error
            raise
    engine.close()
    return Outcome(run, True, sorted(loop.skipped), None)


def _set_up(
    recipe: Recipe,
    run: Path,
    show_progress: bool,
    command: str,
    device: str,
    note: str,
    resuming: bool,
    stop: StopRequest,
    trackers: Trackers,
) -> tuple[Loop, Splits, dict[str, Any] | None]:
    """All before the first update, which begins anew if the run is stopped in it: what trains, on what, from where."""
    began = time.monotonic()
    check_libraries(recipe)
    check_rates(recipe)
    check_trackers(recipe)
    task = make_task(recipe.task)
    data = load_data(recipe)
    network = make_network(recipe, data.train.class_names, channels_of(recipe, data.train))
    check_metric(recipe, task, data.val)
    engine = Engine(recipe.engine, device)
    state = _first_choice(engine, run) if resuming or engine.world > 1 else None
    measured = ""
    if state is None:
        measured = settle_value_range(network, data.train)
        task.initialize(network, data.train)
    else:
        _check_state(state, network, run)
        engine.on_first(lambda: _check_images(run, data))
        set_value_range(network, state["value range"])  # of the images that the weights have learned from
    teacher = find_teacher(recipe, task, network, engine.device)
    share = engine.share(recipe.data.batch_size, recipe.data.device_batch_size)
    train_batches, val_batches = _batches(task, data, network.preprocessing, recipe, engine, share)
    planned, deadline = "", None
    if not resuming and recipe.optimization.minutes is not None:  # else it was planned when the run began
        deadline = began + 60 * recipe.optimization.minutes
        learner = _learner(copy.deepcopy(network), task, data, recipe, engine, len(train_batches), say, teacher)
        speed = measure_speed(learner, engine, train_batches, val_batches)
        plan = plan_for(recipe, speed, data, deadline - time.monotonic())
        before = recipe.data.limit
        recipe, planned, deadline = plan.recipe, plan.said, deadline - plan.after
        if recipe.data.limit != before:  # images are drawn from all, as they will be if the run goes on
            data = limited(data, recipe.data.limit, recipe.seed) if before is None else load_data(recipe)
        train_batches, val_batches = _batches(task, data, network.preprocessing, recipe, engine, share)
    epochs, updates = recipe.optimization.epochs, len(train_batches) // share.accumulate
    bar = ProgressBar(epochs, updates, show_progress and engine.is_first)
    bar.say(describe(data))
    checked = first_check(data, task, recipe) if bar.show and state is None else []
    started = [note, say_start(recipe), task.says(network.preprocessing)] if state is None else [note]
    for sentence in (*checked, say_bands(network, recipe, task, data.train), measured, planned, *started):
        if sentence:
            bar.say(sentence)
    engine.on_first(lambda: _prepare(run, recipe, data, resuming, going_on=state is not None))
    origin = {**provenance(recipe, command), "images": fingerprints(data), "devices": engine.describe()}
    engine.on_first(lambda: trackers.open(recipe, run, origin, bar.say, going_on=state is not None))
    skipped = begin_with_probe(network, task, data.train, recipe, engine, bar, run) if state is None else None
    learner = _learner(network, task, data, recipe, engine, epochs * updates, bar.say, teacher)
    files = RunFiles(run, recipe, origin, trackers)
    reason = _why_plain(recipe, network, engine)
    how = "" if engine.precision == "fp32" or engine.precision in reason else f", in {engine.precision}"
    if epochs:
        bar.say(f"training by {f'plain PyTorch: {reason}' if reason else KERNELS[_backend(recipe)]}{how}")
    if 0 < epochs <= recipe.optimization.warmup_epochs:
        bar.say("warm-up covers all epochs, so the learning rate never decays: lower optimization.warmup_epochs")
    probed, names = skipped is not None, data.train.names
    loop = Loop(learner, engine, train_batches, val_batches, names, files, bar, stop, probed, deadline)
    loop.skipped.update(skipped or ())
    return loop, data, state


def _batches(
    task: Task, data: Splits, spec: Preprocessing, recipe: Recipe, engine: Engine, share: Share
) -> tuple[DataLoader[Batch], DataLoader[Batch]]:
    """Those of training and of validation."""
    settings = recipe.data
    at_once = -(-settings.batch_size // (share.world * share.accumulate))
    train, val = (
        TaskExamples(task, part, spec, keep=_memory_of(part, data, recipe, engine)) for part in (data.train, data.val)
    )
    return (
        training_batches(train, settings.batch_size, settings.workers, recipe.seed, share),
        evaluation_batches(val, at_once, settings.workers, engine.rank, engine.world),
    )


def _memory_of(part: LabelledImages, data: Splits, recipe: Recipe, engine: Engine) -> int:
    """Bytes for what each process that reads may keep of a part: all of them together stay within the recipe's."""
    readers = engine.world // engine.nodes * max(1, recipe.data.workers)
    share = len(part) / (len(data.train) + len(data.val))
    return int(recipe.data.cache_gib * 2**30 * share / readers)


def _learner(
    network: Network,
    task: Task,
    data: Splits,
    recipe: Recipe,
    engine: Engine,
    updates: int,
    tell: Callable[[str], object],
    teacher: Teacher | None,
) -> Learner:
    if recipe.engine.graphs and recipe.model.kernels != "triton":
        raise MaxViTError(f"engine.graphs needs model.kernels=triton, and it is {recipe.model.kernels}: set either")
    fast = None if _why_plain(recipe, network, engine) else _accelerated(network, recipe)
    return Learner(network, task, data.train, recipe, engine, updates, fast, tell, teacher)


def _backend(recipe: Recipe) -> TrainingBackend:
    return "triton" if recipe.model.kernels == "triton" else "native"


def _prepare(run: Path, recipe: Recipe, data: Splits, resuming: bool, going_on: bool) -> None:
    """Write the configuration and which images there are, and remove what a killed process was writing."""
    if not resuming and (run / CONFIG).exists():  # it was not when the data began to be read, which can take long
        raise MaxViTError(f"another process has begun a run in {run} meanwhile: choose another --out")
    storage.write_text(run / CONFIG, recipe.to_yaml())
    if not (going_on and (run / IMAGES).is_file()):
        write_record(run / IMAGES, data)
    for folder in (run, run / FOLDER):
        storage.remove_leftovers(folder)


def _first_choice(engine: Engine, run: Path) -> dict[str, Any] | None:
    """The state that the first process goes on from, on all of them; None: it begins."""
    found, problem = None, ""
    if engine.is_first:
        try:
            found = newest_state(run, say)
        except MaxViTError as error:
            problem = str(error)
    path, problem = engine.gather((found and found[0], problem))[0]
    if problem:
        raise MaxViTError(problem)
    if found is not None:
        return found[1]  # on the first process, which has read it
    return None if path is None else read_state(path)


def _check_state(state: dict[str, Any], network: Network, run: Path) -> None:
    """Refuse a state of another network, before any work."""
    if state["classes"] != network.class_names:
        raise MaxViTError(
            f"{run} began with the classes {state['classes']}, and the data now has {network.class_names}: restore them"
        )
    wanted = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in state["learner"]["network"].items()}
    if wanted != found:
        differs = sorted(n for n in wanted.keys() | found.keys() if wanted.get(n) != found.get(n))[0]
        raise MaxViTError(
            f"the state in {run} is of another network: {differs} is {found.get(differs)} there, and {CONFIG} makes it "
            f"{wanted.get(differs)}: restore {CONFIG}"
        )


def _check_images(run: Path, data: Splits) -> None:
    """Refuse to go on with other images: some that were learned from would be validated, or the other way round."""
    if said := say_changes(run, data):
        raise MaxViTError(
            f"{said}; or begin a new run from these weights with model.pretrained={run / LAST}; or, to go on with the "
            f"data as it is, delete {run / IMAGES}"
        )


def say_changes(run: Path, data: Splits) -> str:
    """What is no longer as it was when a run began, as a sentence; nothing, if nothing is. Raises `MaxViTError`."""
    changes = find_changes(run / IMAGES, data) if (run / IMAGES).is_file() else ""
    return changes and f"the data is not as it was when {run} began: {changes}. Restore it"


def _accelerated(network: Network, recipe: Recipe) -> Network:
    """On faster layers, with the same tensors."""
    fast = accelerate(backbone_of(network), backend=_backend(recipe), graphs=recipe.engine.graphs)
    return with_backbone(network, fast)


def _why_plain(recipe: Recipe, network: Network, engine: Engine) -> str:
    """Why no kernels of ours train, in a few words; nothing where they do."""
    settings = recipe.engine
    backbone = backbone_of(network)
    if recipe.model.kernels == "none":
        return "the recipe says so"
    if recipe.model.kernels == "triton":
        return "the weights are sharded" if engine.sharded else obstacle(backbone, "triton")
    if engine.device.type != "cpu":
        return "it is on a GPU"
    if engine.sharded or settings.compile:
        return "the weights are sharded" if engine.sharded else "it is compiled"
    return f"it is in {engine.precision}" if engine.precision != "fp32" else obstacle(backbone)


def provenance(recipe: Recipe, command: str) -> dict[str, Any]:
    """What a checkpoint says of its origin."""
    return {
        "command": command,
        "recipe": recipe.model_dump(mode="json"),
        "data": "scikit-learn digits" if recipe.data.path == DIGITS else recipe.data.path,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"maxvit": maxvit.__version__, "torch": torch.__version__, "python": sys.version.split()[0]},
    }
