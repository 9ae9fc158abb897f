"""What a training run does, as typed and validated values that one can read, copy and override."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from maxvit.config import MOST_BANDS, VARIANTS, Fit, Range, Size, check_known, check_orders
from maxvit.data.columns import ListColumns
from maxvit.errors import MaxViTError
from maxvit.tasks import DEFAULT, make_task
from maxvit.training.optim import Schedule
from maxvit.versions import FORMAT_VERSION, check_version, why_unknown


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


_Names = Annotated[tuple[str, ...], BeforeValidator(_several)]
_Trackers = Annotated[tuple[Literal["tensorboard", "wandb", "mlflow"], ...], BeforeValidator(_several)]
_Size = Annotated[Size, BeforeValidator(_pair)]
Depth = Annotated[int, Field(ge=1)]


SHIPPED = "shipped"  # in place of a tag
FORMAT = "format"  # key of a recipe's file, beside its sections


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSection(_Section):
    """The network."""

    name: Literal[tuple(VARIANTS)] = "maxvit_micro"  # type: ignore[valid-type]
    pretrained: bool | str | None = Field(
        None,
        description="start from these weights: true, a tag of `maxvit list --pretrained`, a path or a hub name, of "
        "another task the backbone alone; shipped: those that come with the package, where the network has some",
    )
    in_channels: int | None = Field(
        None, ge=1, le=MOST_BANDS, description="of the images; null: their bands, where they all have other than 3"
    )
    new_head: bool = Field(False, description="a fresh one, even where the weights have one for this task and classes")
    teacher: str | None = Field(
        None,
        description="also learn from the answers of this checkpoint, a path or a published name; null: labels alone",
    )
    depths: tuple[Depth, Depth, Depth, Depth] | None = Field(
        None, description="blocks of each stage, of a network without weights; null: the variant's"
    )
    order: str | tuple[str, ...] | None = Field(
        None,
        description="parts of a block, of a network without weights, one for all stages or for each: C MBConv, B block "
        "attention, G grid attention, P both in parallel; null: CBG",
    )
    window_size: _Size | None = Field(
        None, description="tokens of windows and grids, of a network without weights; null: the variant's"
    )
    drop_path_rate: float | None = Field(None, ge=0, lt=1, description="stochastic depth; null: the variant's own")
    scale_windows: bool = Field(False, description="windows of ceil(image size / 32); false: windows as they are")
    gradient_checkpointing: bool = Field(False, description="less memory, about a third more time")
    frozen_stages: int = Field(0, ge=0, le=4, description="the stem and so many stages stay as they are")
    probe: bool = Field(False, description="fit the last layer to the network as it is, before training: epoch 0")
    linear_probe: bool = Field(False, description="only the classifier is trained, or the task's head")
    frozen_batch_norm: bool = Field(False, description="batch norms keep their statistics")
    batch_norm_momentum: float = Field(
        0.01, gt=0, le=1, description="of the statistics, in each update: 0.1 follows a run of some hundred updates"
    )
    kernels: Literal["auto", "triton", "none"] = Field(
        "auto",
        description="native ones on a CPU that has a C++ compiler; triton: on an NVIDIA GPU; none: plain PyTorch",
    )


class DataSection(_Section):
    """The images."""

    path: str | None = Field(
        None, description="folder of class folders, shards, or a list; digits: scikit-learn's handwritten ones"
    )
    image_size: _Size | None = Field(
        None, description="pixels, or [height, width]; null: the weights' or the variant's own"
    )
    fit: Fit | None = Field(
        None, description="crop: the centre; squash: squeezed; aspect: its own shape; null: what the weights expect"
    )
    image_column: str | None = Field(
        None, description="of a list: the names of the images; null: path, else guessed where one choice makes sense"
    )
    label_column: _Names | None = Field(
        None, description="of a list: the labels, one column or several; null: label, ..., else guessed likewise"
    )
    limit: int | None = Field(
        None,
        ge=8,
        description="learn from so many images at most, and validate and test by a quarter as many; null: all",
    )
    folds: Annotated[int, Field(ge=2)] | str | None = Field(
        None,
        description="parts that the training images are cut into, of which one is for validation: how many, or the "
        "column of a list that names them; null: none",
    )
    fold: int = Field(0, ge=0, description="which of the folds is for validation, from 0")
    val_fraction: float = Field(0.2, gt=0, lt=1, description="held out where the folder has no val of its own")
    batch_size: int = Field(64, ge=2, description="images of one update, over all devices")
    device_batch_size: int | None = Field(
        None, ge=1, description="largest number of images at once on a device: the rest is accumulated; null: any"
    )
    workers: int = Field(0, ge=0, description="processes that decode images, for each device")
    cache_gib: float = Field(
        1.0, ge=0, description="memory of a machine that decoded images are kept in, for the epochs to come; 0: none"
    )
    max_unreadable_fraction: float = Field(0.1, ge=0, le=1, description="share of images that may be unreadable")
    mean: tuple[float, ...] | None = Field(
        None,
        min_length=1,
        max_length=MOST_BANDS,
        description="of pixels in 0..1, one a channel; null: what the weights expect, 0.5 of bands",
    )
    std: tuple[float, ...] | None = Field(None, min_length=1, max_length=MOST_BANDS)
    value_range: Range | tuple[Range, ...] | None = Field(
        None,
        description="black and white in images of more than 8 bits, or such a pair a channel; null: the weights' own, "
        "else measured",
    )
    shown_bands: tuple[int, ...] | None = Field(
        None, description="of images with other than 3 channels, those shown as red, green and blue; null: the first 3"
    )
    max_pixels: int | None = Field(None, ge=1, description="most of one image; null: the weights' own, 210 million")
    crop_pct: float | None = Field(
        None, gt=0, le=1, description="centre crop in evaluation; null: what the weights expect, else 0.875"
    )

    @property
    def columns(self) -> ListColumns:
        """The columns of a list."""
        return ListColumns.of(self.image_column, self.label_column)


class OptimizationSection(_Section):
    """AdamW, its learning rate over time, the averaged weights."""

    epochs: int = Field(100, ge=0, description="0: the probe alone")
    learning_rate: float = Field(1e-3, gt=0, description="the peak")
    base_batch_size: int | None = Field(
        None, ge=1, description="the batch that it is meant for: with another, times sqrt(batch / this); null: any"
    )
    schedule: Schedule = "cosine"
    min_learning_rate: float = Field(1e-5, ge=0, description="where cosine or linear ends")
    warmup_epochs: float = Field(5, ge=0)
    layer_decay: float = Field(1.0, gt=0, le=1, description="of the learning rate, block by block from head to stem")
    weight_decay: float = Field(0.05, ge=0, description="not on biases, norms and bias tables")
    grad_clip_norm: float = Field(1.0, gt=0, description="largest global norm of the gradient")
    ema_decay: float = Field(0.9999, ge=0, lt=1, description="of the averaged weights, which are the result")
    minutes: float | None = Field(
        None,
        gt=0,
        description="for all of it: from measured speed follow epochs and, if need be, data.limit; null: any",
    )
    metric: str | None = Field(
        None, description="of validation, chooses the best epoch; loss: the lowest; null: the task's first"
    )
    patience: int | None = Field(None, ge=1, description="epochs without a better one before the end; null: all")


class EngineSection(_Section):
    """How it is computed; none of it is meant to change the result."""

    strategy: Literal["ddp", "fsdp2"] = Field("ddp", description="of several devices; fsdp2: each keeps a part")
    precision: Literal["auto", "fp32", "bf16", "fp16", "fp64"] = Field(
        "auto", description="auto: bf16 on a GPU that has it, fp16 with loss scaling on another, fp32 on a CPU"
    )
    compile: bool = Field(False, description="torch.compile; minutes at the start, faster on a GPU")
    graphs: bool = Field(False, description="blocks as CUDA graphs, with model.kernels=triton; not tried on a GPU yet")
    sync_batch_norm: bool | Annotated[int, Field(ge=2)] = Field(
        False, description="statistics over all GPUs, or groups of so many; the official code: 8"
    )


class CheckpointsSection(_Section):
    """When the state to resume from is written, besides each epoch's end."""

    every_minutes: float = Field(10, gt=0)
    every_updates: int | None = Field(None, ge=1)
    keep: int = Field(2, ge=1, description="how many of the last states")


