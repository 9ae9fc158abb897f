"""What users rely on, frozen in public_api.txt: see docs/versioning.md. Options are in tests/cli/test_options.py."""

import inspect
import re
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

from pydantic import BaseModel

import maxvit
from maxvit.cli import errors
from maxvit.config import Preprocessing
from maxvit.description import describe
from maxvit.serve.app import create_app
from maxvit.serve.metrics import Metrics
from maxvit.tasks import find_task, list_tasks
from maxvit.training.recipe import Recipe

FROZEN = Path(__file__).parent / "public_api.txt"


def line(name: str, value: Any) -> str:
    """A name with its parameters, if it has some; without their types, which may become more precise."""
    if not callable(value) or (isinstance(value, type) and issubclass(value, Exception)):
        return name
    signature = inspect.signature(value)
    shown = [
        p.replace(annotation=p.empty, default=p.empty if p.default is p.empty else Shown(p.default))
        for p in signature.parameters.values()
    ]
    return f"{name}{signature.replace(parameters=shown, return_annotation=signature.empty)}"


class Shown:
    """A default value as it is printed, without its address in memory."""

    def __init__(self, value: Any) -> None:
        self.text = re.sub(r" at 0x[0-9a-f]+", "", repr(value))

    def __repr__(self) -> str:
        return self.text


def members(name: str, value: type) -> list[str]:
    """Methods, properties and fields that a class of ours has, its own and those of its bases of ours."""
    owners = [owner for owner in value.__mro__ if owner.__module__.startswith("maxvit")]
    found: dict[str, str] = {}
    for owner in reversed(owners):
        for member, kind in vars(owner).items():
            if member.startswith("_"):
                continue
            bound = getattr(value, member, kind)
            if isinstance(bound, FunctionType | MethodType):
                found[member] = line(f"{name}.{member}", bound)
            else:
                found[member] = f"{name}.{member}"
        found |= {field: f"{name}.{field}" for field in getattr(owner, "__dataclass_fields__", {}) if field[0] != "_"}
    return [found[member] for member in sorted(found)]


def in_python() -> list[str]:
    lines = list[str]()
    for name in sorted(maxvit.__all__):
        value = getattr(maxvit, name)
        lines.append(line(name, value))
        if isinstance(value, type):
            lines += members(name, value)
    return lines


def settings(section: str, model: type[BaseModel]) -> list[str]:
    """The keys of a recipe's section and their defaults."""
    return [f"{section}.{key} = {field.get_default()!r}" for key, field in model.model_fields.items()]


def in_recipes() -> list[str]:
    sections = {name: field.annotation for name, field in Recipe.model_fields.items()}
    lines = [f"{name} = {Recipe.model_fields[name].default!r}" for name in ("seed",)]
    for name, kind in sections.items():
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            lines += settings(name, kind)
    for task in list_tasks():
        lines += settings(f"task ({task})", find_task(task).Settings)
    return lines


def in_checkpoints() -> list[str]:
    return [f"metadata {key}" for key in describe(maxvit.MaxViTConfig(), Preprocessing(), None, {})]


def over_http() -> list[str]:
    model = maxvit.create_model("maxvit_micro", num_classes=3)
    app = create_app({"m": maxvit.Predictor(model, engine="torch", device="cpu")}, api_key="k", originals={"m": model})
    said = app.openapi()
    lines = [f"{method.upper()} {path}" for path, methods in said["paths"].items() for method in methods]
    ours = {k: v for k, v in said["components"]["schemas"].items() if "ValidationError" not in k}
    for name, schema in sorted(ours.items()):
        lines += [f"JSON {name}.{field}" for field in schema.get("properties", {})]
    own = (family.name for family in Metrics().registry.collect() if family.name.startswith("maxvit_"))
    return lines + sorted(f"metric {name}" for name in own)


def exit_codes() -> list[str]:
    names = ("OK", "OUR_MISTAKE", "USER_MISTAKE", "REQUEUE", "INTERRUPTED")
    return [f"exit code {getattr(errors, name)} {name}" for name in names]


def public() -> str:
    lines = [*in_python(), *in_recipes(), *in_checkpoints(), *over_http(), *exit_codes()]
    return "\n".join(lines) + "\n"


def test_public_names_and_their_parameters_are_those_that_users_rely_on():
    was, now = FROZEN.read_text().splitlines(), public().splitlines()
    changes = [f"- {text}" for text in was if text not in now] + [f"+ {text}" for text in now if text not in was]
    assert not changes, (
        "\n".join(changes)
        + "\nis a change of the public interface. docs/versioning.md says which are allowed in which "
        "version; if it is intended, renew the file: PYTHONPATH=src python tests/test_public_api.py"
    )


if __name__ == "__main__":
    FROZEN.write_text(public())
