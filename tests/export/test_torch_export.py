"""Graphs for one size and for every size: they answer as the network does, and leave it alone."""

import pytest
import torch

from maxvit import MaxViT, MaxViTConfig, Preprocessing
from maxvit.export.options import ExportOptions
from maxvit.export.torch_export import trace

CONFIG = MaxViTConfig(
    stem_channels=4, channels=(8, 8, 8, 8), depths=(1, 1, 1, 1), head_dim=4, window_size=(3, 2), grid_size=(2, 3),
    num_classes=5, image_size=(64, 96),
)  # fmt: skip


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MaxViT(CONFIG, Preprocessing(image_size=(64, 96))).eval()


def agree(program, model, *shape):
    images = torch.randn(*shape)
    expected = model(images)
    assert (program(images) - expected).abs().max() < 1e-5 * expected.std()


def test_fixed_size_takes_any_number_of_images(model):
    program = trace(model, ExportOptions()).module()
    for number in (1, 2, 5):
        agree(program, model, number, 3, 64, 96)


@pytest.fixture(scope="module")
def any_size(model):
    """Exported from training mode, with the tensors of the network as they were before."""
    before = {name: t.clone() for name, t in model.state_dict().items()}
    program = trace(model.train(), ExportOptions(any_size=True)).module()
    was_training = model.training
    model.eval()
    return program, before, was_training


@pytest.mark.full
def test_any_size_takes_sizes_that_divide_and_sizes_that_do_not(model, any_size):
    for shape in ((2, 3, 64, 96), (1, 3, 33, 33), (3, 3, 37, 101), (2, 3, 192, 61), (1, 3, 211, 33)):
        agree(any_size[0], model, *shape)


@pytest.mark.full
def test_the_network_is_left_as_it_is(model, any_size):
    _, before, was_training = any_size
    assert was_training
    assert not model.stages[0][0].block_attention.attention.any_size
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
