"""From what a person says to a recipe: data, task, and the ordinary options."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import yaml

from maxvit.config import VARIANTS, check_known
from maxvit.errors import MaxViTError
from maxvit.tasks import DEFAULT, find_task
from maxvit.training.recipe import Recipe, load_recipe
from maxvit.training.start import FOLDER, choose_start, recipe_for, start_from

CHOICES = {  # what is chosen most often, by its short name: the setting that it is
    "model": "model.name",
    "epochs": "optimization.epochs",
    "batch_size": "data.batch_size",
    "learning_rate": "optimization.learning_rate",
    "image_size": "data.image_size",
    "workers": "data.workers",
    "teacher": "model.teacher",
    "minutes": "optimization.minutes",
    "metric": "optimization.metric",
    "image_column": "data.image_column",
    "label_column": "data.label_column",
    "track": "logging.trackers",
}
Preset = Literal["fast", "good", "best"]
FEWER, MORE = 0.25, 3.0  # times the recipe's epochs, for the presets fast and best


class Choice(NamedTuple):
    """What to call `load_recipe` with.

    Attributes:
        recipe: A name or a file.
        overrides: Settings to override.
        said: From which weights training starts, or why not from better ones, in a sentence; empty: the recipe says it.
    """

    recipe: str
    overrides: list[str]
    said: str


def choose_recipe(
    data: str | Path | None,
    task: str | None = None,
    recipe: str | Path | None = None,
    choices: Mapping[str, object] | None = None,
    settings: Sequence[str] = (),
    *,
    preset: str = "good",
    scratch: bool = False,
    on_gpu: bool = False,
) -> Choice:
    """The recipe for what a person has said.

    Args:
        data: Where the images are; None: as the recipe says.
        task: Its name; None: the recipe's, which is to classify where nothing is said.
        recipe: A name or a file; None: the task's, or without data the handwritten digits.
        choices: Values by the names in `CHOICES`; None: as the recipe says. `model` may also be the path of a run or a
            checkpoint, whose weights training then starts from.
        settings: Each "section.key=value", which has the last word.
        preset: "fast": the probe alone, or a quarter of the epochs where there is none; "best": three times the epochs.
        scratch: From random weights.
        on_gpu: Whether there is a GPU.

    Raises:
        MaxViTError: If task or preset are unknown, a value is not allowed, or the weights of the model that was asked
            for cannot be had.
    """
    check_known("preset", [preset], get_args(Preset))
    chosen = {name: value for name, value in (choices or {}).items() if value is not None}
    overrides: list[str] = []
    started: list[str] = []
    said = ""
    model = chosen.get("model")
    if isinstance(model, str) and model not in VARIANTS and Path(model).exists():
        if scratch:
            raise MaxViTError(f"--scratch starts from random weights, and --model {model} from its own: leave one out")
        chosen["model"], said = start_from(Path(model))
        started = [f"model.pretrained={_quoted(model)}"]
    if recipe is None:
        recipe = "digits" if data is None and task in (None, DEFAULT) else find_task(task or DEFAULT).recipe
        if recipe == FOLDER and started:
            recipe, started = recipe_for(str(chosen["model"])), [*started, "data.image_size=null"]  # the weights' own
        elif recipe == FOLDER and not scratch and not any(s.startswith("model.pretrained") for s in settings):
            recipe, overrides, said = choose_start(None if model is None else str(model), on_gpu)
    given = {"task.name": task, "data.path": data}
    overrides += [f"{key}={_quoted(str(value))}" for key, value in given.items() if value is not None]
    overrides += ["model.pretrained=null", "model.probe=false"] if scratch else started
    if preset != "good" or "epochs" in chosen:
        overrides += _epochs(load_recipe(str(recipe), overrides), preset, chosen.pop("epochs", None))
    for name, value in chosen.items():
        overrides.append(f"{CHOICES[name]}={_as_yaml(value)}")
    return Choice(str(recipe), [*overrides, *settings], said)


def _epochs(recipe: Recipe, preset: str, given: object) -> list[str]:
    """The epochs that are given or that the preset means, as large a share of them to warm up, and as much patience."""
    usual, patience = recipe.optimization.epochs, recipe.optimization.patience
    if given is None:
        given = round(MORE * usual) if preset == "best" else 0 if recipe.model.probe else max(1, round(FEWER * usual))
    found = [f"optimization.epochs={json.dumps(given)}"]
    if isinstance(given, int) and 0 < given < usual:
        found.append(f"optimization.warmup_epochs={recipe.optimization.warmup_epochs * given / usual:.4g}")
    if isinstance(given, int) and given > usual and patience is not None:
        found.append(f"optimization.patience={round(patience * given / usual)}")
    return found


def _as_yaml(value: object) -> str:
    """A value on one line, texts in quotes."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_as_yaml, value))}]"
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    """As YAML on one line, whatever characters it has: no UTF-8 either, which a path may be."""
    return yaml.safe_dump(text, default_style='"', width=float("inf")).strip()
