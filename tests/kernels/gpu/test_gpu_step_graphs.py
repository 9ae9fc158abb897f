"""Blocks in training as CUDA graphs, as far as it shows without a card: what is captured, when, and what is not."""

import copy
import functools

import pytest
import torch
from test_gpu_network import SMALL, make
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from maxvit import MaxViT, MaxViTError, accelerate
from maxvit.kernels.gpu import step_graphs
from maxvit.kernels.gpu.step_graphs import StepGraphs
from maxvit.kernels.gpu.training import FORWARDS


class Captures:
    """Stands in for `torch.cuda.make_graphed_callables`, which runs blocks to warm up and replaces their forwards."""

    def __init__(self) -> None:
        self.replays: list[nn.Module] = []

    def __call__(self, blocks: tuple[nn.Module, ...], samples: tuple[tuple[Tensor], ...]) -> None:
        assert not torch.is_autocast_cache_enabled()
        for block, (x,) in zip(blocks, samples, strict=True):
            plain = block.forward
            block(torch.randn_like(x))  # changes statistics, and draws
            block.forward = functools.partial(self._replay, block, plain)

    def _replay(self, block: nn.Module, plain, x: Tensor) -> Tensor:
        self.replays.append(block)
        return plain(x)


@pytest.fixture
def captures(monkeypatch) -> Captures:
    found = Captures()
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", found)
    monkeypatch.setattr(step_graphs, "on_card", lambda x: True)
    return found


@pytest.fixture
def networks():
    """The same twice: plain layers, and plain layers as graphs."""
    torch.manual_seed(0)
    model = make(torch.device("cpu")).train()
    graphed = copy.deepcopy(model)
    StepGraphs(graphed)
    return model, graphed


def step(network: MaxViT, images: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(3)
    network.zero_grad()
    network(images).square().mean().backward()
    grads = {name: p.grad for name, p in network.named_parameters()}
    return grads | {name: buffer.clone() for name, buffer in network.named_buffers()}


def blocks(network: MaxViT) -> list[nn.Module]:
    return [block for stage in network.stages for block in stage]


def test_steps_are_the_same_and_all_blocks_are_replayed(captures, networks):
    plain, graphed = networks
    for number in (1, 2):
        images = torch.randn(2, 3, 32, 32)
        wanted, found = step(plain, images), step(graphed, images)
        assert [name for name in wanted if not torch.equal(wanted[name], found[name])] == []
        assert captures.replays == number * blocks(graphed)


def test_gradients_of_several_batches_are_added_up(captures, networks):
    """Though a graph writes each into the same memory."""
    _, graphed = networks
    step(graphed, torch.randn(2, 3, 32, 32))
    weight, memory = next(graphed.stages[0].parameters()), torch.ones(3)
    kept = next(iter(weight._backward_hooks.values()))(memory)
    memory.zero_()
    assert kept.sum() == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda network: network.eval(),
        lambda network: network.set_gradient_checkpointing(),
        lambda network: network.stages.requires_grad_(False),
    ],
    ids=["evaluation", "checkpointing", "frozen"],
)
def test_what_does_not_train_as_a_whole_is_not_captured(captures, networks, change):
    _, graphed = networks
    change(graphed)
    graphed(torch.randn(2, 3, 32, 32))
    assert captures.replays == []


def test_batches_of_another_shape_are_computed_without(captures, networks):
    plain, graphed = networks
    images = torch.randn(2, 3, 32, 32)
    for given in (images, torch.randn(2, 3, 32, 64)):
        wanted, found = step(plain, given), step(graphed, given)
    assert [name for name in wanted if not torch.equal(wanted[name], found[name])] == []
    assert captures.replays == blocks(graphed)


def test_only_the_gpus_kernels_have_graphs():
    with pytest.raises(MaxViTError, match="need backend='triton'"):
        accelerate(make(torch.device("cpu")), graphs=True)


@pytest.mark.parametrize("autocast", [False, True])
def test_a_step_reads_nothing_from_the_card(autocast):
    """Tensors without numbers raise where one is asked for."""
    with FakeTensorMode():
        network = MaxViT(SMALL).train()
        for part in network.modules():
            for kind, forward in FORWARDS.items():
                if isinstance(part, kind):
                    part.forward = functools.partial(forward, part)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = network(torch.empty(2, 3, 38, 45))
        logits.sum().backward()
        assert all(p.grad is not None and p.grad.shape == p.shape for p in network.parameters())
