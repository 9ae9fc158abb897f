"""The network in the hands of PyTorch's own tools: transforms of functions, FX, dynamic quantisation, compilers."""

import copy
import dataclasses

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torchvision.models.feature_extraction import create_feature_extractor

import healthy
from maxvit import MaxViT, MaxViTConfig
from maxvit.layers.images import fix_sides

TINY = MaxViTConfig(
    stem_channels=6,
    channels=(8, 8, 16, 16),
    depths=(1, 1, 1, 1),
    window_size=(3, 2),
    grid_size=(2, 3),
    head_dim=8,
    num_classes=5,
    image_size=(32, 48),
)


def make(**changes: object) -> MaxViT:
    network = healthy.fill(MaxViT(dataclasses.replace(TINY, **changes)))
    assert isinstance(network, MaxViT)
    return network


def test_vmap_over_images_answers_as_a_batch():
    model, images = make(), torch.randn(3, 3, 37, 53)
    torch.testing.assert_close(vmap(lambda image: model(image[None])[0])(images), model(images))


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # PyTorch has no rule of its own for one step
def test_gradients_of_each_image_are_those_of_a_loop():
    model, images = make(), torch.randn(3, 3, 37, 53)
    weights = dict(model.named_parameters())

    def loss(weights: dict[str, Tensor], image: Tensor) -> Tensor:
        return functional_call(model, weights, (image[None],)).square().sum()

    together = vmap(grad(loss), (None, 0))(weights, images)
    for i, image in enumerate(images):
        torch.testing.assert_close({name: g[i] for name, g in together.items()}, grad(loss)(weights, image))


def test_torchvisions_feature_extractor_gives_the_networks_maps_at_any_size():
    model = make(drop_path_rate=0.2)  # which has a part in training, and that is traced too
    extract = create_feature_extractor(model, {"stages.2": "map", "head": "logits"})
    for hw in ((32, 48), (37, 53)):
        images = torch.randn(2, 3, *hw)
        found = extract(images)
        assert torch.equal(found["map"], model.forward_pyramid(images, (16,))[0])
        assert torch.equal(found["logits"], model(images))


def test_fx_traces_the_whole_network():
    model, images = make(), torch.randn(2, 3, 37, 53)
    assert torch.equal(torch.fx.symbolic_trace(model)(images), model(images))


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_linear_layers_can_be_quantised_dynamically():
    model, images = make(), torch.randn(2, 3, 37, 53)
    small = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear})
    assert not isinstance(small.head.dense, torch.nn.Linear)
    torch.testing.assert_close(small(images), model(images), rtol=0.1, atol=0.1)


class Counted:
    """A compiler that does nothing, and counts the sides that are symbols in each graph's output."""

    def __init__(self) -> None:
        self.symbols: list[int] = []

    def __call__(self, graph: torch.fx.GraphModule, example: object) -> object:
        (out,) = next(node for node in graph.graph.nodes if node.op == "output").args[0]
        self.symbols.append(sum(not isinstance(side, int) for side in out.meta["example_value"].shape[2:]))
        return graph.forward


def halved(images: Tensor) -> Tensor:
    fix_sides(images)
    return images[:, :, ::2, ::2] + 1


@pytest.mark.parametrize(("dynamic", "symbols"), [(None, [0, 0, 0]), (False, [0, 0, 0]), (True, [2, 2])], ids=str)
def test_each_size_is_compiled_by_itself_unless_dynamic_is_asked_for(dynamic, symbols):
    torch._dynamo.reset()
    compiler = Counted()
    compiled = torch.compile(halved, backend=compiler, dynamic=dynamic)
    for hw in ((64, 64), (96, 64), (64, 128)):  # to the compiler a square is another kind of image
        images = torch.randn(2, 3, *hw)
        assert torch.equal(compiled(images), halved(images))
    assert compiler.symbols == symbols


def test_a_side_that_is_marked_dynamic_stays_so():
    torch._dynamo.reset()
    compiler = Counted()
    images = torch.randn(2, 3, 64, 96)
    torch._dynamo.mark_dynamic(images, 2)
    torch.compile(halved, backend=compiler)(images)
    assert compiler.symbols == [1]


@pytest.mark.full
def test_a_compiled_network_answers_at_a_second_size():
    torch._dynamo.reset()
    model = make()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for hw in ((64, 64), (96, 64)):
        images = torch.randn(2, 3, *hw)
        torch.testing.assert_close(compiled(images), model(images))


@pytest.mark.full
def test_gradient_checkpointing_is_the_same_when_compiled():
    torch._dynamo.reset()
    plain, images = make(drop_path_rate=0.4).train(), torch.randn(3, 3, 37, 41)
    thrifty = copy.deepcopy(plain)
    thrifty.set_gradient_checkpointing()
    for network in (plain, torch.compile(thrifty, backend="aot_eager", fullgraph=True)):
        torch.manual_seed(7)
        network(images).square().sum().backward()
    for (name, a), b in zip(plain.named_parameters(), thrifty.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    for (name, a), b in zip(plain.named_buffers(), thrifty.buffers(), strict=True):
        torch.testing.assert_close(a, b, msg=name)
