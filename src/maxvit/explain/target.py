"""Which class and which stage are explained."""

from maxvit.config import check_known
from maxvit.data.dataset import class_numbers
from maxvit.data.finding import normal
from maxvit.errors import MaxViTError
from maxvit.model import MaxViT


def check_target(model: MaxViT, target: int) -> None:
    """Raises `MaxViTError` if the network has no such class."""
    classes = model.config.num_classes
    if classes == 0:
        raise MaxViTError("the network has no classifier, so no class can be explained: give it one, or another file")
    if not 0 <= target < classes:
        raise MaxViTError(f"the class is {target}; this network has classes 0 to {classes - 1}")


def check_stage(model: MaxViT, stage: int) -> None:
    """Raises `MaxViTError` if the network has no such stage."""
    if not 1 <= stage <= len(model.stages):
        raise MaxViTError(f"stage is {stage}; this network has stages 1 to {len(model.stages)}")


def find_class(model: MaxViT, wanted: str) -> int:
    """The class that a person names: by its name, or by its number from 0 where that is no name.

    Raises:
        MaxViTError: If there is none.
    """
    names = model.class_names or []
    if (number := class_numbers(names).get(normal(wanted))) is not None:
        return number
    if wanted.isdecimal():
        check_target(model, int(wanted))
        return int(wanted)
    check_target(model, 0)
    check_known("class", [wanted], names or [str(i) for i in range(model.config.num_classes)])
    raise AssertionError("it is known, and was not found")


def class_name(model: MaxViT, number: int) -> str:
    """For people."""
    return model.class_names[number] if model.class_names else f"class {number}"
