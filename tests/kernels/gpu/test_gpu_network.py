"""The network on the Triton kernels: its own answers, gradients and statistics; and when they stay out of the way."""

import copy
import dataclasses
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from budget import FLOOR, error
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import healthy
from maxvit import MaxViT, MaxViTConfig, accelerate, optimize
from maxvit.config import OFFICIAL, TORCHVISION
from maxvit.errors import MaxViTError
from maxvit.kernels.comparison import step_difference
from maxvit.kernels.folding import fold_for_inference
from maxvit.kernels.gpu import records, support, training
from maxvit.kernels.gpu.inference import TritonBlock
from maxvit.kernels.gpu.stem import TritonStem
from maxvit.kernels.gpu.training import FORWARDS, serves
from maxvit.layers.mbconv import MBConv
from maxvit.layers.multiaxis import AttentionLayer
from maxvit.model import Stem
from one_step import saved_bytes, step

SMALL = MaxViTConfig(
    stem_channels=16,
    channels=(16, 32, 48, 64),
    depths=(1, 1, 1, 1),
    window_size=(3, 4),
    grid_size=(4, 2),
    head_dim=16,
    num_classes=7,
    image_size=(32, 64),
    drop_path_rate=0.3,
)


DIALECTS = pytest.mark.parametrize(
    "dialect", [OFFICIAL, pytest.param(TORCHVISION, marks=pytest.mark.full)], ids=["official", "torchvision"]
)


def make(device: torch.device, **changes: object) -> MaxViT:
    network = healthy.fill(MaxViT(dataclasses.replace(SMALL, **changes))).to(device)
    assert isinstance(network, MaxViT)
    return network.eval()


def maps(network: MaxViT, images: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return [*network.forward_pyramid(images, (2, 4, 8, 16, 32)), network(images)]


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.full)], ids=str)
@DIALECTS
def test_every_stage_is_the_originals(device, dtype, dialect):
    model = make(device, dialect=dialect).to(dtype)
    images = torch.randn(2, 3, 45, 38, device=device, dtype=dtype)
    truth = maps(copy.deepcopy(model).double(), images.double())
    plain, ours = maps(model, images), maps(optimize(model, backend="triton"), images)
    floor = 1e-5 if dtype == torch.float32 else FLOOR[dtype]
    for peer, found, exact in zip(plain, ours, truth, strict=True):
        assert found.dtype == dtype
        assert error(found, exact) <= 2 * error(peer, exact) + floor


@pytest.mark.parametrize("converted", [pytest.param(False, marks=pytest.mark.full), True])
def test_a_block_whose_groups_fill_its_map_is_the_originals(device, converted):
    """It has the biases of both axes beforehand, also where it is converted later."""
    block = fold_for_inference(make(device, window_size=(6, 6), grid_size=(4, 9))).stages[0][0]
    for part in (block.block_attention, block.grid_attention):
        torch.nn.init.normal_(part.attention.bias.table)
    low = copy.deepcopy(block).to(torch.bfloat16)
    ours = TritonBlock(copy.deepcopy(block)).to(torch.bfloat16) if converted else TritonBlock(copy.deepcopy(low))
    x = torch.randn(2, 16, 24, 36, device=device, dtype=torch.bfloat16)
    with torch.no_grad():
        truth = copy.deepcopy(low).double()(x.double())
        peer, found = low(x), ours(x.contiguous(memory_format=torch.channels_last))
    assert error(found, truth) <= 2 * error(peer, truth) + FLOOR[torch.bfloat16]


@pytest.mark.full
def test_graphs_of_weights_that_move_are_forgotten(device):
    fast = optimize(make(device), backend="triton")
    before = fast.graphs
    fast(torch.randn(1, 3, 32, 32, device=device))
    assert fast.graphs is before
    assert fast.to(torch.bfloat16).graphs is not before


def test_its_engine_says_what_computes(device):
    assert optimize(make(device), backend="triton").engine == "Triton kernels"
    assert "Triton" not in optimize(make(device)).engine


def test_they_are_chosen_on_cards_that_a_record_shows_them_faster_on(device, monkeypatch):
    monkeypatch.setattr("maxvit.kernels.optimize.on_record", lambda _: True)
    model = make(device)
    assert optimize(model).engine == "Triton kernels"
    monkeypatch.setattr(TritonBlock, "forward", lambda self, x: 2 * self.mbconv(x).permute(0, 3, 1, 2))
    assert "differs from the original" in (fast := optimize(model)).engine
    assert isinstance(fast.stem, Stem)


