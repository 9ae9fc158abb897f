import re
from math import cos, pi

import pytest
import torch
from torch import nn

from maxvit.create import create_model
from maxvit.training.optim import (
    freeze,
    learning_rate_factor,
    make_optimizer,
    set_learning_rate,
    set_training_mode,
)

FLOOR = 0.01


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        (0, 1 / 10),  # the first step already learns
        (4, 5 / 10),
        (9, 1.0),  # the end of the warm-up
        (10, 1.0),  # the cosine starts at its top
        (55, FLOOR + (1 - FLOOR) * 0.5),  # half way between 10 and 100
        (40, FLOOR + (1 - FLOOR) * 0.75),  # cos(pi / 3) = 1/2
        (70, FLOOR + (1 - FLOOR) * 0.25),  # cos(2 pi / 3) = -1/2
        (100, FLOOR),  # the last of 101 steps
        (150, FLOOR),  # a scheduler looks one step ahead
    ],
)
def test_the_learning_rate_follows_a_line_and_then_a_cosine(step, factor):
    assert learning_rate_factor(step, total=101, warmup=10, floor=FLOOR) == pytest.approx(factor, rel=1e-12)


def test_without_warm_up_the_first_step_is_at_the_peak():
    factors = [learning_rate_factor(step, total=13, warmup=0, floor=0.0) for step in range(13)]
    assert factors == pytest.approx([(1 + cos(pi * step / 12)) / 2 for step in range(13)], abs=1e-15)


@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (1, 1), (5, 5), (3, 7)])
def test_runs_shorter_than_their_warm_up_stay_between_nothing_and_the_peak(total, warmup):
    assert all(0 < learning_rate_factor(step, total, warmup, FLOOR) <= 1 for step in range(total + 1))


@pytest.fixture(scope="module")
def network():
    return create_model("maxvit_micro")


def test_biases_norms_and_bias_tables_are_not_decayed_and_all_others_are(network):
    optimizer = make_optimizer(network, 1e-3, 0.07)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    norms = {name for name, m in network.named_modules() if isinstance(m, nn.LayerNorm | nn.BatchNorm2d)}
    for name, parameter in network.named_parameters():
        owner, _, kind = name.rpartition(".")
        spared = owner in norms or kind == "bias" or re.search(r"bias\.table$", name)
        assert decay.pop(id(parameter)) == (0.0 if spared else 0.07), name
    assert not decay


def test_both_kinds_of_parameters_exist(network):
    decayed, spared = (len(group["params"]) for group in make_optimizer(network, 1e-3, 0.07).param_groups)
    assert decayed > 20
    assert spared > 20


def test_with_layer_decay_each_block_learns_slower_than_the_next(network):
    optimizer = make_optimizer(network, 1e-3, 0.07, layer_decay=0.5)
    scales = {id(p): group["scale"] for group in optimizer.param_groups for p in group["params"]}
    blocks = [block for stage in network.stages for block in stage.children()]
    for depth, part in enumerate([network.stem, *blocks, network.head]):
        assert {scales[id(p)] for p in part.parameters()} == {0.5 ** (len(blocks) + 1 - depth)}
    set_learning_rate(optimizer, 0.2)
    assert {group["lr"] for group in optimizer.param_groups} == {0.2 * s for s in scales.values()}


@pytest.mark.parametrize(("schedule", "half"), [("cosine", 0.505), ("linear", 0.505), ("constant", 1.0)])
def test_the_way_down_is_the_one_asked_for(schedule, half):
    assert learning_rate_factor(50, 101, 0, FLOOR, schedule) == pytest.approx(half)
    assert learning_rate_factor(25, 101, 0, 0.0, "linear") == pytest.approx(0.75)


@pytest.mark.parametrize("stages", [0, 1, 4])
def test_frozen_stages_keep_weights_and_statistics(stages):
    network = create_model("maxvit_micro", num_classes=3)
    freeze(network, stages, linear_probe=False)
    set_training_mode(network, stages, linear_probe=False, batch_norm=False)
    before = {n: t.clone() for n, t in network.state_dict().items()}
    optimizer = make_optimizer(network, 1e-2, 0.05)
    network(torch.randn(4, 3, 32, 64)).square().sum().backward()
    optimizer.step()
    changed = {n for n, t in network.state_dict().items() if not torch.equal(t, before[n])}
    frozen = {n for n in before if stages and n.startswith(("stem.", *(f"stages.{i}." for i in range(stages))))}
    assert not changed & frozen
    assert {n.split(".")[1] for n in changed if n.startswith("stages.")} == {str(i) for i in range(stages, 4)}
    assert any(n.startswith("head.") for n in changed)


def test_a_linear_probe_changes_the_classifier_alone():
    network = create_model("maxvit_micro", num_classes=3)
    freeze(network, 0, linear_probe=True)
    set_training_mode(network, 0, linear_probe=True, batch_norm=False)
    before = {n: t.clone() for n, t in network.state_dict().items()}
    optimizer = make_optimizer(network, 1e-2, 0.05)
    network(torch.randn(4, 3, 32, 64)).square().sum().backward()
    optimizer.step()
    changed = {n for n, t in network.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == {"head.classifier.weight", "head.classifier.bias"}


def test_frozen_batch_norms_keep_their_statistics_and_the_rest_trains():
    network = create_model("maxvit_micro", num_classes=3)
    set_training_mode(network, 0, linear_probe=False, batch_norm=True)
    before = {n: t.clone() for n, t in network.named_buffers()}
    network(torch.randn(4, 3, 32, 64))
    assert all(torch.equal(t, before[n]) for n, t in network.named_buffers())
    assert network.training
