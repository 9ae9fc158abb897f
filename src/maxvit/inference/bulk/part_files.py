"""A large file that several processes make in parts, each of which may die at any moment.

A part has its name when it is whole, so what has a name is done. Who computes a part holds a lock on it, which the
system takes back when the process ends, however it ends; no claim outlives its owner. When all parts are there, one
process joins them, and the joined file gets its name in one step.
"""

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from maxvit.errors import MaxViTError
from maxvit.storage import put_in_place, write_atomically, write_text

WAIT = 0.5  # seconds between two looks at what others are doing


def plan_file(out: Path) -> Path:
    """Where the plan of a file is."""
    return out.with_name(f"{out.name}.plan.json")


class Parts:
    """The parts of `out`, in OUT.parts next to it, and OUT.plan.json, which says what they are of and stays.

    Args:
        out: The file or folder to make.
        images: How many images it is about.
        size: Images of a part; the last may have fewer.
        plan: What makes the file what it is, as plain values; a call that goes on must have the same.
        about: What else is worth knowing later; it may differ.

    Raises:
        MaxViTError: If `out` exists and is of no such plan, or was begun with another, or cannot be written.
    """

    def __init__(self, out: Path, images: int, size: int, plan: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        self.out, self.images, self.size = out, images, size
        self.folder, self.plan_file = out.with_name(f"{out.name}.parts"), plan_file(out)
        self.count = -(-images // size)
        self._locks = self._begin(plan, about)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._locks.close()

    def missing(self) -> list[int]:
        """The parts that nobody has finished."""
        there = {path.name for path in self.folder.glob("part-*.parquet")}
        found = [part for part in range(self.count) if self.path(part).name not in there]
        return [] if self.is_made() else found  # looked at last: the parts go when it has come

    def is_made(self) -> bool:
        """Whether `out` is there; an empty folder is as good as none, unless it is another disk."""
        if not self.out.is_dir() or self.out.is_mount():
            return self.out.exists()
        return any(self.out.iterdir())

    def finished(self) -> int:
        """Images of the parts that are there."""
        return self.images - sum(len(self._range(part)) for part in self.missing())

    def path(self, part: int) -> Path:
        """Where a part is when it is whole."""
        return self.folder / f"part-{part:06d}.parquet"

    def part_of(self, image: int) -> range:
        """The images of the part that this one is in."""
        return self._range(image // self.size)

    def rounds(self) -> Iterator[Iterator[range]]:
        """Until all parts are there: the images of those that were free, each claimed when it is asked for.

        More than one round comes where a process that had claimed a part has died meanwhile. All that a round gives
        must be written before the next.
        """
        while missing := self.missing():
            claims = self._claims(missing)
            if (first := next(claims, None)) is None:
                time.sleep(WAIT)
            else:
                yield chain([first], claims)

    def write(self, part: int, write: Callable[[Path], object]) -> None:
        """Write a part that was claimed, see `write_atomically`."""
        write_atomically(self.path(part), write)
        self._locks.release(part)

    def join(self, write: Callable[[list[Path]], Mapping[Path, Path]]) -> None:
        """Make the file of all parts, unless another process has done so.

        Args:
            write: Is given the parts in order, and writes what they make together into the folder of parts. It says
                where each of its files belongs; the last becomes `out`.
        """
        with contextlib.suppress(_Gone), self._locks.whole():  # gone: another process has joined and tidied
            if not self.is_made():
                for file, place in write([self.path(part) for part in range(self.count)]).items():
                    if place.is_dir():
                        place.rmdir()  # it is empty, and Windows replaces no folder
                    put_in_place(file, place)
        self._tidy()  # after the lock: Windows removes no file that is open

    def _begin(self, plan: Mapping[str, Any], about: Mapping[str, Any]) -> "_Locks":
        """Read or write the plan, and give the locks."""
        while True:
            if self.is_made():
                self._compare(plan)
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                reason = f"{error.strerror}; choose a place that can be written to"
                raise MaxViTError(f"{self.folder} cannot be made: {reason}") from error
            locks = _Locks(self.folder)
            try:
                with locks.whole():
                    if self.plan_file.exists() or self.is_made():
                        self._compare(plan)
                    else:
                        for leftover in self.folder.glob("part-*.parquet"):
                            leftover.unlink()  # of a plan that somebody has removed, to begin again
                        write_text(self.plan_file, json.dumps({**plan, "about": about}, indent=2) + "\n")
                break
            except _Gone:  # another process has finished this very moment
                continue
        if self.is_made():
            self._tidy()
        return locks

    def _compare(self, plan: Mapping[str, Any]) -> None:
        """Refuse to go on with something else."""
        try:
            begun = json.loads(self.plan_file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise MaxViTError(f"{self.out} exists already: choose another name, or remove it") from error
        except (OSError, ValueError) as error:
            raise MaxViTError(f"{self.plan_file} cannot be read ({error}): remove it to begin again") from error
        for what, now in plan.items():
            if (before := begun.get(what)) != now:
                gone = f"{self.plan_file} and {self.out}" if self.is_made() else str(self.plan_file)
                raise MaxViTError(
                    f"{self.out} was begun with {what} {before}, and now it is {now}: choose another name, or remove "
                    f"{gone} to begin again"
                )

    def _tidy(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)  # another process may be doing the same

    def _claims(self, parts: list[int]) -> Iterator[range]:
        for part in parts:
            if not self._locks.take(part):
                continue
            if self.path(part).exists() or self.is_made():  # in this order, for the parts go when the file has come
                self._locks.release(part)
                continue
            yield self._range(part)

    def _range(self, part: int) -> range:
        return range(part * self.size, min((part + 1) * self.size, self.images))


class _Gone(Exception):
    """The folder of the parts is not there any more: the file is done."""


class _Locks:
    """A lock on each part and one on the whole, files of the folder; the system frees those of a dead process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._held = folder, dict[int, FileLock]()

    def close(self) -> None:
        """Let go of all."""
        for part in list(self._held):
            self.release(part)

    def take(self, part: int) -> bool:
        """Whether it was free; it is ours then."""
        try:
            self._held[part] = self._lock(f"lock-{part:06d}", blocking=False)
        except (Timeout, _Gone):
            return False
        return True

    def release(self, part: int) -> None:
        """Let go of one."""
        self._held.pop(part).release()

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Have the whole, as soon as nobody else does. Raises `_Gone` where the folder is gone."""
        lock = self._lock("lock", blocking=True)
        try:
            yield
        finally:
            lock.release()

    def _lock(self, name: str, blocking: bool) -> FileLock:
        lock = FileLock(self.folder / name)
        try:
            lock.acquire(blocking=blocking)
        except Timeout:
            raise
        except FileNotFoundError as error:
            raise _Gone from error
        except OSError as error:
            reason = f"{error.strerror}; choose a place on a file system with locks"
            raise MaxViTError(f"{self.folder} cannot be locked: {reason}") from error
        return lock
