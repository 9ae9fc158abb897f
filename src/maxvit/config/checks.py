"""Checks of settings, before any work is done."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import FrozenInstanceError
from typing import TypeVar

from maxvit.errors import MaxViTError

SMALLEST_SIDE = 32  # pixels; the network halves the image five times

Class = TypeVar("Class", bound=type)


def plainly_frozen(*ignored: str) -> Callable[[Class], Class]:
    """Answer any assignment to a frozen dataclass with a sentence.

    With slots, CPython answers that to an unknown name with a TypeError about super().

    Args:
        ignored: Names that other libraries set on every configuration, and that mean nothing to a MaxViT.
    """

    def refuse(self: object, name: str, value: object = None) -> None:
        if name not in ignored:
            kind = type(self).__name__
            raise FrozenInstanceError(
                f"{name} cannot be set: a {kind} is frozen; make another with dataclasses.replace"
            )

    def apply(cls: Class) -> Class:
        cls.__setattr__ = cls.__delattr__ = refuse  # type: ignore[assignment]
        return cls

    return apply


def is_number(value: object) -> bool:
    """Whether it is a number, of a size that can be computed with."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e30


def check_mapping(what: str, given: object) -> None:
    """Refuse what is not a dictionary of settings. Raises `MaxViTError`."""
    if not isinstance(given, Mapping):
        raise MaxViTError(f"{what} is {given!r:.80}; it takes a dictionary of settings")


def check_known(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse names that do not exist, suggesting the nearest one that does.

    Raises:
        MaxViTError: If one of `given` is not in `known`.
    """
    known = list(known)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1) or [k for k in known if str(name) in k]
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise MaxViTError(f"unknown {what} {name!r}: {hint}")
