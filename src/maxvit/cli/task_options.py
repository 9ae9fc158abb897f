"""The options --task and --set of commands that use a checkpoint."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from maxvit.errors import MaxViTError

if TYPE_CHECKING:
    from maxvit.tasks.task import Task

TaskName = Annotated[str | None, typer.Option("--task", help="Needed where the task is a module of yours.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting of the task, such as top_k=3 for classification."),
]


def read_settings(task: str | None, settings: list[str] | None) -> dict[str, Any]:
    """The settings of a task by name; where it is a module of the user's, it is imported.

    Raises:
        MaxViTError: If the task cannot be imported, or a setting cannot be read.
    """
    from maxvit.tasks import find_task
    from maxvit.training.recipe import apply_override

    if task is not None:
        find_task(task)
    values: dict[str, Any] = {"task": {}}
    for text in settings or []:
        apply_override(values, f"task.{text.removeprefix('task.')}")
    if "name" in values["task"]:
        raise MaxViTError("--set cannot change the task of a checkpoint: leave name out")
    found: dict[str, Any] = values["task"]
    return found


def check_task(found: "Task", task: str | None, checkpoint: str) -> None:
    """Refuse, by `MaxViTError`, a checkpoint of another task than the user says."""
    if task not in (None, found.settings.name):
        raise MaxViTError(f"{checkpoint} is for {found.settings.name}, and --task {task} was given: leave --task out")
