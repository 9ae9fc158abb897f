"""A training run from recipe to report, in one folder."""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import maxvit
from maxvit import storage
from maxvit.config import VARIANTS, Preprocessing
from maxvit.create import create_model
from maxvit.data.digits import load_digits
from maxvit.data.images import decode
from maxvit.data.labelled import LabelledImages, Splits
from maxvit.data.loading import evaluation_loader, training_loader
from maxvit.data.sources import load_images
from maxvit.errors import MaxViTError
from maxvit.inference.engines import say
from maxvit.kernels.accelerate import accelerate, obstacle
from maxvit.model import MaxViT
from maxvit.tasks.classification import balanced_weights
from maxvit.training.engine import Engine
from maxvit.training.files import RunFiles, read_metrics
from maxvit.training.learner import Learner
from maxvit.training.loop import Loop, Stopped, is_finished
from maxvit.training.processes import processes
from maxvit.training.progress import ProgressBar
from maxvit.training.recipe import Recipe, load_recipe
from maxvit.training.signals import stop_request
from maxvit.training.states import FOLDER, find_states, newest_state, read_state

CONFIG = "config.yaml"
DIGITS = "digits"  # in place of a path


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


def train(recipe: Recipe, run: Path, show_progress: bool = False, command: str = "") -> Outcome:
    """Train into a new folder.

    Args:
        recipe: What to do.
        run: The folder to make; it must not exist, or be empty.
        show_progress: Draw a bar on standard error.
        command: What the user typed; it travels with the checkpoints.

    Raises:
        MaxViTError: If the folder is taken or cannot be written to, the data cannot be used, or training diverges.
    """
    if processes().rank == 0 and run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise MaxViTError(f"{run} exists already: choose another --out, or continue that run with --resume {run}")
    return _fit(recipe, run, show_progress, command, resuming=False)


def resume(run: Path, show_progress: bool = False, command: str = "") -> Outcome:
    """Continue a run that stopped, from its last state; the result is that of a run never stopped.

    That is so bit by bit on as many devices with as many threads; otherwise it goes on at the same image, and says so.

    Raises:
        MaxViTError: If the folder holds no run, one that is finished or damaged, or one of other classes.
    """
    recipe = read_recipe(run)
    if is_finished(recipe, read_metrics(run)):
        done, epochs = read_epochs(run), recipe.optimization.epochs
        how = f"all its {done} epochs are done" if done >= epochs else f"it ended early after {done} of {epochs} epochs"
        raise MaxViTError(f"{run} is finished: {how}; see its report with maxvit report {run}")
    if read_metrics(run) and not find_states(run):
        raise MaxViTError(f"{run} has metrics but none of the {FOLDER}/ that it could go on from: copy them again")
    return _fit(recipe, run, show_progress, command, resuming=True)


def read_recipe(run: Path) -> Recipe:
    """The recipe of a run. Raises `MaxViTError` if the folder holds none."""
    if not (run / CONFIG).is_file():
        raise MaxViTError(f"{run} is no run folder: it has no {CONFIG}")
    return load_recipe(str(run / CONFIG))


def read_epochs(run: Path) -> int:
    """How many epochs of a run are finished."""
    rows = read_metrics(run)
    return int(rows[-1]["epoch"]) if rows else 0


def load_data(recipe: Recipe) -> Splits:
    """The images of a recipe. Raises `MaxViTError` if there are none, or none that can be read."""
    if recipe.data.path is None:
        raise MaxViTError(
            "no data is given: maxvit train DATA, or data.path; digits is scikit-learn's handwritten ones"
        )
    if recipe.data.path == DIGITS:
        return load_digits()
    data = load_images(recipe.data.path, recipe.data.val_fraction, recipe.seed)
    _check_readable(data.train, "training", at_least=2)  # batch norm needs two values
    _check_readable(data.val, "validation")
    if data.test is not None:
        _check_readable(data.test, "test")
    return data


def _check_readable(images: LabelledImages, part: str, at_least: int = 1) -> None:
    """Look for images that can be read until there are enough."""
    problems = []
    for number, source in enumerate(images.sources, start=1):
        try:
            decode(source)
        except (MaxViTError, OSError) as error:
            problems.append(str(error))
        if number - len(problems) == at_least:
            return
    found = f"{len(images) - len(problems)} of the {len(images)} {part} images can be read"
    raise MaxViTError(f"{found}, at least {at_least} must be" + (f"; the first: {problems[0]}" if problems else ""))


def make_network(recipe: Recipe, class_names: Sequence[str]) -> MaxViT:
    """A network for these classes: freshly initialised, the same for the same seed, or from pretrained weights."""
    torch.manual_seed(recipe.seed)
    settings, data = recipe.model, recipe.data
    made_for = None if settings.pretrained else VARIANTS[settings.name].image_size
    network = create_model(
        settings.name,
        num_classes=len(class_names),
        image_size=(data.image_size or made_for) if settings.scale_windows else None,
        pretrained=settings.pretrained,
        drop_path_rate=settings.drop_path_rate,
    )
    if settings.new_classifier or network.class_names != list(
        class_names
    ):  # also where the weights have as many classes, but others
        network.reset_classifier(len(class_names), class_names)
    size = data.image_size or network.config.image_size
    expected = network.preprocessing if settings.pretrained else Preprocessing()
    network.config = dataclasses.replace(network.config, image_size=size)
    network.preprocessing = dataclasses.replace(
        expected,
        image_size=size,
        fit=data.fit or expected.fit,
        crop_fraction=data.crop_fraction or expected.crop_fraction,
        mean=data.mean or expected.mean,
        std=data.std or expected.std,
    )
    network.set_gradient_checkpointing(recipe.model.gradient_checkpointing)
    return network.train()


