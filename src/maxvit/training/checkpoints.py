"""The states that a run can go on from: the last few, each whole or absent."""

from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from maxvit import storage
from maxvit.errors import MaxViTError
from maxvit.versions import FORMAT_VERSION, check_version

FOLDER, SUFFIX = "states", ".state"
FORMAT = "format"


def write_state(run: Path, update: int, state: dict[str, Any], keep: int) -> None:
    """Write a state, and remove all but the last `keep`.

    Args:
        run: The run folder.
        update: Updates done.
        state: What to write: numbers, texts, tensors, and lists and dictionaries of them.
        keep: How many to keep.

    Raises:
        MaxViTError: If it cannot be written; those before it are untouched.
    """
    storage.write_atomically(run / FOLDER / f"{update:09d}{SUFFIX}", lambda path: _write(path, state))
    for old in find_states(run)[keep:]:
        old.unlink(missing_ok=True)


def find_states(run: Path) -> list[Path]:
    """The states of a run, the newest first."""
    return sorted((run / FOLDER).glob(f"[0-9]*{SUFFIX}"), reverse=True)


def newest_state(run: Path, tell: Callable[[str], object]) -> tuple[Path, dict[str, Any]] | None:
    """The last state that can be read, with its path; None if there is none. `tell` hears of those that cannot.

    Raises:
        MaxViTError: If there are states, and none can be read.
    """
    problems = []
    for path in find_states(run):
        try:
            state = read_state(path)
        except MaxViTError as problem:
            problems.append(problem)
            continue
        for damaged in problems:
            tell(f"{damaged}; going on from {path.name}")
        return path, state
    if problems:
        raise problems[0]
    return None


def read_state(path: Path) -> dict[str, Any]:
    """Read what `write_state` wrote. Raises `MaxViTError` if it is damaged."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise MaxViTError(f"{path} cannot be opened: {error.strerror}") from error
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise MaxViTError(f"{path} is damaged: copy it again, or delete it to go on from an earlier one") from error
    if not isinstance(state, dict) or "learner" not in state:
        raise MaxViTError(f"{path} is not a state of a run: delete it to go on from an earlier one")
    check_version(state.pop(FORMAT, None), str(path))
    return state


def _write(path: Path, state: dict[str, Any]) -> None:
    try:
        with path.open("wb") as file:
            torch.save({FORMAT: FORMAT_VERSION, **state}, file)
    except RuntimeError as error:  # PyTorch's, around what the disk said
        raise OSError(f"no space left, or a file too large ({str(error).splitlines()[0]})") from error
