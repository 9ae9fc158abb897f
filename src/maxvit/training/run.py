"""A training run from recipe to report, in one folder."""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

import maxvit
from maxvit import storage
from maxvit.config import VARIANTS, Preprocessing
from maxvit.create import create_model
from maxvit.data.digits import load_digits
from maxvit.data.folder import load_folder
from maxvit.data.images import decode
from maxvit.data.labelled import LabelledImages, Splits
from maxvit.data.loading import evaluation_loader, training_loader
from maxvit.errors import MaxViTError
from maxvit.kernels.accelerate import accelerate, obstacle
from maxvit.model import MaxViT
from maxvit.tasks.classification import Classification
from maxvit.training.recipe import Recipe, load_recipe

CONFIG = "config.yaml"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        run: Its folder.
        finished: False if it was asked to stop before the last epoch.
        skipped: A sentence for each image that could not be read.
    """

    run: Path
    finished: bool
    skipped: list[str]


def train(recipe: Recipe, run: Path, show_progress: bool = False, command: str = "") -> Outcome:
    """Train into a new folder.

    Args:
        recipe: What to do.
        run: The folder to make; it must not exist, or be empty.
        show_progress: Draw a bar on standard error.
        command: What the user typed; it travels with the checkpoints.

    Raises:
        MaxViTError: If the folder is taken or cannot be written to, or the data cannot be used.
    """
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise MaxViTError(f"{run} exists already: choose another --out, or continue that run with --resume {run}")
    data = load_data(recipe)
    network = make_network(recipe, data.train.class_names)
    storage.write_text(run / CONFIG, recipe.to_yaml())
    return _fit(recipe, data, network, run, show_progress, command, state=None)


def resume(run: Path, show_progress: bool = False, command: str = "") -> Outcome:
    """Continue a run that stopped, from its last finished epoch; the result is that of a run never stopped.

    Raises:
        MaxViTError: If the folder holds no run, one that is finished or damaged, or one of other classes.
    """
    recipe = read_recipe(run)
    done = read_epochs(run)
    if done >= recipe.optimization.epochs:
        raise MaxViTError(f"{run} is finished: all its {done} epochs are done; see its report with maxvit report {run}")
    data = load_data(recipe)
    network = make_network(recipe, data.train.class_names)
    return _fit(recipe, data, network, run, show_progress, command, state=_find_state(run, data.train.class_names))


def read_recipe(run: Path) -> Recipe:
    """The recipe of a run. Raises `MaxViTError` if the folder holds none."""
    if not (run / CONFIG).is_file():
        raise MaxViTError(f"{run} is no run folder: it has no {CONFIG}")
    return load_recipe(str(run / CONFIG))


def read_epochs(run: Path) -> int:
    """How many epochs of a run are finished."""
    from maxvit.training.callbacks import read_metrics

    rows = read_metrics(run)
    return int(rows[-1]["epoch"]) if rows else 0


def load_data(recipe: Recipe) -> Splits:
    """The images of a recipe. Raises `MaxViTError` if there are none, or none that can be read."""
    if recipe.data.path is None:
        return load_digits()
    data = load_folder(Path(recipe.data.path), recipe.data.val_fraction, recipe.seed)
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
        except MaxViTError as error:
            problems.append(str(error))
        if number - len(problems) == at_least:
            return
    found = f"{len(images) - len(problems)} of the {len(images)} {part} images can be read"
    raise MaxViTError(f"{found}, at least {at_least} must be" + (f"; the first: {problems[0]}" if problems else ""))


def _find_state(run: Path, class_names: list[str]) -> Path | None:
    """Where to go on from; None if the run stopped before the end of its first epoch."""
    from maxvit.training.callbacks import STATE

    state, last = run / STATE, run / "last.safetensors"
    if not state.is_file():
        return None
    try:
        torch.load(state, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise MaxViTError(f"{state} is damaged: copy it again, or delete it to start from the first epoch") from error
    if last.is_file() and (before := storage.load_metadata(last).get("class_names")) != class_names:
        raise MaxViTError(f"{run} began with the classes {before}, and the data now has {class_names}: restore them")
    return state


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
    if network.class_names != list(class_names):  # also where the weights have as many classes, but others
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


def _fit(
    recipe: Recipe, data: Splits, network: MaxViT, run: Path, show_progress: bool, command: str, state: Path | None
) -> Outcome:
    from maxvit.training.callbacks import ProgressBar, RunFiles
    from maxvit.training.loop import Stopped, TrainingModule, fit

    spec, settings = network.preprocessing, recipe.data
    train_batches = training_loader(
        data.train,
        spec,
        settings.augmentation,
        settings.batch_size,
        settings.workers,
        recipe.seed,
    )
    val_batches = evaluation_loader(data.val, spec, settings.batch_size, settings.workers)
    smoothing = recipe.optimization.label_smoothing
    reason = _why_plain(recipe, network)
    if show_progress:
        print(f"training by {f'plain PyTorch: {reason}' if reason else 'the native CPU kernels'}", file=sys.stderr)
    fast = None if reason else Classification(accelerate(network), smoothing)
    module = TrainingModule(Classification(network, smoothing), recipe, len(train_batches), fast)
    files = RunFiles(run, provenance(recipe, command))
    try:
        fit(module, train_batches, val_batches, [files, ProgressBar()] if show_progress else [files], run, state)
    except Stopped:
        return Outcome(run, False, sorted(module.skipped))
    return Outcome(run, True, sorted(module.skipped))


def _why_plain(recipe: Recipe, network: MaxViT) -> str:
    """Why the native kernels do not train, in a few words; nothing where they do."""
    if not recipe.model.native_kernels:
        return "the recipe says so"
    return "there is a GPU" if torch.accelerator.is_available() else obstacle(network)


def provenance(recipe: Recipe, command: str) -> dict[str, Any]:
    """What a checkpoint says of its origin."""
    return {
        "command": command,
        "recipe": recipe.model_dump(mode="json"),
        "data": recipe.data.path or "scikit-learn digits",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"maxvit": maxvit.__version__, "torch": torch.__version__, "python": sys.version.split()[0]},
    }
