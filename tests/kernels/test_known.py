"""Kernels and graphs are used for layers that nobody changed; what was changed is PyTorch's, and named."""

import copy
import dataclasses
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import healthy
from maxvit import MaxViT, MaxViTConfig, MaxViTError, accelerate, optimize
from maxvit.config import OFFICIAL, Dialect
from maxvit.conversion import convert
from maxvit.export.export import export_model
from maxvit.export.options import ExportOptions
from maxvit.kernels.cpu import packing, training
from maxvit.kernels.known import network_change, untouched
from maxvit.layers.drop_path import DropPath
from maxvit.layers.feedforward import FeedForward
from maxvit.layers.mbconv import MBConv
from maxvit.model import MaxViTBlock
from one_step import error, step

SMALL = MaxViTConfig(
    stem_channels=32,
    channels=(32, 32, 32, 64),
    depths=(1, 1, 1, 1),
    window_size=(3, 4),
    grid_size=(4, 2),
    head_dim=32,
    num_classes=7,
    image_size=(32, 48),
    drop_path_rate=0.3,
)
LAYER = "stages.1.0.block_attention"


def make(**changes: object) -> MaxViT:
    network = healthy.fill(MaxViT(dataclasses.replace(SMALL, **changes)))
    assert isinstance(network, MaxViT)
    return network


class Gated(FeedForward):
    """SwiGLU."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.gate = nn.Linear(channels, 4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.act(self.expand(x)) * self.gate(x))


class Halved(FeedForward):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 2


class Adapted(nn.Linear):
    """LoRA whose base trains too."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__(base.in_features, base.out_features)
        self.down, self.up = nn.Linear(base.in_features, 2, bias=False), nn.Linear(2, base.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.up(self.down(x))


SameName = type("MaxViTBlock", (MaxViTBlock,), {"__module__": __name__})


class Doubled:
    """A forward that can be copied."""

    def __init__(self, ffn: FeedForward) -> None:
        self.ffn = ffn

    def __call__(self, x: Tensor) -> Tensor:
        return 2 * FeedForward.forward(self.ffn, x)


CHANGES: dict[str, tuple[Callable[[MaxViT, nn.Module], object], str]] = {
    "gated": (lambda m, layer: setattr(layer, "ffn", Gated(32)), "ffn is Gated instead of FeedForward"),
    "forward": (lambda m, layer: setattr(layer.ffn, "forward", Doubled(layer.ffn)), "ffn has another forward"),
    "subclass": (lambda m, layer: setattr(layer, "ffn", Halved(32)), "ffn is Halved instead of FeedForward"),
    "hook": (lambda m, layer: layer.ffn.register_forward_hook(lambda m, x, y: 2 * y), "ffn has a forward hook"),
    "pre-hook": (
        lambda m, layer: layer.norm2.register_forward_pre_hook(lambda m, x: 2 * x[0]),
        "norm2 has a forward hook",
    ),
    "backward hook": (
        lambda m, layer: layer.ffn.register_full_backward_hook(lambda m, given, wanted: (2 * given[0],)),
        "ffn has a backward hook",
    ),
    "adapter": (
        lambda m, layer: setattr(layer.attention, "qkv", Adapted(layer.attention.qkv)),
        "attention.qkv is Adapted instead of Linear",
    ),
    "spectral norm by hooks": (
        lambda m, layer: nn.utils.spectral_norm(layer.ffn.expand),
        "ffn.expand has a forward hook",
    ),
    "spectral norm by parametrization": (
        lambda m, layer: parametrizations.spectral_norm(layer.ffn.expand),
        "ffn.expand is ParametrizedLinear instead of Linear",
    ),
    "activation": (lambda m, layer: setattr(layer.ffn, "act", nn.SiLU()), "ffn.act is SiLU instead of GELU"),
    "formula": (lambda m, layer: setattr(layer.ffn.act, "approximate", "none"), "is none instead of tanh"),
    "norm": (lambda m, layer: setattr(layer, "norm1", nn.RMSNorm(32)), "norm1 is RMSNorm instead of LayerNorm"),
}


@pytest.fixture(params=CHANGES)
def changed(request) -> tuple[MaxViT, str]:
    model, (change, says) = make(), CHANGES[request.param]
    change(model, model.get_submodule(LAYER))
    return model, says


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_a_changed_layer_trains_as_it_does_in_pytorch(changed):
    model, says = changed
    images = torch.randn(3, 3, 32, 45)
    plain = step(copy.deepcopy(model).train(), images)
    with pytest.warns(UserWarning, match=f"1 of 13 layers are trained by plain PyTorch: {LAYER}.*{says}"):
        fast = accelerate(model.train())
    ours = step(fast, images)
    assert ours.keys() == plain.keys()
    gradients = max(t.norm() for name, t in plain.items() if name.startswith("gradient"))
    for name, truth in plain.items():  # some are sums that cancel
        assert error(ours[name], truth) < 1e-3 or (ours[name] - truth).norm() < 1e-5 * gradients, name


def test_a_changed_network_is_optimised_by_pytorch(changed):
    model, says = changed
    fast, images = optimize(model), torch.randn(2, 3, 45, 38)
    assert fast.engine.startswith(f"PyTorch ({LAYER}")
    assert says in fast.engine
    torch.testing.assert_close(fast(images), model(images), rtol=1e-4, atol=1e-4)
    with pytest.raises(MaxViTError, match=f"the native kernels cannot be used: {LAYER}.*{says}; choose"):
        optimize(model, precision="int8")
    with pytest.warns(UserWarning, match=f"computed by plain PyTorch: {LAYER}.*{says}"):
        optimize(model, backend="triton")


def test_a_changed_network_is_not_written_as_a_graph_of_the_unchanged_one(changed, tmp_path):
    model, says = changed
    for form in (ExportOptions(), ExportOptions(precision="int8")):
        with pytest.raises(MaxViTError, match=f"the graph for one size is of MaxViT alone, and {LAYER}.*{says}"):
            export_model(model, tmp_path / "model.onnx", options=form, images=[np.zeros((32, 48, 3), np.uint8)] * 20)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.full
@pytest.mark.parametrize("name", ["gated", "hook", "adapter"])
def test_a_program_of_a_changed_network_is_traced_and_answers_as_it_does(name, tmp_path):
    model = make()
    CHANGES[name][0](model, model.get_submodule(LAYER))
    assert export_model(model, tmp_path / "model.pt2", "torch").verification.relative < 1e-5


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: setattr(m.stem, "norm", nn.GroupNorm(4, 32)), "stem.norm is GroupNorm instead of BatchNorm2d"),
        (lambda m: m.stages[2].register_forward_hook(lambda m, x, y: 2 * y), "stages.2 has a forward hook"),
        (lambda m: m.stages.__setitem__(2, nn.Sequential(m.stages[2])), "stages.2 is Sequential instead of Stage"),
        (lambda m: m.stages[2].append(m.stages[2][0]), "stages.2 has an added module '1'"),
        (lambda m: setattr(m.stages[0][0].mbconv.depthwise, "dilation", (2, 2)), r"dilation is \(2, 2\) instead of"),
        (lambda m: m.stages[0][0].mbconv.se.half(), "reduce.weight is torch.float16 on cpu, others are torch.float32"),
        (lambda m: setattr(m.stem.conv1, "bias", None), "stem.conv1 has no 'bias'"),
        (lambda m: m.stem.register_buffer("scale", torch.ones(1)), "stem has an added buffer 'scale'"),
        (lambda m: m.register_forward_hook(lambda m, x, y: 2 * y), "the network has a forward hook"),
        (lambda m: setattr(m.stages[0][0], "__class__", SameName), r"is test_known\.MaxViTBlock instead of maxvit\."),
    ],
)
def test_what_was_changed_is_named(change, says):
    model = make()
    assert network_change(model, "stem", "stages", "head") == ""
    change(model)
    assert re.search(says, network_change(model, "stem", "stages", "head"))


