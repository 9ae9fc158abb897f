"""A data set as a folder and as shards."""

import shutil

import fsspec
import pytest

from maxvit.data.shards import cache as shard_cache
from shard_samples import write_small


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no patience."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(shard_cache, "WAITS", (0.0, 0.0))


@pytest.fixture(scope="package")
def made(tmp_path_factory):
    """The folder and its shards; only read."""
    folder = tmp_path_factory.mktemp("made")
    write_small(folder)
    return folder


@pytest.fixture
def out(made, tmp_path):
    """Those shards, to be damaged."""
    return shutil.copytree(made / "shards", tmp_path / "shards")


@pytest.fixture
def memory():
    """fsspec's file system in memory, empty."""
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]
    yield filesystem
    filesystem.store.clear()
