"""Which class and which stage are explained."""

from maxvit.config import check_known
from maxvit.data.dataset import class_numbers
from maxvit.data.finding import normal
from maxvit.errors import MaxViTError
from maxvit.tasks import task_for
from maxvit.tasks.network import Network, backbone_of


def classes_of(network: Network) -> list[str]:
    """The classes of an image as a whole; empty where the network has none. Raises `MaxViTError` as `Task.names`."""
    return task_for(network).image_classes(network.class_names, network.config)


def check_target(network: Network, target: int | None) -> int:
    """The same class. Raises `MaxViTError` if the network has no such class, or gives an image no class at all."""
    classes = len(classes_of(network))
    if not classes:
        raise MaxViTError(
            f"a network for {task_for(network).name} gives an image as a whole no class to explain or score: "
            "use attention or rollout, or a point"
        )
    if target is None or not 0 <= target < classes:
        raise MaxViTError(f"the class is {target}; this network has classes 0 to {classes - 1}")
    return target


def check_stage(network: Network, stage: int) -> None:
    """Raises `MaxViTError` if the network has no such stage."""
    stages = len(backbone_of(network).stages)
    if not 1 <= stage <= stages:
        raise MaxViTError(f"stage is {stage}; this network has stages 1 to {stages}")


def find_class(network: Network, wanted: str) -> int:
    """The class that a person names: by its name, or by its number from 0 where that is no name.

    Raises:
        MaxViTError: If there is none.
    """
    check_target(network, 0)
    names = network.class_names or []
    if (number := class_numbers(names).get(normal(wanted))) is not None:
        return number
    if wanted.isdecimal():
        return check_target(network, int(wanted))
    check_known("class", [wanted], names or [str(i) for i in range(len(classes_of(network)))])
    raise AssertionError("it is known, and was not found")
