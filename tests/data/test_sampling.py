"""Every image once an epoch, whoever computes it, and the same order whatever happened before."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from loaders import evaluation_loader, training_loader
from maxvit.config import Preprocessing
from maxvit.data.dataset import LabelledImages, Splits
from maxvit.data.sampling import WINDOW, EvaluationBatches, Share, TrainingBatches
from maxvit.data.shards.read import read_shards
from maxvit.data.shards.write import write_shards

BUCKETS = [(1, 1)] * 11 + [(1, 2)] * 5 + [(2, 1)] * 2
ONE = [(1, 1)] * 101
SPEC = Preprocessing(image_size=(32, 37))


def indices(steps):
    return [i for step in steps for i, _ in step.keys]


def shares(world, accumulate=1, nodes=1):
    return [Share(rank, world, accumulate, nodes) for rank in range(world)]


def test_batches_are_of_one_bucket_nearly_equal_and_hold_every_image_once():
    steps = list(TrainingBatches(BUCKETS, batch_size=4, seed=5))
    assert len(steps) == len(TrainingBatches(BUCKETS, 4, 5)) == 6
    assert sorted(len(step.keys) for step in steps) == [2, 2, 3, 3, 4, 4]
    assert all(len({BUCKETS[i] for i, _ in step.keys}) == 1 for step in steps)
    assert sorted(indices(steps)) == list(range(18))
    assert {step.weight for step in steps} == {1.0}


@pytest.mark.parametrize("buckets", [BUCKETS, ONE])
def test_batches_are_a_function_of_seed_and_epoch_alone(buckets):
    resumed, whole = TrainingBatches(buckets, 4, 5), TrainingBatches(buckets, 4, 5)
    for epoch in range(3):
        whole.set_epoch(epoch)
        last = list(whole)
        torch.rand(7), np.random.rand(7)  # other random numbers are drawn in between
    resumed.set_epoch(2)
    assert list(resumed) == last == list(resumed)
    resumed.set_epoch(3)
    assert list(resumed) != last
    other = TrainingBatches(buckets, 4, 6)
    other.set_epoch(2)
    assert not {s for b in other for _, s in b.keys} & {s for b in last for _, s in b.keys}


@pytest.mark.parametrize("start", [0, 1, 7, 26])
def test_an_epoch_can_be_entered_anywhere(start):
    sampler = TrainingBatches(ONE, 4, 5)
    sampler.set_epoch(3)
    whole = list(sampler)
    sampler.set_epoch(3, start)
    assert list(sampler) == whole[start:]
    assert len(sampler) == len(whole) == 26


@pytest.mark.parametrize(("world", "accumulate"), list(itertools.product([1, 2, 3], [1, 2])))
@pytest.mark.parametrize("batch_size", [12, 101])
def test_processes_and_steps_split_each_batch_and_change_none(world, accumulate, batch_size):
    alone = list(TrainingBatches(ONE, batch_size, 5))
    together = [list(TrainingBatches(ONE, batch_size, 5, share)) for share in shares(world, accumulate)]
    assert {len(steps) for steps in together} == {len(alone) * accumulate}
    for number, batch in enumerate(alone):
        turns = slice(number * accumulate, (number + 1) * accumulate)
        parts = [step for steps in together for step in steps[turns]]
        assert sorted(key for step in parts for key in step.keys) == sorted(batch.keys)
        sizes = [len(step.keys) for step in parts]
        assert max(sizes) - min(sizes) <= 1
        for step in parts:  # the mean of weighted means is the mean
            assert step.weight == pytest.approx(len(step.keys) * world * accumulate / len(batch.keys))


def test_a_batch_with_too_few_images_for_all_processes_gives_some_twice():
    parts = [next(iter(TrainingBatches([(1, 1)] * 3, 8, 0, share))) for share in shares(5)]
    assert [len(step.keys) for step in parts] == [1] * 5
    assert set(indices(parts)) == {0, 1, 2}


FILES = np.repeat(np.arange(50), 7)  # 50 files of 7 images
FILES_BUCKETS = [(1, 1)] * len(FILES)


def test_images_of_large_files_are_shuffled_within_some_files_at_a_time():
    order = np.array(indices(TrainingBatches(FILES_BUCKETS, 20, 5, shards=FILES)))
    assert sorted(order) == list(range(len(FILES)))
    for start in range(0, len(order), WINDOW * 7):
        assert len(set(FILES[order[start : start + WINDOW * 7]])) <= WINDOW
    assert len(set(FILES[order[:20]])) > 5  # but not file by file
    assert order.tolist() != indices(TrainingBatches(FILES_BUCKETS, 20, 6, shards=FILES))


@pytest.mark.parametrize(("nodes", "each"), [(2, 1), (2, 3), (5, 2)])
def test_machines_read_files_of_their_own(nodes, each):
    seen = []
    for node in range(nodes):
        ranks = range(node * each, (node + 1) * each)
        steps = [TrainingBatches(FILES_BUCKETS, 20, 5, Share(r, nodes * each, 1, nodes), FILES) for r in ranks]
        assert {len(list(s)) for s in steps} == {len(steps[0])}
        seen.append([i for s in steps for i in indices(s)])
    counts = Counter(i for s in seen for i in s)
    assert set(counts) == set(range(len(FILES)))
    assert sum(counts.values()) <= len(FILES) + nodes * each  # of a batch too small to share
    owners = Counter(f for s in seen for f in {int(FILES[i]) for i in s})
    assert sum(n - 1 for n in owners.values()) <= nodes * WINDOW  # only neighbours share a window


def pictures(number=23):
    arrays = [np.full((37, 43, 3), i, np.uint8) for i in range(number)]
    return LabelledImages(arrays, [i % 3 for i in range(number)], ["a", "b", "c"], [str(i) for i in range(number)])


USUAL = [(1, 0), (1, 2), (2, 1), (3, 0)]
PROCESSES = [
    pytest.param(*pair, marks=() if pair in USUAL else pytest.mark.full)
    for pair in itertools.product([1, 2, 3], [0, 1, 2, 3])
]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than this machine has cores
@pytest.mark.parametrize(("world", "workers"), PROCESSES)
def test_every_image_comes_once_whatever_the_processes_and_workers(world, workers):
    data = pictures()
    trained, judged = [], []
    for share in shares(world):
        batches = training_loader(data, SPEC, "none", 8, workers, 5, share)
        trained += [i for batch in batches for i in batch.indices.tolist()]
        evaluation = list(evaluation_loader(data, SPEC, 2, workers, share.rank, world))
        judged += [i for batch in evaluation for i in batch.indices.tolist()]
        assert len(evaluation) == -(-23 // (2 * world))
    assert sorted(trained) == sorted(judged) == list(range(23))


@pytest.fixture(scope="module")
def in_shards(tmp_path_factory):
    """23 training and 7 validation images, in some small shards."""
    folder = tmp_path_factory.mktemp("shards") / "out"
    write_shards(Splits(pictures(23), pictures(7)), folder, shard_bytes=2000)
    return folder


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(("world", "workers"), PROCESSES)
def test_every_image_in_shards_comes_once_whatever_the_processes_and_workers(in_shards, world, workers):
    data = read_shards(in_shards)
    assert len(set(data.train.shards)) > 3
    for nodes in {1, world}:  # on one machine, and on one each
        trained, judged = [], []
        for share in shares(world, nodes=nodes):
            batches = training_loader(data.train, SPEC, "none", 12, workers, 5, share)
            trained += [i for batch in batches for i in batch.indices.tolist()]
            evaluation = evaluation_loader(data.val, SPEC, 2, workers, share.rank, world)
            judged += [i for batch in evaluation for i in batch.indices.tolist()]
        assert sorted(trained) == list(range(23))
        assert sorted(judged) == list(range(7))


def test_evaluation_batches_hold_every_index_once_each_batch_of_one_bucket():
    batches = list(EvaluationBatches(BUCKETS[::-1], batch_size=4))
    assert sorted(i for batch in batches for i in batch) == list(range(len(BUCKETS)))
    assert all(len({BUCKETS[::-1][i] for i in batch}) == 1 for batch in batches)
    assert len(batches) == len(EvaluationBatches(BUCKETS, 4)) == 6
    assert list(EvaluationBatches([], 4)) == []