@pytest.fixture
def edited(monkeypatch) -> None:
    """As if someone had edited maxvit/layers/feedforward.py."""
    plain = FeedForward.__init__

    def make_it(self: FeedForward, channels: int, expansion: int = 4, dialect: Dialect = OFFICIAL) -> None:
        plain(self, channels, expansion, dialect)
        self.gate = nn.Linear(channels, channels * expansion)

    monkeypatch.setattr(FeedForward, "__init__", make_it)
    monkeypatch.setattr(FeedForward, "forward", Gated.forward)
    untouched.cache_clear()
    yield
    untouched.cache_clear()


@pytest.mark.usefixtures("edited")
def test_an_edit_of_the_layers_own_file_is_found():
    model, images = make(), torch.randn(2, 3, 32, 45)
    assert network_change(model, "stem", "stages") == "stages.0.0.block_attention.ffn has an added module 'gate'"
    fast = optimize(model)
    assert fast.engine.startswith("PyTorch")
    torch.testing.assert_close(fast(images), model(images), rtol=1e-4, atol=1e-4)
    with pytest.warns(UserWarning, match="8 of 13 layers"):
        accelerate(model.train())(images).sum().backward()
    assert all(layer.gate.weight.grad is not None for layer in model.modules() if isinstance(layer, FeedForward))


def test_an_edit_of_a_formula_alone_is_found(monkeypatch):
    model, images = make().train(), torch.randn(2, 3, 32, 45)
    monkeypatch.setattr(FeedForward, "forward", lambda self, x: self.project(self.act(self.expand(x)) ** 2))
    with pytest.warns(UserWarning, match="8 of 13 layers .* compute another answer; if you edited"):
        accelerate(model)
    with pytest.raises(MaxViTError, match=r"use the original, or backend='torch'; if you edited"):
        optimize(model, backend="native")
    fast = optimize(model)
    assert fast.engine.startswith("PyTorch (the optimised network differs from the original by ")
    torch.testing.assert_close(fast(images), model.eval()(images), rtol=1e-4, atol=1e-4)


