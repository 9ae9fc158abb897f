"""A network in one native call: the bits of its parts, whoever computes them and whatever happens to the parts."""

import copy
import dataclasses
import pickle
import threading

import pytest
import torch
from torch import nn

import healthy
from halves import skip_unless
from maxvit import MaxViT, optimize
from maxvit.kernels.cpu import network as network_file
from maxvit.kernels.optimize import OptimizedMaxViT
from narrow import SMALL
from official import difference

STRIDES = (2, 4, 8, 16, 32)


@pytest.fixture
def fast() -> OptimizedMaxViT:
    return optimize(healthy.fill(MaxViT(SMALL)), backend="native")


def by_parts(fast: OptimizedMaxViT, images: torch.Tensor) -> list[torch.Tensor]:
    handle = fast.stem.register_forward_hook(lambda *_: None)
    maps = fast.forward_pyramid(images, STRIDES)
    handle.remove()
    return maps


def bits(maps: list[torch.Tensor]) -> list[bytes]:
    return [each.contiguous().numpy().tobytes() for each in maps]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("size", [(2, 96, 128), (1, 33, 61), (5, 32, 45)], ids=str)
def test_one_call_gives_the_bits_of_its_parts(precision, size):
    skip_unless(precision)
    fast = optimize(healthy.fill(MaxViT(SMALL)), precision=precision)
    images = torch.randn(size[0], 3, *size[1:])
    expected = by_parts(fast, images)
    assert bits(fast.forward_pyramid(images, STRIDES)) == bits(expected)
    assert torch.equal(fast.forward_pyramid(images, (8,))[0], expected[2])
    assert torch.equal(fast.forward_features(images), expected[4])


def test_however_many_threads_the_bits_are_the_same(fast):
    """A whole network of as much work as is worth eight threads, and small parts, which all threads share."""
    large, small = torch.randn(4, 3, 300, 275), torch.randn(1, 3, 100, 75)
    before, found = torch.get_num_threads(), set()
    try:
        for threads in (1, 2, 3, 8):  # some of which come late, as there are fewer cores
            torch.set_num_threads(threads)
            found |= {(fast(large).numpy().tobytes(), *bits(by_parts(fast, small))) for _ in range(5)}
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1


def test_several_callers_at_once_disturb_nobody(fast):
    images = [torch.randn(1, 3, side, 64) for side in (40, 64, 96)]
    expected = [fast(each) for each in images]
    wrong = []

    def ask(i):
        wrong.extend(i for _ in range(20) if not torch.equal(fast(images[i]), expected[i]))

    callers = [threading.Thread(target=ask, args=(i,)) for i in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == []


def test_hooks_see_the_parts(fast):
    seen = []
    handles = [stage.register_forward_hook(lambda *_: seen.append(1)) for stage in fast.stages]
    images = torch.randn(1, 3, 64, 64)
    expected = fast(images)
    for handle in handles:
        handle.remove()
    assert (len(seen), torch.equal(fast(images), expected), len(seen)) == (4, True, 4)


def test_a_part_that_is_replaced_is_called(fast):
    images = torch.randn(1, 3, 64, 64)
    before = fast.forward_features(images)
    fast.stages[3][0] = nn.Sequential(fast.stages[3][0], nn.ReLU())
    assert torch.equal(fast.forward_features(images), before.relu())


@pytest.mark.parametrize("assign", [False, True])
def test_weights_that_are_loaded_count(fast, assign):
    other = optimize(healthy.fill(MaxViT(SMALL)), backend="native")
    images = torch.randn(1, 3, 64, 64)
    before = fast(images)
    fast.load_state_dict(other.state_dict(), assign=assign)
    assert torch.equal(fast(images), other(images))
    assert not torch.equal(before, other(images))


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda fast: pickle.loads(pickle.dumps(fast))], ids=["copy", "pickle"]
)
def test_a_copy_has_weights_of_its_own(fast, copied):
    images = torch.randn(1, 3, 64, 64)
    expected = fast(images)
    twin = copied(fast)
    for weights in fast.stem.buffers():
        weights.zero_()
    assert torch.equal(twin(images), expected)


def test_plans_for_sizes_are_forgotten_some_time(fast, monkeypatch):
    monkeypatch.setattr(network_file, "SIZES", 2)
    for side in (32, 40, 48, 56, 64):
        fast(torch.randn(1, 3, side, 32))
    assert len(fast.whole._known) <= 2


@pytest.mark.parametrize("classes", [1, 7, 32])
def test_the_heads_layers_are_the_originals(classes):
    model = healthy.fill(MaxViT(dataclasses.replace(SMALL, num_classes=classes)))
    seen = torch.randn(3, 64)
    with torch.inference_mode():
        fast = optimize(model, backend="native").head
        assert fast.classifier(seen).shape == (3, classes)
        assert difference(fast.classifier(seen), model.head.classifier(seen)) < 1e-5
        assert difference(fast.dense(seen), model.head.dense(seen)) < 1e-5


def test_a_head_with_a_hook_keeps_its_layer():
    model = healthy.fill(MaxViT(SMALL))
    model.head.classifier.register_forward_hook(lambda layer, given, scores: scores + 1)
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert difference(optimize(model, backend="native")(images), model(images)) < 1e-5