def test_a_record_is_of_a_card_by_name(monkeypatch):
    monkeypatch.setattr(records, "CARDS", {"NVIDIA H200": "a record"})
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"NVIDIA H{device}")
    x = SimpleNamespace(is_cuda=True, device=200)
    assert records.on_record(x)
    x.device = 100
    assert not records.on_record(x)
    assert not records.on_record(torch.empty(1))


@pytest.mark.parametrize("right", [pytest.param(True, marks=pytest.mark.full), False])
def test_answers_in_16_bits_are_compared_too(device, monkeypatch, right):
    model = make(device).to(torch.bfloat16)
    if right:
        assert optimize(model, backend="triton").engine == "Triton kernels"
        return
    monkeypatch.setattr(TritonStem, "forward", lambda self, x: 0 * x.repeat(1, 6, 1, 1)[:, :16, ::2, ::2])
    with pytest.raises(MaxViTError, match="differs from the original"):
        optimize(model, backend="triton")


@pytest.mark.full
def test_a_compiled_network_has_one_graph_and_the_same_answers(device):
    fast, images = optimize(make(device), backend="triton"), torch.randn(2, 3, 45, 38, device=device)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(fast, backend="aot_eager", fullgraph=True)(images), fast(images))


def off(found: dict[str, Tensor], truth: dict[str, Tensor]) -> dict[str, float]:
    return {name: error(found[name].float(), truth[name]) for name in truth}


@pytest.mark.full
@DIALECTS
def test_one_step_is_the_plain_networks(device, dialect):
    """Against the plain network in float64, not more than three times as far off as the plain one in float32."""
    model, images = make(device, dialect=dialect).train(), torch.randn(2, 3, 33, 38, device=device)
    truth = step(copy.deepcopy(model).double(), images.double())
    plain = off(step(copy.deepcopy(model), images), truth)
    ours = off(step(accelerate(model, backend="triton"), images), truth)
    assert {name: (ours[name], plain[name]) for name in truth if ours[name] > 3 * plain[name] + 2e-5} == {}


@pytest.mark.full
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_step_that_is_compared_before_use_agrees(device, dtype):
    model = make(device).to(dtype)
    block = model.stages[0][0]
    for kind, layer in ((Stem, model.stem), (MBConv, block.mbconv), (AttentionLayer, block.grid_attention)):
        assert step_difference(layer, FORWARDS[kind]) == ""


@pytest.mark.full
def test_one_step_under_autocast_is_as_near_as_the_plain_networks(device):
    model, images = make(device).train(), torch.randn(3, 3, 38, 45, device=device)
    truth = step(copy.deepcopy(model).double(), images.double())
    with torch.autocast(device.type, torch.bfloat16):
        plain = off(step(copy.deepcopy(model), images), truth)
        ours = off(step(accelerate(model, backend="triton"), images), truth)
    assert {name: (ours[name], plain[name]) for name in truth if ours[name] > 3 * plain[name] + 2**-6} == {}


def test_parameters_and_statistics_are_the_models_own(device):
    model = make(device)
    fast = accelerate(model, backend="triton")
    assert fast is not model
    assert all(a is b for a, b in zip(fast.parameters(), model.parameters(), strict=True))
    assert all(a is b for a, b in zip(fast.buffers(), model.buffers(), strict=True))


@pytest.mark.full
def test_a_second_step_from_the_same_state_has_the_same_bits(device):
    model, images = make(device).train(), torch.randn(2, 3, 32, 45, device=device)
    before = copy.deepcopy(model.state_dict())
    fast = accelerate(model, backend="triton")
    first = step(fast, images)
    model.load_state_dict(before)
    again = step(fast, images)
    assert [name for name in first if not torch.equal(first[name], again[name])] == []


@pytest.mark.full
def test_gradient_checkpointing_gives_the_same_bits(device):
    model, images = make(device).train(), torch.randn(2, 3, 32, 45, device=device)
    before = copy.deepcopy(model.state_dict())
    kept = step(accelerate(model, backend="triton"), images)
    model.load_state_dict(before)
    model.set_gradient_checkpointing()
    again = step(accelerate(model, backend="triton"), images)
    assert [name for name in kept if not torch.equal(kept[name], again[name])] == []


