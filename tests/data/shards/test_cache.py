"""Shards of object storage are fetched once, kept while there is room, and asked for again when storage fails."""

import multiprocessing
import os
import shutil

import pytest
from filelock import FileLock

from maxvit.data.shards import cache as shard_cache
from maxvit.data.shards import read
from maxvit.data.shards.cache import FOLDER
from maxvit.data.shards.read import read_shards
from maxvit.errors import MaxViTError
from maxvit.storage import cache_folder
from shard_samples import picture, write_foreign

pytestmark = pytest.mark.usefixtures("cache")


def shards_folder():
    return cache_folder() / FOLDER


def upload(memory, folder, url="memory://bucket/data"):
    memory.put(str(folder) + "/", url.removeprefix("memory://") + "/", recursive=True)
    return url


def test_a_url_gives_the_same_data_set_as_the_folder(memory, made):
    local, remote = read_shards(made / "shards"), read_shards(upload(memory, made / "shards"))
    for name in ("train", "val", "test"):
        ours, theirs = getattr(local, name), getattr(remote, name)
        assert list(ours.sources) == list(theirs.sources)
        assert list(ours.names) == list(theirs.names)
        assert (ours.labels, ours.shards, ours.class_names) == (theirs.labels, theirs.shards, theirs.class_names)


def test_a_shard_is_fetched_once(memory, made, monkeypatch):
    url, fetched, open_ = upload(memory, made / "shards"), [], type(memory).open

    def count(self, path, *arguments, **options):
        fetched.append(path)
        return open_(self, path, *arguments, **options)

    monkeypatch.setattr(type(memory), "open", count)
    whole = [list(read_shards(url).train.sources) for _ in range(2)]
    assert whole[0] == whole[1]
    assert sorted(fetched) == [f"/bucket/data/{path.name}" for path in sorted((made / "shards").glob("train-*.tar"))]
    assert not list(shards_folder().glob("*.part"))


def test_only_the_shards_that_are_read_are_fetched(memory, made):
    train = read_shards(upload(memory, made / "shards")).train
    assert not shards_folder().exists()
    train.sources[5]
    assert len(list(shards_folder().glob("*.tar"))) == 1


def test_the_cache_keeps_what_was_used_last_within_its_bytes(memory, made):
    url = upload(memory, made / "shards")
    sizes = [path.stat().st_size for path in sorted((made / "shards").glob("train-*.tar"))]
    limit = max(sizes) * 3
    train = read_shards(url, cache_bytes=limit).train
    for position, content in enumerate(train.sources):
        assert content == train.sources[position]
        assert sum(path.stat().st_size for path in shards_folder().glob("*.tar")) <= limit
    last = train.sources._open[max(train.shards)]
    kept = max(shards_folder().glob("*.tar"), key=lambda path: path.stat().st_mtime_ns)
    assert os.path.sameopenfile(last.number, os.open(kept, os.O_RDONLY))


def test_what_is_used_again_outlives_what_was_fetched_after_it(memory, made):
    url = upload(memory, made / "shards")
    first = [list(read_shards(url).train.shards).index(k) for k in range(4)]
    limit = sum(path.stat().st_size for path in sorted((made / "shards").glob("train-*.tar"))[:4]) - 1
    files = []
    for k in (0, 1, 2, 0, 3):
        before = set(shards_folder().glob("*.tar"))
        read_shards(url, cache_bytes=limit).train.sources[first[k]]
        files += sorted(set(shards_folder().glob("*.tar")) - before)
    assert [file.exists() for file in files] == [True, False, True, True]


def test_a_shard_that_the_cache_dropped_stays_readable_where_it_is_open(memory, made):
    train = read_shards(upload(memory, made / "shards")).train
    before = train.sources[0]
    shutil.rmtree(shards_folder())
    assert train.sources[0] == before
    assert list(train.sources) == list(read_shards(made / "shards").train.sources)


def test_what_another_process_left_half_fetched_is_removed_when_room_is_needed(memory, made):
    url = upload(memory, made / "shards")
    shards_folder().mkdir(parents=True)
    abandoned = shards_folder() / "ab12.part"
    abandoned.write_bytes(bytes(10_000))
    os.utime(abandoned, (0, 0))
    list(read_shards(url, cache_bytes=12_000).train.sources)
    assert not abandoned.exists()


