"""The folder that shards are in: on this machine, or in object storage."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maxvit import storage
from maxvit.data.shards.cache import CACHE_BYTES, OpenFile, fetch
from maxvit.errors import MaxViTError


class ShardFolder(ABC):
    """Small files by name, and shards to read at any place. Can be pickled."""

    name: str  # as the user wrote it

    @abstractmethod
    def list_tars(self) -> Mapping[str, int]:
        """The tar files and their bytes. Raises `MaxViTError` if the folder cannot be listed."""

    @abstractmethod
    def check(self, shards: Mapping[str, int], source: str) -> None:
        """Raise `MaxViTError` if these shards, with their bytes as `source` says, cannot be read from here."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """All of a small file; None if there is none. Raises `MaxViTError` if it cannot be read."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> bool:
        """Write a small file in one step; False where the folder cannot be written to."""

    @abstractmethod
    def open(self, name: str, size: int) -> OpenFile:
        """A shard to read from. Raises `OSError` if it is gone or has not this many bytes."""


class LocalFolder(ShardFolder):
    """A folder of this machine, or one that is mounted."""

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            what = "is a file, and a folder with tar files is wanted" if path.exists() else "does not exist"
            raise MaxViTError(f"{path} {what}: check the path")
        self.path, self.name = path, str(path)

    def list_tars(self) -> Mapping[str, int]:
        files = (path for path in sorted(self.path.glob("*.tar")) if path.is_file() and path.name[0] != ".")
        return {path.name: path.stat().st_size for path in files}

    def check(self, shards: Mapping[str, int], source: str) -> None:
        found = dict(self.list_tars())
        for name, expected in shards.items():
            size = found.pop(name, None)
            if size is None:
                raise MaxViTError(f"{self.path / name} is missing, and {source} names it: restore it")
            if size != expected:
                state = (
                    "truncated: copy it again" if size < expected else f"not that file: restore it or delete {source}"
                )
                raise MaxViTError(f"{self.path / name} has {size} bytes, and {source} says {expected}; it is {state}")
        if found:
            strange = self.path / next(iter(found))
            raise MaxViTError(f"{strange} is not in {source}: remove it, or delete {source} to have all read again")

    def read(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise MaxViTError(f"{self.path / name} cannot be read: {error.strerror}") from error

    def write(self, name: str, content: bytes) -> bool:
        try:
            storage.write_bytes(self.path / name, content)
        except MaxViTError:
            return False
        return True

    def open(self, name: str, size: int) -> OpenFile:
        return OpenFile(self.path / name)


class RemoteFolder(ShardFolder):
    """A URL of object storage, by fsspec and its plug-ins: s3://, gs://, https://, ...

    Args:
        url: URL of the folder.
        cache_bytes: What fetched shards may take on this machine.

    Raises:
        MaxViTError: If the kind of storage is unknown or its plug-in is not installed.
    """

    def __init__(self, url: str, cache_bytes: int = CACHE_BYTES) -> None:
        self.name, self.cache_bytes = url.rstrip("/"), cache_bytes
        self._connect()

    def list_tars(self) -> Mapping[str, int]:
        filesystem, path = self._connect()
        try:
            found = filesystem.ls(path, detail=True)
        except Exception as error:  # each plug-in has exceptions of its own
            raise self._failed("listed", error) from error
        sizes = {str(entry["name"]).rsplit("/", 1)[-1]: entry.get("size") for entry in found}
        return {name: int(size or 0) for name, size in sorted(sizes.items()) if name.endswith(".tar")}

    def check(self, shards: Mapping[str, int], source: str) -> None:
        # whether each is there and whole is seen when it is fetched: asking for thousands takes minutes
        for name, size in shards.items():
            if size > self.cache_bytes:
                raise MaxViTError(
                    f"{self.name}/{name} has {size} bytes, and the cache may hold {self.cache_bytes}: "
                    "allow more, or make smaller shards"
                )

    def read(self, name: str) -> bytes | None:
        filesystem, path = self._connect()
        try:
            return bytes(filesystem.cat_file(f"{path}/{name}"))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failed("read", error) from error

    def write(self, name: str, content: bytes) -> bool:
        filesystem, path = self._connect()
        try:
            filesystem.pipe_file(f"{path}/{name}", content)
        except Exception:  # most storage that is shared is only read, and refuses in as many ways as there are plug-ins
            return False
        return True

    def open(self, name: str, size: int) -> OpenFile:
        filesystem, path = self._connect()
        return fetch(filesystem, f"{path}/{name}", size, self.cache_bytes)

    def _connect(self) -> tuple[Any, str]:
        """The file system as this process has it, for a fork must not share it (fsspec keeps them), and the path."""
        from fsspec.core import url_to_fs

        try:
            filesystem, path = url_to_fs(self.name)
        except (ImportError, ValueError) as error:
            raise MaxViTError(f"{self.name} cannot be opened: {error}") from error
        return filesystem, str(path).rstrip("/")

    def _failed(self, what: str, error: Exception) -> MaxViTError:
        return MaxViTError(f"{self.name} cannot be {what} ({type(error).__name__}: {error}): check address and access")


def open_folder(folder: str | Path, cache_bytes: int = CACHE_BYTES) -> ShardFolder:
    """A folder by its path or URL. Raises `MaxViTError` if there is none."""
    if isinstance(folder, str) and "://" in folder:
        return RemoteFolder(folder, cache_bytes)
    return LocalFolder(Path(folder))
