import re
from math import cos, pi

import pytest
import torch
from torch import nn

from maxvit.create import create_model
from maxvit.training.optim import average_weights, learning_rate_factor, make_optimizer

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


class Tiny(nn.Module):
    """One weight, one floating buffer, and the counter of a batch norm."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0]))
        self.register_buffer("statistic", torch.tensor(5.0))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def set(self, weight, statistic, batches):
        with torch.no_grad():
            self.weight.copy_(torch.tensor(weight))
            self.statistic.fill_(statistic)
            self.num_batches_tracked.fill_(batches)


def test_the_average_starts_as_a_copy_and_then_follows_the_official_warm_up_by_hand():
    tiny = Tiny()
    average = average_weights(tiny, decay=0.9)
    tiny.set([3.0, 3.0], 7.0, 11)
    average.update_parameters(tiny)  # the first update copies
    assert average.module.weight.tolist() == [3.0, 3.0]
    assert float(average.module.statistic) == 7.0

    tiny.set([14.0, -8.0], 18.0, 12)
    average.update_parameters(tiny)  # n = 1: decay (1 + 1) / (10 + 1) = 2 / 11
    torch.testing.assert_close(average.module.weight, nn.Parameter(torch.tensor([12.0, -6.0])))
    torch.testing.assert_close(average.module.statistic, torch.tensor(16.0))

    tiny.set([24.0, 6.0], 4.0, 13)
    average.update_parameters(tiny)  # n = 2: decay 3 / 12
    torch.testing.assert_close(average.module.weight, nn.Parameter(torch.tensor([21.0, 3.0])))
    torch.testing.assert_close(average.module.statistic, torch.tensor(7.0))


def test_after_the_warm_up_the_decay_is_the_one_that_was_asked_for():
    tiny = Tiny()
    average = average_weights(tiny, decay=0.25)
    average.update_parameters(tiny)
    average.n_averaged.fill_(1000)
    tiny.set([5.0, 2.0], 9.0, 1)
    average.update_parameters(tiny)
    torch.testing.assert_close(average.module.weight, nn.Parameter(torch.tensor([4.0, 1.0])))  # 1/4 old, 3/4 new
    torch.testing.assert_close(average.module.statistic, torch.tensor(8.0))


def test_counters_of_batches_are_copied_not_averaged():
    tiny = Tiny()
    average = average_weights(tiny, decay=0.9)
    for batches in (3, 17, 18):
        tiny.set([0.0, 0.0], 0.0, batches)
        average.update_parameters(tiny)
        assert int(average.module.num_batches_tracked) == batches


def test_the_average_of_a_network_holds_its_batch_statistics(network):
    average = average_weights(network, decay=0.9)
    average.update_parameters(network)
    buffers = dict(network.named_buffers())
    with torch.no_grad():
        for name, value in buffers.items():
            value.fill_(22 if name.endswith("num_batches_tracked") else 12.0)
    before = {name: value.clone() for name, value in average.module.named_buffers()}
    average.update_parameters(network)
    for name, value in average.module.named_buffers():
        # n = 1: decay 2 / 11
        expected = (
            buffers[name] if name.endswith("num_batches_tracked") else before[name] * 2 / 11 + buffers[name] * 9 / 11
        )
        torch.testing.assert_close(value, expected, msg=name)
