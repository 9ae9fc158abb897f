"""Which device a user's word means: the machine is pretended, as no machine has all of them."""

import functools
import os

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from maxvit.cli import main
from maxvit.create import create_model
from maxvit.errors import MaxViTError
from maxvit.inference.device import choose_device, how_many
from maxvit.kernels import folding
from maxvit.layers.exact import widest
from maxvit.tasks.classification import loss as classification
from maxvit.training import exact_mean

SWITCH = "PYTORCH_ENABLE_MPS_FALLBACK"


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many GPUs of NVIDIA's, and perhaps one of Apple's."""

    def pretend(gpus=0, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", functools.cache(lambda: mps))

    return pretend


@pytest.mark.parametrize(
    ("gpus", "mps", "text", "expected"),
    [
        (2, False, "auto", "cuda:0"),
        (0, True, "auto", "mps"),
        (0, False, "auto", "cpu"),
        (2, False, "cpu", "cpu"),
        (2, False, "cuda", "cuda:0"),
        (2, False, "cuda:1", "cuda:1"),
        (0, True, "mps", "mps"),
        (0, True, "cpu", "cpu"),
    ],
)
def test_a_word_means_a_device(machine, gpus, mps, text, expected):
    machine(gpus, mps)
    assert choose_device(text) == torch.device(expected)


def test_each_process_takes_the_gpu_of_its_number(machine):
    machine(2)
    assert [str(choose_device("cuda", rank, 2)) for rank in range(2)] == ["cuda:0", "cuda:1"]
    machine(0, mps=True)
    assert choose_device("auto", 1, 2) == torch.device("cpu")  # one Apple GPU is not for two


@pytest.mark.parametrize(
    ("gpus", "text", "world", "says"),
    [
        (1, "gpu", 1, "the device is 'gpu'; it takes auto, cpu, cuda, cuda:N .* or mps"),
        (1, "cpu:0", 1, "the device is 'cpu:0'; it takes"),
        (0, "cuda", 1, "the device is cuda, which is not here: there is cpu"),
        (1, "mps", 1, "the device is mps, which is not here: there is cuda:0, cpu"),
        (2, "cuda:2", 1, "the device is cuda:2, which is not here: there is cuda:0, cuda:1, cpu"),
        (2, "cuda:1", 2, "the device is cuda:1, which is one, and there are 2 processes: give --devices 1"),
        (2, "auto", 3, "3 processes need a GPU each, and this machine has 2: give --devices 2"),
    ],
)
def test_a_device_that_cannot_be_had_is_refused(machine, gpus, text, world, says):
    machine(gpus)
    with pytest.raises(MaxViTError, match=says):
        choose_device(text, world - 1, world)


@pytest.mark.parametrize(
    ("gpus", "wanted", "text", "expected"),
    [(3, None, "auto", 3), (3, None, "cuda:1", 1), (3, None, "cpu", 1), (3, 2, "cuda", 2), (0, None, "auto", 1)],
)
def test_as_many_processes_as_gpus_are_meant(machine, gpus, wanted, text, expected):
    machine(gpus)
    assert how_many(wanted, text) == expected


def test_a_device_that_is_not_here_is_one_sentence(machine, capsys):
    machine(0)
    assert main(["train", "--device", "mps"]) == 2
    assert capsys.readouterr().err == "error: the device is mps, which is not here: there is cpu\n"


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0")])
def test_what_mps_lacks_is_left_to_the_cpu_unless_the_user_says_no(monkeypatch, before, after):
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setenv(SWITCH, before or "")
    if before is None:
        monkeypatch.delenv(SWITCH)
    assert main(["--version"]) == 0
    assert os.environ[SWITCH] == after


class NoDoubles(TorchDispatchMode):
    """As on Apple's GPUs."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if any(isinstance(t, torch.Tensor) and t.dtype == torch.float64 for t in tree_iter(result)):
            raise TypeError(f"{func}: there is no float64")
        return result


def test_nothing_computes_in_float64_where_there_is_none(monkeypatch):
    with FakeTensorMode():
        assert widest(torch.empty(1, device="mps")).dtype == torch.float32
    for module in (classification, folding, exact_mean):
        monkeypatch.setattr(module, "widest", torch.Tensor.float)
    network = create_model("maxvit_micro", num_classes=3, image_size=32).train()
    with NoDoubles():
        scores = classification.ClassificationLosses(network)(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
        scores["loss"].backward()
        sums = exact_mean.Tally(torch.device("cpu"))
        sums.add(scores, 2)
        fast = folding.fold_for_inference(network)
        torch.testing.assert_close(fast(torch.ones(1, 3, 32, 32)), network.eval()(torch.ones(1, 3, 32, 32)))
    assert exact_mean.means(sums.totals(lambda s: s, lambda names: [names]))["loss"] == pytest.approx(
        scores["loss"].item(), abs=1e-6
    )