@pytest.mark.full
def test_less_than_half_is_kept_for_backward(device):
    model, images = make(device, drop_path_rate=0.0).train(), torch.randn(2, 3, 64, 64, device=device)
    assert saved_bytes(accelerate(model, backend="triton"), images) < 0.5 * saved_bytes(model, images)


@pytest.mark.full
def test_a_compiled_step_is_the_same_step(device):
    model, images = make(device, drop_path_rate=0.0).train(), torch.randn(2, 3, 32, 45, device=device)
    before = copy.deepcopy(model.state_dict())
    fast = accelerate(model, backend="triton")
    eager = step(fast, images)
    model.load_state_dict(before)
    fast.compile(backend="aot_eager")
    compiled = step(fast, images)
    for name, value in eager.items():
        torch.testing.assert_close(compiled[name], value)


@pytest.mark.full
def test_processes_average_its_gradients(device, tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    try:
        model, images = make(device, drop_path_rate=0.0).train(), torch.randn(2, 3, 32, 32, device=device)
        fast = accelerate(model, backend="triton")
        DistributedDataParallel(fast)(images).sum().backward()
        wrapped = {n: p.grad.clone() for n, p in model.named_parameters()}
        model.zero_grad()
        fast(images).sum().backward()
        assert all(torch.equal(wrapped[n], p.grad) for n, p in model.named_parameters())
    finally:
        dist.destroy_process_group()


def test_norms_that_processes_share_are_pytorchs(device):
    layer = nn.SyncBatchNorm.convert_sync_batchnorm(make(device).train()).stages[0][0].mbconv
    assert not serves(layer, torch.randn(1, 16, 8, 8, device=device))


def test_kinds_of_layers_may_be_left_to_pytorch_by_their_channels(device, monkeypatch):
    monkeypatch.setattr(training, "LEFT_TO_PYTORCH", frozenset([(MBConv, 16)]))
    x, block = torch.randn(1, 16, 8, 8, device=device), make(device).train().stages[0][0]
    assert not serves(block.mbconv, x)
    assert serves(block.grid_attention, x)
    assert serves(block.mbconv, torch.randn(1, 32, 8, 8, device=device))


def test_what_does_not_train_is_computed_by_the_layers_themselves(device):
    model, images = make(device), torch.randn(2, 3, 32, 32, device=device)
    assert torch.equal(accelerate(model, backend="triton")(images), model(images))


@pytest.mark.parametrize("call", [optimize, accelerate])
@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("float64", lambda patch: None),
        ("heads of up to 128", lambda patch: patch.setattr(support, "WIDEST_HEAD", 8)),
        ("run on an NVIDIA GPU", lambda patch: patch.setattr(support, "interpreted", lambda: False)),
        (
            "Triton cannot be imported",
            lambda patch: patch.setattr(support, "missing", lambda: "Triton cannot be imported"),
        ),
    ],
    ids=["another type", "wide heads", "no GPU", "no Triton"],
)
def test_what_cannot_be_served_is_said_and_computed_by_pytorch(monkeypatch, call, reason, change):
    change(monkeypatch)
    model = make(torch.device("cpu"))
    model = model.double() if reason == "float64" else model
    images = torch.randn(1, 3, 32, 32, dtype=model.head.dense.weight.dtype)
    with pytest.warns(UserWarning, match=reason.replace("128", "8")):
        fast = call(model, backend="triton")
    torch.testing.assert_close(fast(images), model(images))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_graphs_answer_as_the_network_does():
    fast = optimize(make(torch.device("cuda")), backend="triton")
    with torch.inference_mode():
        for side in (*range(32, 48), 32):  # more shapes than are kept, and the first again
            images = torch.randn(2, 3, side, 40, device="cuda")
            answers = fast(images)
            torch.testing.assert_close(answers, fast.forward_head(fast.forward_features(images)))
            first = answers.clone()
            fast(torch.randn_like(images))
            assert torch.equal(answers, first)  # of its own memory
    assert len(fast.graphs._kept) <= 8
    images = torch.randn(2, 3, 32, 40, device="cuda", dtype=torch.bfloat16)
    assert fast.to(torch.bfloat16)(images).dtype == torch.bfloat16
