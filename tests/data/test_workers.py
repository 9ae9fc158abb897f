"""Nobody waits for ever for a process that reads images."""

import logging
import multiprocessing
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from loaders import evaluation_loader
from maxvit.config import Preprocessing
from maxvit.data import workers
from maxvit.data.dataset import LabelledImages
from maxvit.tasks import examples

SPEC = Preprocessing(image_size=(32, 41))
pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")]


@pytest.fixture
def forked():
    """Workers begin with what a test has put in place."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("fork", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


def images(count=4):
    arrays = [np.random.default_rng(i).integers(0, 256, (32, 41, 3), dtype=np.uint8) for i in range(count)]
    return LabelledImages(
        arrays, list(range(count)), [str(i) for i in range(count)], [f"image {i}" for i in range(count)]
    )


def test_batches_for_which_there_is_no_shared_memory_come_all_the_same(monkeypatch, caplog, forked):
    def refuse(storage):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    workers._tell.cache_clear()
    wanted = list(evaluation_loader(images(), SPEC, batch_size=2))
    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", refuse)  # as in a worker that is forked from here
    with caplog.at_level(logging.WARNING):
        found = list(evaluation_loader(images(), SPEC, batch_size=2, workers=1))
    assert [batch.targets.tolist() for batch in found] == [[0, 1], [2, 3]]
    assert all(torch.equal(a.images, b.images) for a, b in zip(found, wanted, strict=True))
    assert [record.getMessage() for record in caplog.records] == [
        "batches do not fit into shared memory (No space left on device (28)) and are copied, which is slower: give a "
        "container more of it, such as docker run --shm-size=8g, or use fewer workers (data.workers, --workers)"
    ]


def test_a_process_that_reads_for_too_long_ends_and_is_missed(monkeypatch, forked):
    monkeypatch.setattr(workers, "LONGEST_S", 0.1)
    monkeypatch.setattr(examples.TaskExamples, "evaluation", lambda self, index: time.sleep(600))
    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid.* exited unexpectedly"):
        list(evaluation_loader(images(), SPEC, batch_size=2, workers=1))


def test_without_workers_nothing_is_bounded(monkeypatch):
    monkeypatch.setattr(workers, "LONGEST_S", 0)
    assert len(list(evaluation_loader(images(), SPEC, batch_size=2))) == 2


PROGRAM = """
import sys
import torch
from torch.utils.data import DataLoader
from maxvit.data.workers import prepare_worker

batches = DataLoader([torch.full((1000, 1000), float(i)) for i in range(6)], None, num_workers=2,
                     worker_init_fn=prepare_worker)
print([float(batch.mean()) for batch in batches])
"""


@pytest.mark.full
@pytest.mark.parametrize("size", ["1m", "6m"])  # no batch of 4 MB fits, or one does
def test_a_small_file_system_of_shared_memory_is_enough(size):
    mount = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"'
    can = subprocess.run(["unshare", "-m", "sh", "-c", mount, "sh", "true"], capture_output=True, check=False)
    if can.returncode:
        pytest.skip(f"this user mounts nothing: {can.stderr!r}")
    words = ["unshare", "-m", "sh", "-c", mount, "sh", sys.executable, "-c", PROGRAM]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]\n"
    assert done.stderr.count("--shm-size") == 1


ABANDONED = """
from torch.utils.data import DataLoader
from maxvit.data.workers import prepare_worker

batches = iter(DataLoader(range(6), None, num_workers=1, worker_init_fn=prepare_worker))
next(batches)
import sys
sys.modules["kept"] = batches  # as a traceback keeps it
"""


def test_a_program_ends_though_a_worker_is_still_there():
    subprocess.run([sys.executable, "-c", ABANDONED], timeout=30, check=True)


def test_a_worker_ends_with_its_parent_though_what_it_wrote_is_never_read(forked):
    """It holds the end of a pipe, which closes with it: at exit it waits for a queue that nobody reads any more."""
    ours, theirs = multiprocessing.Pipe()

    def work():
        workers.prepare_worker(0)
        queue.put(bytes(1 << 20))

    def begin():
        multiprocessing.Process(target=work).start()
        theirs.send("begun")
        time.sleep(60)

    queue = multiprocessing.Queue()
    parent = multiprocessing.Process(target=begin)
    parent.start()
    theirs.close()
    assert ours.recv() == "begun"
    time.sleep(0.5)  # it has begun to write
    parent.kill()
    assert ours.poll(20)  # it has ended too
    with pytest.raises(EOFError):
        ours.recv()
