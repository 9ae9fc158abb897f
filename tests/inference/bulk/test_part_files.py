"""Each part by one process at a time, and by another if that one dies."""

import contextlib
import subprocess
import sys
import threading
from itertools import islice

import pytest

from maxvit.errors import MaxViTError
from maxvit.inference.bulk import part_files as module
from maxvit.inference.bulk.part_files import Parts

HOLDING = """
import sys, time
from pathlib import Path
from filelock import FileLock
locks = [FileLock(Path(sys.argv[1]) / f"lock-{int(part):06d}") for part in sys.argv[2:]]
for lock in locks:
    lock.acquire()
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def hold():
    """Have another process claim parts: process = hold(parts, 1, 3)."""
    with contextlib.ExitStack() as ends:

        def call(parts, *numbers):
            words = [sys.executable, "-c", HOLDING, str(parts.folder), *map(str, numbers)]
            process = ends.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
            ends.callback(process.kill)
            assert process.stdout.readline() == "held\n"
            return process

        yield call


def start(tmp_path, images=23, size=5, plan=None):
    return Parts(tmp_path / "a.parquet", images, size, plan or {"what": 1}, {})


def write(parts, images):
    parts.write(images.start // parts.size, lambda path: path.write_text(f"{images.start} "))


def join(parts):
    def together(files):
        (parts.folder / "rows").write_text("".join(path.read_text() for path in files))
        return {parts.folder / "rows": parts.out}

    parts.join(together)


def test_parts_cover_every_image_once_and_the_last_is_the_rest(tmp_path):
    with start(tmp_path) as parts:
        (round,) = [list(claims) for claims in islice(parts.rounds(), 1)]
        assert round == [range(0, 5), range(5, 10), range(10, 15), range(15, 20), range(20, 23)]
        assert parts.part_of(22) == range(20, 23)


def test_a_part_that_another_process_has_is_left_to_it_and_taken_over_when_it_dies(tmp_path, monkeypatch, hold):
    monkeypatch.setattr(module, "WAIT", 0.01)
    with start(tmp_path) as parts:
        other = hold(parts, 1, 3)
        rounds = parts.rounds()
        taken = []
        for images in next(rounds):
            taken.append(images.start)
            write(parts, images)
        assert taken == [0, 10, 20]
        assert parts.missing() == [1, 3]
        assert parts.finished() == 13
        timer = threading.Timer(0.1, other.kill)
        timer.start()
        for images in next(rounds):
            taken.append(images.start)
            write(parts, images)
        timer.join()
        assert set(taken[3:]) <= {5, 15}
        for claims in rounds:
            for images in claims:
                taken.append(images.start)
                write(parts, images)
        assert sorted(taken) == [0, 5, 10, 15, 20]
        join(parts)
        assert parts.out.read_text() == "0 5 10 15 20 "


def test_a_part_that_another_process_finishes_meanwhile_is_not_done_again(tmp_path):
    with start(tmp_path) as parts:
        claims = next(parts.rounds())
        write(parts, next(claims))
        parts.path(1).write_text("of another")
        assert next(claims) == range(10, 15)


def test_one_process_joins_and_those_that_come_later_find_it_done(tmp_path):
    with start(tmp_path, images=3) as parts:
        for claims in parts.rounds():
            for images in claims:
                write(parts, images)
        join(parts)
        assert not parts.folder.exists()
        parts.out.write_text("joined already")
        join(parts)
    with start(tmp_path, images=3) as late:
        assert late.missing() == []
        assert list(late.rounds()) == []
        join(late)
    assert late.out.read_text() == "joined already"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "a.parquet.plan.json"]


def test_parts_of_another_plan_are_refused_and_removing_the_plan_begins_again(tmp_path):
    with start(tmp_path, plan={"what": 1}) as parts:
        write(parts, next(next(parts.rounds())))
        plan = parts.plan_file
    with pytest.raises(
        MaxViTError, match=r"begun with what 1, and now it is 2: .* or remove .*plan\.json to begin again"
    ):
        start(tmp_path, plan={"what": 2})
    plan.write_text("{")
    with pytest.raises(MaxViTError, match="cannot be read"):
        start(tmp_path)
    plan.unlink()
    with start(tmp_path, plan={"what": 2}) as parts:
        assert parts.missing() == [0, 1, 2, 3, 4]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MaxViTError, match="cannot be made: Not a directory; choose a place"):
        start(tmp_path / "file")
