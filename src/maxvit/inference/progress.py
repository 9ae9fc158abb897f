"""A progress bar on standard error, for work that takes a while."""

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")


def track(items: Iterable[T], what: str, show: bool, total: int | None = None) -> Iterator[T]:
    """Pass `items` on, drawing how many are done and the time left; nothing is drawn where nobody looks.

    Args:
        items: What to pass on.
        what: The word beside the bar.
        show: False draws nothing.
        total: How many there are; None: their length.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with _bar(show) as bar:
        yield from bar.track(items, total=total, description=what)


@contextmanager
def counting(what: str, total: int, show: bool) -> Iterator[Callable[[int], None]]:
    """Draw how many are done, as `track` does, for work that comes in lumps: call what this gives with the number."""
    with _bar(show) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _bar(show: bool) -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not (show and console.is_terminal), transient=True)
