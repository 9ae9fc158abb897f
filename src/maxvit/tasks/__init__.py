"""One package per task: its head, loss, metric, data format and picture, a file each."""

import importlib
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from maxvit import storage
from maxvit.checkpoints.sources import locate
from maxvit.config import MaxViTConfig, Preprocessing, check_known
from maxvit.create import load_model
from maxvit.description import reading
from maxvit.errors import MaxViTError
from maxvit.model import MaxViT, check_network
from maxvit.tasks.network import Network, TaskNetwork
from maxvit.tasks.task import Task

DEFAULT = "classification"  # the task where none is named


def list_tasks() -> list[str]:
    """The names of the tasks that come with the package: each package in this room."""
    return sorted(found.name for found in pkgutil.iter_modules(__path__) if found.ispkg)


def find_task(name: str, imports: bool = True) -> type[Task]:
    """The task of a name: one of `list_tasks()`, or a module of yours that is on Python's path.

    The module binds its task to the name `TASK`; the folder that Python was started in is searched too.

    Args:
        name: Name of the task or the module.
        imports: Whether a module of yours may be imported; False, where a file of weights names it: it must have been.

    Raises:
        MaxViTError: If there is none, or its libraries are not installed.
    """
    known = list_tasks()
    module = f"{__name__}.{name}" if name in known else name
    if name not in known and name not in sys.modules:
        if not imports:
            raise MaxViTError(f"the task {name} is a module that was not imported: name it with --task {name}")
        if not _exists(name):
            raise MaxViTError(f"unknown task {name!r}: choose {', '.join(known)}, or a module on Python's path")
    try:
        imported = importlib.import_module(module)
    except ImportError as error:
        raise MaxViTError(f"task {name} cannot be imported ({error}): fix the module") from error
    if not hasattr(imported, "TASK"):
        raise MaxViTError(f"module {name} has no TASK: bind it to the class of your task, see docs/tasks.md")
    found = imported.TASK
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise MaxViTError(f"TASK in {module} is {found!r}; it takes a class derived from maxvit.tasks.task.Task")
    return found


def _exists(module: str) -> bool:
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def refuse_other_tasks(path: Path, task: type[Task], advice: str = "add --task {task}") -> None:
    """Refuse a data set that is laid out for another task.

    Args:
        path: Path of the data set.
        task: What it is to be used for.
        advice: What to do, in which "{task}" stands for the name of its task.

    Raises:
        MaxViTError: If it is; the message names the task.
    """
    if task.recognizes(path):
        return
    for name in list_tasks():
        try:
            other = find_task(name)
        except MaxViTError:
            continue  # its libraries are not installed
        if other is not task and other.recognizes(path):
            raise MaxViTError(f"{path} is laid out for {name}, not for {task.name}: {advice.format(task=name)}")


def task_for(network: Network) -> Task:
    """The task that a network was made for. Raises `MaxViTError` if it is none of this package."""
    check_network(network)
    if isinstance(network, TaskNetwork):
        return find_task(network.settings.name)(network.settings)
    from maxvit.tasks.classification import Classification

    return Classification.for_config(network.config)


def described_task(metadata: Mapping[str, Any], config: MaxViTConfig) -> Task:
    """The task of a network that a file describes, without the network: see `task_for`."""
    if "task" in metadata:
        return make_task(metadata["task"], imports=False)
    from maxvit.tasks.classification import Classification

    return Classification.for_config(config)


def make_task(values: Mapping[str, Any], imports: bool = True) -> Task:
    """A task from its settings as plain values, of a recipe's section or a checkpoint.

    Args:
        values: "name", and some of the task's own settings.
        imports: As for `find_task`.

    Raises:
        MaxViTError: If the task is unknown, or a setting is unknown or not allowed.
    """
    found = find_task(str(values["name"]), imports)
    check_known("setting", [f"task.{key}" for key in values], [f"task.{key}" for key in found.Settings.model_fields])
    try:
        return found(found.Settings.model_validate(dict(values)))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(["task", *(str(part) for part in first["loc"])])
        reason = first["msg"].lower().removeprefix("value error, ")
        raise MaxViTError(f"{place} is {first['input']!r}: {reason}") from error


def with_settings(task: Task, settings: Mapping[str, Any]) -> Task:
    """The same task with some other settings. Raises `MaxViTError` as `make_task`."""
    return make_task({**task.settings.model_dump(), **settings}, imports=False) if settings else task


def outline(task: Task, config: MaxViTConfig, class_names: list[str]) -> TaskNetwork:
    """The network without memory for its tensors, on the meta device."""
    with torch.device("meta"):
        made = task.make_network(MaxViT(config), class_names, new_head=True)
    assert isinstance(made, TaskNetwork)
    return made


def outline_of(network: Network) -> Network:
    """A network of the same shape on the meta device, in training mode and freshly made."""
    if isinstance(network, TaskNetwork):
        made: Network = outline(task_for(network), network.config, network.class_names)
    else:
        made = MaxViT.outline(network.config)
    return made.to(next(network.parameters()).dtype).train()


def task_of(path: str | Path) -> str:
    """The task of a checkpoint, by its metadata; anything that is not ours is classification."""
    path = storage.weights_of(path)
    if not path.name.endswith((".safetensors", ".safetensors.index.json")) or not path.is_file():
        return DEFAULT
    said = storage.load_metadata(path).get("task")
    return str(said["name"]) if isinstance(said, dict) and "name" in said else DEFAULT


def load(path: str | Path, settings: Mapping[str, Any] | None = None, dtype: torch.dtype = torch.float32) -> Network:
    """Whatever network a checkpoint holds, in evaluation mode.

    Args:
        path: As `maxvit.load_model` takes it, or what `TaskNetwork.save` wrote.
        settings: Settings of the task, to be used in place of the checkpoint's.
        dtype: Type of the network, whatever the file's.

    Raises:
        MaxViTError: If the file is missing or damaged, its task is not installed, or a setting is not allowed.
    """
    place = locate(path).path
    if task_of(place) == DEFAULT:
        return load_model(path, dtype=dtype)
    state, metadata = storage.load(place)
    with reading(metadata, str(path)):
        config = MaxViTConfig.from_dict(metadata["config"])
        preprocessing = Preprocessing.from_dict(metadata["preprocessing"])
        class_names = [str(name) for name in metadata["class_names"]]
    network = outline(make_task({**metadata["task"], **(settings or {})}, imports=False), config, class_names)
    network.backbone.preprocessing = preprocessing
    network.provenance = metadata.get("provenance") or {}
    try:
        return network.take(state, str(path), dtype)
    except MaxViTError as error:
        if not settings:
            raise
        given = ", ".join(f"task.{name}" for name in settings)
        raise MaxViTError(f"{given}: the network that {path} holds would be another one ({error})") from error
