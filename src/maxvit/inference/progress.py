"""A progress bar on standard error, for work that takes a while."""

from collections.abc import Iterable, Iterator, Sized
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
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not (show and console.is_terminal), transient=True) as bar:
        yield from bar.track(items, total=total, description=what)