def test_what_another_process_is_fetching_is_left_alone(memory, made):
    url = upload(memory, made / "shards")
    shards_folder().mkdir(parents=True)
    wanted = shards_folder() / "ab12.part"
    wanted.write_bytes(bytes(10_000))
    os.utime(wanted, (0, 0))
    with FileLock(shard_cache._lock_of(wanted)):
        read_shards(url, cache_bytes=12_000).train.sources[0]
        read_shards(url, cache_bytes=12_000).train.sources[26]
    assert wanted.exists()


def read_all(url, queue):
    queue.put(list(read_shards(url).train.sources))


def test_processes_that_want_the_same_shards_at_once_all_get_them(made, monkeypatch):
    """By file://, which all processes see."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    url = (made / "shards").as_uri()
    processes = [context.Process(target=read_all, args=(url, queue)) for _ in range(4)]
    for process in processes:
        process.start()
    answers = [queue.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    wanted = list(read_shards(made / "shards").train.sources)
    assert all(answer == wanted for answer in answers)
    assert len(list(shards_folder().glob("*.tar"))) == len(list((made / "shards").glob("train-*.tar")))


def test_storage_that_fails_for_a_moment_is_asked_again(memory, made, monkeypatch):
    url, open_ = upload(memory, made / "shards"), type(memory).open
    answers = iter([RuntimeError("503"), OSError("reset")])

    def flaky(self, *arguments, **options):
        for error in answers:
            raise error
        return open_(self, *arguments, **options)

    train = read_shards(url).train
    monkeypatch.setattr(type(memory), "open", flaky)
    assert train.sources[0] == read_shards(made / "shards").train.sources[0]


def test_storage_that_stays_away_stops_the_reading(memory, made, monkeypatch):
    train = read_shards(upload(memory, made / "shards")).train

    def broken(*_, **__):
        raise RuntimeError("503 slow down")

    monkeypatch.setattr(type(memory), "open", broken)
    with pytest.raises(OSError, match="503 slow down"):
        train.sources[0]
    assert not list(shards_folder().glob("*.part"))


def test_a_remote_shard_of_another_size_or_gone_stops_the_reading(memory, made):
    train = read_shards(upload(memory, made / "shards")).train
    memory.pipe("/bucket/data/train-000000.tar", b"short")
    with pytest.raises(OSError, match=r"train-000000\.tar has 5 bytes, and the index says \d+: copy it there again"):
        train.sources[0]
    memory.rm("/bucket/data/train-000001.tar")
    with pytest.raises(FileNotFoundError, match=r"train-000001\.tar is gone, and the index names it: restore it"):
        train.sources[list(train.shards).index(1)]


def test_a_shard_that_was_replaced_in_storage_is_fetched_anew(memory, made):
    url = upload(memory, made / "shards")
    before = read_shards(url).train.sources[0]
    content = memory.cat("/bucket/data/train-000000.tar").replace(before, before[::-1])
    memory.pipe("/bucket/data/train-000000.tar", content)
    assert read_shards(url).train.sources[0] == before[::-1]


def test_a_cache_smaller_than_a_shard_is_refused_at_once(memory, made):
    with pytest.raises(MaxViTError, match=r"\.tar has \d+ bytes, and the cache may hold 1000: allow more, or make sm"):
        read_shards(upload(memory, made / "shards"), cache_bytes=1000)


def test_foreign_shards_in_storage_are_scanned_once(memory, tmp_path, monkeypatch):
    url = upload(memory, write_foreign(tmp_path / "foreign"))
    first = list(read_shards(url).train.sources)
    assert memory.exists("/bucket/data/index.json")
    monkeypatch.setattr(read, "scan_shards", None)
    assert list(read_shards(url).train.sources) == first == [picture(i) for i in range(12)]


def test_foreign_shards_in_storage_that_is_only_read_need_no_index(memory, tmp_path, monkeypatch):
    url = upload(memory, write_foreign(tmp_path / "foreign"))

    def refuse(*_):
        raise NotImplementedError

    monkeypatch.setattr(type(memory), "pipe_file", refuse)
    assert len(read_shards(url).train) == 12
    assert not memory.exists("/bucket/data/index.json")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense://bucket/data", "nonsense://bucket/data cannot be opened: Protocol not known: nonsense"),
        ("memory://bucket/gone", r"bucket/gone cannot be listed \(FileNotFoundError: .*\): check address and access"),
    ],
)
def test_an_address_that_leads_nowhere_is_named(memory, url, says):
    with pytest.raises(MaxViTError, match=says):
        read_shards(url)
