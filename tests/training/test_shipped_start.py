"""The folder recipe starts from the weights that come with the package, where the network has some, and says so."""

import pytest
import torch

from maxvit import create_model
from maxvit.training.recipe import load_recipe
from maxvit.training.run import train
from maxvit.training.setup import make_network, say_start

CLASSES = ["blue", "green", "red"]


def stem(network) -> torch.Tensor:
    return network.state_dict()["stem.conv1.weight"]


def test_a_folder_starts_from_them():
    network = make_network(load_recipe("folder"), CLASSES)
    shipped = create_model("maxvit_micro", pretrained=True)
    assert torch.equal(stem(network), stem(shipped))
    assert network.class_names == CLASSES
    assert network.preprocessing.mean == shipped.preprocessing.mean
    assert network.preprocessing.image_size == (64, 64)


def test_null_keeps_random_weights():
    recipe = load_recipe("folder", ["model.pretrained=null"])
    assert not torch.equal(stem(make_network(recipe, CLASSES)), stem(create_model("maxvit_micro", pretrained=True)))
    assert say_start(recipe) == ""


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("maxvit_micro", "starts from maxvit_micro's weights formulas-32, which come with the package; "),
        ("maxvit_tiny", "starts from random weights: none of maxvit_tiny come with the package; "),
    ],
)
def test_a_sentence_says_which_weights(name, sentence):
    assert say_start(load_recipe("folder", [f"model.name={name}"])).startswith(sentence)


def test_a_network_without_any_starts_from_random_weights():
    recipe = load_recipe("folder", ["model.name=maxvit_tiny"])
    torch.manual_seed(0)
    wanted = create_model("maxvit_tiny", num_classes=3)
    assert torch.equal(stem(make_network(recipe, CLASSES)), stem(wanted))


def test_the_run_says_it(small_recipe, tmp_path, capsys):
    train(small_recipe("optimization.epochs=1"), tmp_path / "run", show_progress=True)
    assert "starts from maxvit_micro's weights formulas-32" in capsys.readouterr().err


def test_the_digits_start_from_random_weights():
    assert load_recipe("digits").model.pretrained is None
