"""The moving average of the weights, by hand."""

import torch
from torch import nn

from maxvit.create import create_model
from maxvit.training.ema import Average


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
    average = Average(tiny, decay=0.9)
    tiny.set([3.0, 3.0], 7.0, 11)
    average.update(tiny)  # the first update copies
    assert average.network.weight.tolist() == [3.0, 3.0]
    assert float(average.network.statistic) == 7.0

    tiny.set([14.0, -8.0], 18.0, 12)
    average.update(tiny)  # n = 1: decay (1 + 1) / (10 + 1) = 2 / 11
    torch.testing.assert_close(average.network.weight, nn.Parameter(torch.tensor([12.0, -6.0])))
    torch.testing.assert_close(average.network.statistic, torch.tensor(16.0))

    tiny.set([24.0, 6.0], 4.0, 13)
    average.update(tiny)  # n = 2: decay 3 / 12
    torch.testing.assert_close(average.network.weight, nn.Parameter(torch.tensor([21.0, 3.0])))
    torch.testing.assert_close(average.network.statistic, torch.tensor(7.0))


def test_after_the_warm_up_the_decay_is_the_one_that_was_asked_for():
    tiny = Tiny()
    average = Average(tiny, decay=0.25)
    average.update(tiny)
    average.updates = 1000
    tiny.set([5.0, 2.0], 9.0, 1)
    average.update(tiny)
    torch.testing.assert_close(average.network.weight, nn.Parameter(torch.tensor([4.0, 1.0])))  # 1/4 old, 3/4 new
    torch.testing.assert_close(average.network.statistic, torch.tensor(8.0))


def test_counters_of_batches_are_copied_not_averaged():
    tiny = Tiny()
    average = Average(tiny, decay=0.9)
    for batches in (3, 17, 18):
        tiny.set([0.0, 0.0], 0.0, batches)
        average.update(tiny)
        assert int(average.network.num_batches_tracked) == batches


def test_the_average_of_a_network_holds_its_batch_statistics():
    network = create_model("maxvit_micro")
    average = Average(network, decay=0.9)
    average.update(network)
    buffers = dict(network.named_buffers())
    with torch.no_grad():
        for name, value in buffers.items():
            value.fill_(22 if name.endswith("num_batches_tracked") else 12.0)
    before = {name: value.clone() for name, value in average.network.named_buffers()}
    average.update(network)
    for name, value in average.network.named_buffers():
        # n = 1: decay 2 / 11
        expected = (
            buffers[name] if name.endswith("num_batches_tracked") else before[name] * 2 / 11 + buffers[name] * 9 / 11
        )
        torch.testing.assert_close(value, expected, msg=name)