def _fit(recipe: Recipe, run: Path, show_progress: bool, command: str, resuming: bool) -> Outcome:
    data = load_data(recipe)
    _check_fit(recipe, data.train)
    network = make_network(recipe, data.train.class_names)
    engine = Engine(recipe.engine)
    state = _first_choice(engine, run) if resuming or engine.world > 1 else None
    if state is not None:
        _check_state(state, network, run)
    settings, spec = recipe.data, network.preprocessing
    share = engine.share(settings.batch_size, settings.device_batch_size)
    at_once = -(-settings.batch_size // (share.world * share.accumulate))
    train_batches = training_loader(
        data.train,
        spec,
        settings.augmentation,
        settings.batch_size,
        settings.workers,
        recipe.seed,
        share,
        settings.rand_augment,
    )
    val_batches = evaluation_loader(data.val, spec, at_once, settings.workers, engine.rank, engine.world)
    epochs, updates = recipe.optimization.epochs, len(train_batches) // share.accumulate
    reason = _why_plain(recipe, network, engine)
    fast = None if reason else accelerate(network)
    weights = _class_weights(recipe, data.train)
    learner = Learner(network, recipe, engine, epochs * updates, fast, weights)
    files = RunFiles(run, {**provenance(recipe, command), "devices": engine.describe()})
    bar = ProgressBar(epochs, updates, show_progress and engine.is_first)
    bar.say(f"training by {f'plain PyTorch: {reason}' if reason else 'the native CPU kernels'}")
    engine.on_first(lambda: _prepare(run, recipe))
    with stop_request() as stop:
        loop = Loop(learner, engine, train_batches, val_batches, data.train.names, files, bar, stop)
        if state is not None:
            for name, value in loop.setting().items():
                if (before := state["setting"].get(name)) != value:
                    bar.say(f"{name}: {before} before, {value} now: it goes on at the same image, but not bit by bit")
            loop.set_state(state)
        try:
            loop.run()
        except Stopped as stopped:
            engine.close()
            return Outcome(run, False, sorted(loop.skipped), stopped.signal)
        except RuntimeError as error:
            if engine.world > 1 and _is_lost_peer(error):
                raise MaxViTError("another process has ended; its own message says why") from error
            raise
    engine.close()
    return Outcome(run, True, sorted(loop.skipped), None)


def _prepare(run: Path, recipe: Recipe) -> None:
    """Write the configuration, and remove what a killed process was writing."""
    storage.write_text(run / CONFIG, recipe.to_yaml())
    for folder in (run, run / FOLDER):
        storage.remove_leftovers(folder)


def _first_choice(engine: Engine, run: Path) -> dict[str, Any] | None:
    """The state that the first process goes on from, on all of them; None: it begins."""
    mine, problem = None, ""
    if engine.is_first:
        try:
            mine = newest_state(run, say)
        except MaxViTError as error:
            problem = str(error)
    path, problem = engine.gather((mine, problem))[0]
    if problem:
        raise MaxViTError(problem)
    return None if path is None else read_state(path)


def _is_lost_peer(error: RuntimeError) -> bool:
    return any(words in str(error) for words in ("closed by peer", "reset by peer", "NCCL", "gloo"))


def _check_state(state: dict[str, Any], network: MaxViT, run: Path) -> None:
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


def _check_fit(recipe: Recipe, images: LabelledImages) -> None:
    """Refuse settings that exclude one another, and a loss that does not fit the labels."""
    if recipe.engine.compile and recipe.model.gradient_checkpointing:
        raise MaxViTError(
            "engine.compile and model.gradient_checkpointing exclude one another (batch norm's statistics would count "
            "twice): set one to false"
        )
    labels = np.asarray(images.labels)
    if labels.ndim == 2 and recipe.optimization.loss == "softmax" and (abs(labels.sum(1) - 1) > 1e-3).any():
        raise MaxViTError(
            "images have several classes each, or none, and optimization.loss is softmax, which takes one or shares "
            "that sum to 1: set optimization.loss=sigmoid"
        )


def _class_weights(recipe: Recipe, images: LabelledImages) -> torch.Tensor | None:
    if recipe.optimization.class_weights == "equal":
        return None
    labels = torch.as_tensor(np.asarray(images.labels))
    if labels.ndim == 2:
        raise MaxViTError("optimization.class_weights is balanced, which takes images with one class each: use equal")
    return balanced_weights(labels, len(images.class_names))


def _why_plain(recipe: Recipe, network: MaxViT, engine: Engine) -> str:
    """Why the native kernels do not train, in a few words; nothing where they do."""
    settings = recipe.engine
    if not recipe.model.native_kernels:
        return "the recipe says so"
    if engine.device.type != "cpu":
        return "there is a GPU"
    if engine.sharded or settings.compile or settings.precision != "fp32":
        return "engine has " + (
            "strategy fsdp2" if engine.sharded else "compile" if settings.compile else settings.precision
        )
    return obstacle(network)


def provenance(recipe: Recipe, command: str) -> dict[str, Any]:
    """What a checkpoint says of its origin."""
    return {
        "command": command,
        "recipe": recipe.model_dump(mode="json"),
        "data": "scikit-learn digits" if recipe.data.path == DIGITS else recipe.data.path,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"maxvit": maxvit.__version__, "torch": torch.__version__, "python": sys.version.split()[0]},
    }