class LoggingSection(_Section):
    """Where metrics go besides the run folder."""

    trackers: _Trackers = Field(("tensorboard",), description="tensorboard, wandb (Weights & Biases), mlflow; none: []")
    project: str | None = Field(
        None, description="of wandb, experiment of mlflow; null: what their environment variables say, else maxvit"
    )
    pictures: int = Field(0, ge=0, description="validation images that trackers get at the end, with their predictions")
    checkpoint: bool = Field(False, description="wandb and mlflow get best.safetensors at the end")


class Recipe(_Section):
    """A complete description of a run."""

    task: dict[str, Any] = Field(
        {"name": DEFAULT}, description="what is learnt; each task has settings of its own, see docs/tasks.md"
    )
    seed: int = Field(0, ge=0, lt=2**32)
    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    optimization: OptimizationSection = OptimizationSection()
    engine: EngineSection = EngineSection()
    checkpoints: CheckpointsSection = CheckpointsSection()
    logging: LoggingSection = LoggingSection()

    def to_yaml(self) -> str:
        """Every value, in a form that `load_recipe` reads back."""
        return yaml.safe_dump({FORMAT: FORMAT_VERSION, **self.model_dump(mode="json")}, sort_keys=False)


def list_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("maxvit.training") / "recipes"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def recipe_text(name: str) -> str:
    """A recipe that comes with the package, as it was written, with its comments."""
    return (resources.files("maxvit.training") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")


def load_recipe(name_or_file: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and override values of it.

    Args:
        name_or_file: One of `list_recipes()`, or the path of a YAML file.
        overrides: Each "section.key=value", for example "optimization.epochs=30".

    Raises:
        MaxViTError: If the recipe or a key is unknown, or a value is not allowed.
    """
    if name_or_file.endswith((".yaml", ".yml")):
        path = Path(name_or_file)
        if not path.is_file():
            raise MaxViTError(f"recipe {path} does not exist: check the path")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise MaxViTError(f"recipe {path} cannot be read: {error}") from error
    else:
        check_known("recipe", [name_or_file], list_recipes())
        text = recipe_text(name_or_file)
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise MaxViTError(f"recipe {name_or_file} is not YAML: {_one_line(error)}") from error
    if not isinstance(values, dict):
        raise MaxViTError(f"recipe {name_or_file} holds no sections; see the recipe 'digits' for an example")
    source, version = f"recipe {name_or_file}", values.pop(FORMAT, None)
    check_version(version, source)
    values = {name: value for name, value in values.items() if value is not None}  # a section that is empty
    _drop_settings_of_another_task(values, overrides)
    for override in overrides:
        apply_override(values, override)
    try:
        return _validate(values)
    except MaxViTError as error:
        raise MaxViTError(f"{error}{why_unknown(version, source)}") from error


def _drop_settings_of_another_task(values: dict[str, Any], overrides: Sequence[str]) -> None:
    """Where the task is overridden, the recipe's settings of its own task mean nothing."""
    given: dict[str, Any] = {}
    for override in overrides:
        if override.partition("=")[0].strip() == "task.name":
            apply_override(given, override)
    task = values.get("task", {})
    if given and isinstance(task, dict) and given["task"]["name"] != task.get("name", DEFAULT):
        values["task"] = {}
        for section, name in (("optimization", "metric"), ("model", "probe")):  # which another task may not have
            if isinstance(values.get(section), dict):
                values[section].pop(name, None)


def apply_override(values: dict[str, Any], override: str) -> None:
    """Put "section.key=value" into nested values. Raises `MaxViTError` if it is none, or the value cannot be read."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise MaxViTError(f"{override!r} is not a setting; write section.key=value, such as optimization.epochs=30")
    *sections, leaf = key.strip().split(".")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise MaxViTError(f"{override!r} has a value that cannot be read: {_one_line(error)}") from error
    if isinstance(value, str) and value == text.strip():  # in quotes it is text: a folder may be named "2024"
        value = _number(value)
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise MaxViTError(f"unknown setting {key!r}: {section} has no parts")
    values[leaf] = value


def _task(values: Any) -> dict[str, Any]:
    """The complete settings of the task."""
    if not isinstance(values, dict):
        raise MaxViTError(f"task is {values!r}, and it is a section: set task.name and the task's own settings")
    return make_task({"name": DEFAULT, **values}).settings.model_dump(mode="json")


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())


def _number(text: str) -> str | float:
    """YAML reads 1e-3 as text, for want of a point; people mean a number."""
    try:
        return float(text)
    except ValueError:
        return text


def _validate(values: dict[str, Any]) -> Recipe:
    check_known("setting", values, Recipe.model_fields)
    for name, field in Recipe.model_fields.items():
        section = values.get(name)
        if name in values and isinstance(field.annotation, type) and issubclass(field.annotation, _Section):
            known = [f"{name}.{key}" for key in field.annotation.model_fields]
            if not isinstance(section, dict):
                raise MaxViTError(f"{name} is {section!r}, and it is a section: set its parts, {', '.join(known)}")
            check_known("setting", [f"{name}.{key}" for key in section], known)
    values = {**values, "task": _task(values.get("task", {}))}
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        missing = first["type"] == "missing"  # one of a list: every setting has a default
        place = ".".join(str(part) for part in first["loc"][: -1 if missing else None])
        reason = f"it needs at least {int(first['loc'][-1]) + 1} values" if missing else first["msg"].lower()
        raise MaxViTError(f"{place} is {first['input']!r}: {reason}") from error
    check_orders(recipe.model.order)
    return recipe