@pytest.fixture
def doubled(monkeypatch):
    """A gated unit, as people write it: one linear layer of double width, whose halves are multiplied."""
    made = FeedForward.__init__

    def make_it(self, channels, expansion=4, dialect=OFFICIAL):
        made(self, channels, expansion, dialect)
        self.expand = nn.Linear(channels, 2 * channels * expansion)

    def forward(self, x):
        gate, value = self.expand(x).chunk(2, -1)
        return self.project(nn.functional.silu(gate) * value)

    monkeypatch.setattr(FeedForward, "__init__", make_it)
    monkeypatch.setattr(FeedForward, "forward", forward)
    untouched.cache_clear()
    yield
    untouched.cache_clear()


@pytest.mark.usefixtures("doubled")
def test_an_edit_of_a_width_is_found_before_a_kernel_reads_past_the_end(tmp_path):
    model, images = make(), torch.randn(2, 3, 32, 45)
    says = "stages.0.0.block_attention.ffn has other widths than the kernels know"
    assert network_change(model, "stem", "stages") == says
    fast = optimize(model)
    assert fast.engine == f"PyTorch ({says})"
    torch.testing.assert_close(fast(images), model.eval()(images), rtol=1e-4, atol=1e-4)
    with pytest.warns(UserWarning, match="8 of 13 layers"):
        accelerate(model.train())(images).sum().backward()
    with pytest.raises(MaxViTError, match="other widths than the kernels know"):
        export_model(model, tmp_path / "model.onnx")
    model.save(tmp_path / "edited.safetensors")
    with pytest.raises(MaxViTError, match="timm's network would compute something else"):
        convert(tmp_path / "edited.safetensors", tmp_path / "timm.safetensors", "timm")


def test_a_head_of_ones_own_changes_nothing_for_the_kernels():
    model = make()
    model.head.classifier = nn.Linear(64, 3)
    assert optimize(model, backend="native")(torch.randn(1, 3, 32, 48)).shape == (1, 3)


def test_rates_and_momentum_are_free_to_change():
    model = make()
    for part in model.modules():
        if isinstance(part, DropPath):
            part.rate = 0.1
        elif isinstance(part, nn.BatchNorm2d):
            part.momentum = 0.5
    assert network_change(model, "stem", "stages", "head") == ""


def test_what_is_accelerated_can_be_accelerated_and_optimised():
    model = make().train()
    fast = accelerate(model)
    assert accelerate(fast) is not fast
    assert optimize(fast, backend="native").engine == "native CPU kernels, fp32"


def test_a_kernel_that_is_wrong_is_not_used(monkeypatch):
    """Wrong in a gradient alone."""
    correct = training.FORWARDS[MBConv]

    def wrong(layer: MBConv, x: Tensor) -> Tensor:
        y = correct(layer, x)
        return y + (y.detach() - y) * 0.1

    monkeypatch.setitem(training.FORWARDS, MBConv, wrong)
    model = make().train()
    with pytest.warns(
        UserWarning, match=r"4 of 13 layers .*of stages\.0\.0\.mbconv the kernels compute another gradient"
    ):
        fast = accelerate(model)
    assert "forward" not in vars(fast.stages[0][0].mbconv)


def test_comparing_leaves_the_network_and_random_numbers_alone():
    model = make().train()
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    accelerate(model)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_int8_that_leaves_something_out_is_caught(monkeypatch):
    correct = packing.attention_weights
    monkeypatch.setattr(
        "maxvit.kernels.cpu.inference.attention_weights",
        lambda layer, how: [t.zero_() if i in (7, 10) else t for i, t in enumerate(correct(layer, how))],
    )
    with pytest.raises(MaxViTError, match=r"of its last map .* \(allowed are 0.25\)"):
        optimize(make(), precision="int8")


def test_a_difference_that_a_change_explains_is_no_fault_of_ours():
    model = make()
    model.register_forward_hook(lambda module, images, logits: 2 * logits)
    with pytest.raises(MaxViTError, match=r"differs .*; the network has a forward hook$"):
        optimize(model, backend="torch")


@pytest.mark.parametrize("use", ["forward", "forward_features"])
def test_an_optimised_network_refuses_gradients_of_images(use):
    fast, images = optimize(make(), backend="native"), torch.randn(1, 3, 32, 48, requires_grad=True)
    with pytest.raises(MaxViTError, match="gives no gradients with respect to its images: use the original"):
        getattr(fast, use)(images)
    with torch.no_grad():
        assert getattr(fast, use)(images).shape[0] == 1


def test_a_batch_of_no_image_is_as_in_pytorch():
    model = make(drop_path_rate=0.0).train()
    images = torch.randn(0, 3, 32, 48)
    assert accelerate(model)(images).shape == model(images).shape == (0, 7)
    assert optimize(model, backend="native")(images).shape == (0, 7)


def test_hooks_of_parameters_are_called_once():
    model = make().train()
    for parameter in model.parameters():
        parameter.register_hook(lambda gradient: 2 * gradient)
    images = torch.randn(3, 3, 32, 45)
    plain, ours = step(copy.deepcopy(model), images), step(accelerate(model), images)
    name = "gradient of stages.0.0.mbconv.se.reduce.weight"
    torch.testing.assert_close(ours[name], 2 * plain[name], rtol=1e-3, atol=1e-6)
