"""What arrives together is computed together, nobody gets another's answer, and nobody waits for nobody."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from maxvit.serve.batching import Batcher

NEVER_S = 1000.0  # a wait that a test would not survive


def image(value, size=(2, 3)):
    return torch.full((1, *size), float(value))


class Recorder:
    """Answers with each image's first pixel, and keeps what it was called with."""

    def __init__(self):
        self.batches, self.gate = [], threading.Event()
        self.gate.set()

    def __call__(self, items):
        images = torch.stack(items)
        self.gate.wait(20)
        self.batches.append(images[:, 0, 0, 0].tolist())
        if (images < 0).any():
            raise RuntimeError("negative")
        return images[:, 0, 0, :1]


def run(scenario, max_batch=4, max_delay_s=NEVER_S):
    """Let a scenario have a batcher that runs, and return the batches."""
    recorder = Recorder()

    async def everything():
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher({"a": recorder, "b": recorder}, executor, max_batch, max_delay_s)
            running = asyncio.create_task(batcher.run())
            try:
                async with asyncio.timeout(20):
                    await scenario(batcher, recorder)
            finally:
                recorder.gate.set()
                running.cancel()

    asyncio.run(everything())
    return recorder.batches


async def ask(batcher, *images, kind="a"):
    return [row.item() for row in await batcher.compute(kind, images)]


def test_one_image_alone_waits_for_nobody():
    async def scenario(batcher, _):
        assert await ask(batcher, image(5)) == [5]

    assert run(scenario) == [[5]]


def test_an_image_waits_for_those_that_are_on_their_way():
    async def scenario(batcher, _):
        with batcher.expecting() as arrived:
            first = asyncio.create_task(ask(batcher, image(1)))
            await asyncio.sleep(0.05)
            assert not first.done()
            arrived()
            assert await ask(batcher, image(2)) == [2]
        assert await first == [1]

    assert run(scenario) == [[1, 2]]


def test_it_waits_no_longer_once_they_have_gone():
    async def scenario(batcher, _):
        with batcher.expecting():
            first = asyncio.create_task(ask(batcher, image(1)))
            await asyncio.sleep(0.05)
        assert await first == [1]

    assert run(scenario) == [[1]]


def test_the_wait_for_others_is_bounded():
    async def scenario(batcher, _):
        with batcher.expecting():
            assert await ask(batcher, image(1)) == [1]

    assert run(scenario, max_delay_s=0.01) == [[1]]


def test_a_full_batch_waits_for_nobody():
    async def scenario(batcher, _):
        with batcher.expecting():
            assert await ask(batcher, *map(image, range(4))) == [0, 1, 2, 3]

    assert run(scenario) == [[0, 1, 2, 3]]


def test_no_batch_is_larger_than_allowed_and_each_gets_its_own_answer():
    async def scenario(batcher, recorder):
        recorder.gate.clear()
        asking = [asyncio.create_task(ask(batcher, image(i), image(100 + i))) for i in range(5)]
        await asyncio.sleep(0.05)
        recorder.gate.set()
        assert await asyncio.gather(*asking) == [[i, 100 + i] for i in range(5)]

    batches = run(scenario, max_batch=3)
    assert max(map(len, batches)) == 3
    assert sorted(i for batch in batches for i in batch) == [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]


def test_other_sizes_and_other_questions_are_computed_apart_the_oldest_first():
    async def scenario(batcher, recorder):
        recorder.gate.clear()
        blocker = asyncio.create_task(ask(batcher, image(0)))
        await asyncio.sleep(0.05)
        first = asyncio.create_task(ask(batcher, image(1, (5, 7)), image(2), image(3, (5, 7))))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(ask(batcher, image(4, (5, 7)), kind="b"))
        await asyncio.sleep(0.01)
        recorder.gate.set()
        assert await asyncio.gather(blocker, first, second) == [[0], [1, 2, 3], [4]]

    assert run(scenario) == [[0], [1, 3], [2], [4]]


def test_what_nobody_waits_for_any_more_is_not_computed():
    async def scenario(batcher, recorder):
        recorder.gate.clear()
        first = asyncio.create_task(ask(batcher, image(1)))
        await asyncio.sleep(0.05)
        gone, stays = (asyncio.create_task(ask(batcher, image(i))) for i in (2, 3))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.sleep(0)
        recorder.gate.set()
        assert await asyncio.gather(first, stays) == [[1], [3]]

    assert run(scenario) == [[1], [3]]


def test_a_batch_that_fails_is_told_to_those_who_asked_and_the_next_is_computed():
    async def scenario(batcher, _):
        with pytest.raises(RuntimeError, match="negative"):
            await ask(batcher, image(-1))
        assert await ask(batcher, image(2)) == [2]

    assert run(scenario) == [[-1], [2]]
