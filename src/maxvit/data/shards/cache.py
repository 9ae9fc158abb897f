"""Shards of object storage, each fetched whole and once, and kept on this machine while there is room."""

import contextlib
import errno
import hashlib
import os
import shutil
import threading
import time
import weakref
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from maxvit.storage import cache_folder

FOLDER = "shards"  # in the cache, of all data sets
CACHE_BYTES = 64 * 2**30
WAITS = (1.0, 5.0, 25.0)  # seconds before an answer that failed is asked for again
_BLOCK = 8 * 2**20  # bytes that are asked for at a time


class OpenFile:
    """A file that is read at any place, also by several threads and after a fork; closed when nobody holds it."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._lock = threading.Lock()
        weakref.finalize(self, os.close, self.number)

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on; fewer where the file ends before."""
        if hasattr(os, "pread"):
            return os.pread(self.number, size, offset)
        with self._lock:  # Windows, where nothing forks and only threads share the position
            os.lseek(self.number, offset, os.SEEK_SET)
            return os.read(self.number, size)


def fetch(filesystem: Any, path: str, size: int, limit: int) -> OpenFile:
    """A shard as a local file: from the cache, or fetched now. It stays readable when the cache drops it.

    Several processes may want it at once: one fetches, and the others wait for it.

    Args:
        filesystem: fsspec's, of this process.
        path: In that file system.
        size: Bytes that it must have.
        limit: Bytes that the cache may hold; what was not used for longest is removed.

    Raises:
        OSError: If it cannot be fetched, has another size, or the disk is full.
    """
    try:
        identity = f"{filesystem.unstrip_protocol(path)} {size} {_patiently(lambda: filesystem.ukey(path))}"
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is gone, and the index names it: restore it") from error
    name = hashlib.sha256(identity.encode()).hexdigest()[:32]
    folder = cache_folder() / FOLDER
    file, part = folder / f"{name}.tar", folder / f"{name}.part"
    with contextlib.suppress(FileNotFoundError):
        return _use(file)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(_lock_of(part)):
        with contextlib.suppress(FileNotFoundError):
            return _use(file)  # another process has fetched it meanwhile
        with FileLock(folder / "lock"):
            _make_room(folder, size, limit)
            part.touch()
            os.truncate(part, size)  # takes its place in the sum before its bytes come
        try:
            _patiently(lambda: _copy(filesystem, path, size, part))
            with FileLock(folder / "lock"):  # so that nobody removes it before it is open
                os.replace(part, file)
                return _use(file)
        finally:
            part.unlink(missing_ok=True)


def _use(file: Path) -> OpenFile:
    opened = OpenFile(file)
    os.utime(file)  # the file used last is the last to be removed
    return opened


def _lock_of(part: Path) -> Path:
    """One of 256, so that they need not be tidied away: two shards that share one wait for each other at worst."""
    return part.with_name(f"lock-{part.name[:2]}")


def _make_room(folder: Path, size: int, limit: int) -> None:
    """Remove the files that were not used for longest, until `size` bytes more are within the limit."""
    found = []
    for path in [*folder.glob("*.tar"), *folder.glob("*.part")]:
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            found.append((status.st_mtime, path, status.st_size))
    total = sum(length for _, _, length in found)
    for _, path, length in sorted(found):
        if total + size <= limit:
            return
        if path.suffix == ".tar" or _is_abandoned(path):
            with contextlib.suppress(PermissionError):  # Windows removes no file that is open
                path.unlink(missing_ok=True)
                total -= length


def _is_abandoned(part: Path) -> bool:
    """Whether the process that was fetching it has died."""
    try:
        with FileLock(_lock_of(part), timeout=0):
            return True
    except Timeout:
        return False


def _copy(filesystem: Any, path: str, size: int, part: Path) -> None:
    with filesystem.open(path, "rb", block_size=_BLOCK) as source, part.open("r+b") as target:
        shutil.copyfileobj(source, target, _BLOCK)
        copied = target.tell()
    if copied != size:
        raise OSError(f"{path} has {copied} bytes, and the index says {size}: copy it there again")


def _patiently(ask: Any) -> Any:
    """What `ask()` gives; asked again where storage or the network fails for a moment."""
    for wait in (*WAITS, None):
        try:
            return ask()
        except (FileNotFoundError, PermissionError):
            raise
        except Exception as error:  # each plug-in of fsspec has exceptions of its own, often no OSError
            if wait is None or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)):
                raise error if isinstance(error, OSError) else OSError(str(error)) from error
            time.sleep(wait)
