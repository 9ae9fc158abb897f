"""The whole network on images of any size, and windows that scale only when asked."""

import copy
import dataclasses
import random

import pytest
import torch
from torch import Tensor

from maxvit import MaxViT, create_model, load_model
from maxvit.config import Size
from maxvit.layers.attention import GroupAttention
from official import MICRO, difference, network
from slow_attention import slow_attention

NORMAL, ALL = 8, 100
SEEDS = [*range(NORMAL), *(pytest.param(s, marks=pytest.mark.full) for s in range(NORMAL, ALL))]
OBLONG = dataclasses.replace(MICRO, window_size=(5, 3), grid_size=(4, 7), bias_table_size=(13, 13))


def drawn_image_size(seed: int) -> Size:
    """Two sides of 32 to 400 pixels, each drawn on its own, every third time a prime."""
    rng = random.Random(seed)
    primes = [n for n in range(32, 401) if all(n % d for d in range(2, 21))]
    return rng.choice(primes) if seed % 3 == 0 else rng.randint(32, 400), rng.randint(32, 400)


def drawn_network(seed: int) -> MaxViT:
    """The official windows, 7 and 7, or oblong ones with a resized table."""
    return network(MICRO if seed % 2 else OBLONG, salt=f"any size {seed}")


@pytest.fixture
def by_definition(monkeypatch):
    """Let attention be the slow reference, in the whole network."""

    def call(model, images):
        with monkeypatch.context() as patch:
            patch.setattr(GroupAttention, "forward", slow_attention)
            return model(images)

    return call


def attentions(model: MaxViT) -> list[GroupAttention]:
    return [m for m in model.modules() if isinstance(m, GroupAttention)]


@pytest.mark.parametrize("seed", SEEDS)
def test_network_is_the_one_whose_attention_sees_real_tokens_alone(seed, by_definition):
    model, images = drawn_network(seed).double(), torch.randn(1, 3, *drawn_image_size(seed)).double()
    with torch.no_grad():
        assert difference(model(images), by_definition(model, images)) < 1e-9


@pytest.mark.parametrize("seed", SEEDS)
def test_training_is_that_of_the_network_whose_attention_sees_real_tokens_alone(seed, by_definition):
    model = drawn_network(seed).double().train()
    height, width = drawn_image_size(seed)
    images = torch.randn(3, 3, max(32, height // 3), max(32, width // 3)).double()
    logits, by_hand = model(images), by_definition(model, images)
    assert difference(logits.detach(), by_hand.detach()) < 1e-9
    target = torch.randn_like(logits)
    ours, theirs = (torch.autograd.grad((y * target).sum(), [*model.parameters()]) for y in (logits, by_hand))
    for (name, _), a, b in zip(model.named_parameters(), ours, theirs, strict=True):
        assert (a - b).abs().max() <= 1e-9 * (1 + b.abs().max()), name


@pytest.mark.parametrize("seed", SEEDS)
def test_fp32_and_bf16_are_as_near_as_plain_attention_in_the_same_precision(seed, by_definition):
    """The error budget: at most twice that of the same network by the definition, in the same precision."""
    model = drawn_network(seed).train(seed // 2 % 2 == 0)
    height, width = drawn_image_size(seed)
    images = torch.randn(3, 3, max(32, height // 3), max(32, width // 3))
    exact = copy.deepcopy(model).double()
    with torch.no_grad():
        truth = by_definition(exact.forward_features, images.double())
        for dtype in (torch.float32, torch.bfloat16):
            low = copy.deepcopy(model).to(dtype)
            ours = low.forward_features(images.to(dtype))
            plain = by_definition(low.forward_features, images.to(dtype))
            assert ours.dtype == dtype
            assert (ours - truth).abs().max() <= 2 * (plain - truth).abs().max(), dtype


def batch_of_images(seed: int) -> Tensor:
    return torch.randn(4, 3, *(max(32, side // 3) for side in drawn_image_size(seed)))


@pytest.mark.parametrize("seed", SEEDS)
def test_what_an_image_travels_with_changes_no_bit_of_its_answer(seed):
    model, images = drawn_network(seed), batch_of_images(seed)
    others = torch.stack([images[2], *torch.randn_like(images[1:])])  # another place, other neighbours
    with torch.no_grad():
        assert torch.equal(model(others)[0], model(images)[2])


@pytest.mark.parametrize("seed", SEEDS)
def test_an_image_alone_and_in_a_batch_gets_the_same_answer(seed):
    model, images = drawn_network(seed), batch_of_images(seed)
    # Products of another height are summed in another order: 1.7e-6 is the worst of 100 seeds.
    for dtype, bound in ((torch.float64, 1e-12), (torch.float32, 4e-6)):
        model, images = model.to(dtype), images.to(dtype)
        with torch.no_grad():
            alone = torch.cat([model(image[None]) for image in images])
            assert difference(alone, model(images)) < bound, dtype


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_calling_with_another_size_changes_no_window(training):
    model = network(OBLONG).train(training)
    start = copy.deepcopy(model.config)
    for hw in ((32, 32), (37, 211), (160, 96)):
        model(torch.randn(2, 3, *hw))
        assert model.config == start
        assert {(a.axis, a.size) for a in attentions(model)} == {("block", (5, 3)), ("grid", (4, 7))}


@pytest.mark.parametrize(
    ("image_size", "windows"), [((384, 225), (12, 8)), ((32, 33), (1, 2)), (512, (16, 16)), ((223, 416), (7, 13))]
)
def test_windows_scale_to_a_size_that_is_asked_for(image_size, windows):
    with torch.device("meta"):
        model = create_model("maxvit_tiny", image_size=image_size)
    assert model.config.window_size == model.config.grid_size == windows
    assert model.config.bias_table_size == (13, 13)
    assert {a.size for a in attentions(model)} == {windows}
    assert {tuple(a.bias.table.shape[1:]) for a in attentions(model)} == {(13, 13)}


@pytest.mark.parametrize("size", [(384, 225), (64, 353), (161, 96), (33, 32)])
def test_scaled_windows_attend_as_the_definition_with_a_resized_table(size, by_definition):
    model = network(MICRO).double()
    model.set_image_size(size)
    for hw in (size, (size[1], size[0]), (101, 67)):
        images = torch.randn(1, 3, *hw).double()
        with torch.no_grad():
            assert difference(model(images), by_definition(model, images)) < 1e-9


@pytest.mark.parametrize("size", [(384, 225), (64, 353), (33, 32)])
def test_setting_the_size_back_is_exact(size):
    model, images = network(MICRO), torch.randn(2, 3, 101, 67)
    config, preprocessing = model.config, model.preprocessing
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        before = model(images)
        model.set_image_size(size)
        assert not torch.equal(model(images), before)
        model.set_image_size(224)
        assert torch.equal(model(images), before)
    assert model.config == config
    assert model.preprocessing.image_size == preprocessing.image_size
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("size", [(384, 225), (64, 353), (33, 32)])
def test_saving_and_loading_at_another_size_is_exact(size, tmp_path):
    model, images = network(MICRO), torch.randn(2, 3, 101, 67)
    with torch.no_grad():
        original = model(images)
        model.set_image_size(size)
        model.save(tmp_path / "scaled.safetensors")
        loaded = load_model(tmp_path / "scaled.safetensors")
        assert loaded.config == model.config
        assert torch.equal(loaded(images), model(images))
        loaded.set_image_size(224)
        assert torch.equal(loaded(images), original)
