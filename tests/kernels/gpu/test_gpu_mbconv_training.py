"""MBConv in training on the Triton kernels: the layer's own results, gradients and statistics, from less memory."""

import contextlib
import copy

import pytest
import torch
from torch import Tensor, nn

import healthy
from maxvit.config import OFFICIAL, TORCHVISION
from maxvit.kernels.gpu import maps, strips
from maxvit.kernels.gpu.mbconv_training import mbconv
from maxvit.layers.mbconv import MBConv

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # a sigmoid of 0, as on a GPU
# Relative to all of a tensor. The norms behind a gradient take most of it away: what is left is less exact.
FLOOR = {torch.float32: 1e-5, torch.bfloat16: 2**-8, torch.float16: 2**-11}


def make(device: torch.device, *shape: int, **options: object) -> MBConv:
    part = healthy.fill(MBConv(*shape, **options))
    assert isinstance(part, MBConv)
    return part.to(device).train()


def step(part: MBConv, x: Tensor, forward=nn.Module.__call__, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The result, all gradients, and the running statistics afterwards; under autocast to `dtype` if there is one."""
    x = x.detach().clone().requires_grad_()
    torch.manual_seed(1)  # of stochastic depth
    with torch.autocast(x.device.type, dtype) if dtype else contextlib.nullcontext():
        y = forward(part, x)
    grad = torch.randn(y.shape, device=x.device, generator=torch.Generator(x.device).manual_seed(7)).to(y.dtype)
    names, parameters = zip(*part.named_parameters(), strict=True)
    found = torch.autograd.grad(y, [x, *parameters], grad)
    kept = {name: buffer.clone() for name, buffer in part.named_buffers()}
    return {"result": y.detach(), "x": found[0], **dict(zip(names, found[1:], strict=True)), **kept}


def error(name: str, given: dict[str, Tensor], exact: dict[str, Tensor]) -> float:
    """Relative, in the norm; that of a shift before a norm, whose gradient is 0, of what its scale gets."""
    truth = exact[name].double()
    of = exact["pre_norm.weight"] if name == "pre_norm.bias" else truth
    assert given[name].shape == truth.shape
    assert given[name].isfinite().all()
    return float((given[name].double() - truth).norm() / of.norm().clamp(min=1e-6))


def compare(part: MBConv, x: Tensor, autocast: torch.dtype | None = None) -> None:
    """Twice as far off as the plain layer in the same types, three times for gradients, from that in float64."""
    exact = step(copy.deepcopy(part).double(), x.double())
    plain = step(copy.deepcopy(part), x, dtype=autocast)
    ours = step(part, x, mbconv, autocast)
    assert ours.keys() == exact.keys()
    assert {name: t.dtype for name, t in ours.items()} == {name: t.dtype for name, t in plain.items()}
    floor = FLOOR[autocast or x.dtype]
    off = {name: (error(name, ours, exact), error(name, plain, exact)) for name in exact}
    assert {n: p for n, p in off.items() if not p[0] <= (2 if n == "result" else 3) * p[1] + floor} == {}


def compare_float32(device, dialect, layer, shape):
    part = make(device, *layer, dialect=dialect)
    batch, *hw = shape
    compare(part, torch.randn(batch, layer[0], *hw, device=device))


@pytest.mark.parametrize("dialect", [OFFICIAL, TORCHVISION], ids=["official", "torchvision"])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ((5, 7, 2), (3, 5, 7)),
        pytest.param((5, 11, 1), (3, 5, 7), marks=pytest.mark.full),
        pytest.param((7, 7, 1), (2, 6, 4), marks=pytest.mark.full),
        pytest.param((7, 7, 2), (2, 6, 4), marks=pytest.mark.full),
    ],
    ids=str,
)
def test_one_step_is_the_layers(device, dialect, layer, shape):
    compare_float32(device, dialect, layer, shape)


@pytest.mark.full
@pytest.mark.parametrize("dialect", [OFFICIAL, TORCHVISION], ids=["official", "torchvision"])
@pytest.mark.parametrize("layer", [(5, 11, 1), (5, 11, 2), (7, 7, 2), (24, 13, 2)], ids=str)
@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 6, 4), (5, 1, 9), (1, 17, 18)], ids=str)
def test_one_step_is_the_layers_at_other_sizes(device, dialect, layer, shape):
    compare_float32(device, dialect, layer, shape)


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.full)], ids=str)
@pytest.mark.parametrize("stride", [1, pytest.param(2, marks=pytest.mark.full)])
def test_under_autocast_parameters_stay_in_float32(device, dtype, stride):
    compare(make(device, 5, 11, stride), torch.randn(3, 5, 5, 7, device=device), dtype)


@pytest.mark.full
def test_a_layer_may_be_in_bfloat16(device):
    compare(make(device, 5, 11, 2).bfloat16(), torch.randn(3, 5, 5, 7, device=device).bfloat16())


def test_a_map_may_be_one_pixel(device):
    compare(make(device, 5, 5), torch.randn(7, 5, 1, 1, device=device))


def test_channels_fill_several_tiles(device):
    compare(make(device, 67, 19), torch.randn(2, 67, 2, 3, device=device))


@pytest.mark.full
def test_each_program_has_several_tiles(device, monkeypatch):
    monkeypatch.setattr(maps, "PROGRAMS", 2)
    monkeypatch.setattr(strips, "PROGRAMS", 2)
    compare(make(device, 3, 2, 2, expansion=2), torch.randn(1, 3, 35, 19, device=device))


def test_whole_images_are_dropped_as_in_the_layer(device):
    part = make(device, 5, 7, drop_path=0.5)
    compare(part, torch.randn(5, 5, 3, 4, device=device))


@pytest.mark.full
def test_it_is_the_same_in_every_run(device):
    part, x = make(device, 3, 5, 2), torch.randn(2, 3, 5, 4, device=device)
    once, again = step(copy.deepcopy(part), x, mbconv), step(part, x, mbconv)
    assert [name for name in once if not torch.equal(once[name], again[name])] == []


def saved_bytes(part: MBConv, x: Tensor, forward) -> int:
    """What a forward keeps for backward, beside parameters."""
    kept = {p.untyped_storage().data_ptr(): 0 for p in part.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = forward(part, x)
    assert y.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("stride", [1, 2])
def test_of_the_expanded_maps_the_norms_inputs_are_kept(device, stride):
    part, x = make(device, 7, 7, stride), torch.randn(2, 7, 8, 12, device=device, requires_grad=True)
    x = x.to(memory_format=torch.channels_last)
    hidden = 28 * 2 * 8 * 12 * 4  # bytes
    ours = saved_bytes(part, x, mbconv)
    small = 6 * 28 * 4 + x.nbytes * 2  # statistics, and maps of 7 channels: the input, and that of the shortcut
    assert hidden + hidden // stride**2 <= ours <= hidden + hidden // stride**2 + small
    assert ours < 0.5 * saved_bytes(part, x, nn.Module.__call__)


def test_one_value_is_no_batch(device):
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        mbconv(make(device, 5, 5, 2), torch.randn(1, 5, 1, 1, device=device))


@pytest.mark.full
@pytest.mark.parametrize("autocast", [None, torch.bfloat16], ids=str)
def test_a_compiled_layer_is_the_same(device, autocast):
    part, x = make(device, 3, 5, 2), torch.randn(2, 3, 4, 3, device=device)
    compiled = torch.compile(mbconv, backend="aot_eager", fullgraph=True)
    plain, ours = step(copy.deepcopy(part), x, mbconv, autocast), step(part, x, compiled, autocast)
    for name in plain:
        torch.testing.assert_close(ours[name], plain[name])


def test_an_empty_batch_has_an_empty_result(device):
    y = mbconv(make(device, 5, 7, 2), torch.randn(0, 5, 6, 5, device=device, requires_grad=True))
    y.sum().backward()
    assert y.shape == (0, 7, 3, 3)
