"""From what a person says to a recipe: presets, and the best start that can be had."""

import pytest
import torch

import fake_hub
from every_task import network_of
from maxvit import create_model
from maxvit.errors import MaxViTError
from maxvit.tasks import make_task
from maxvit.tasks.network import backbone_of
from maxvit.training.choose import choose_recipe
from maxvit.training.recipe import load_recipe
from maxvit.training.setup import make_network


def chosen(data="photos", **said):
    choice = choose_recipe(data, **said)
    return load_recipe(choice.recipe, choice.overrides)


def test_without_a_hub_it_is_the_weights_of_the_package_and_that_is_said(hub_cache):
    choice = choose_recipe("photos")
    recipe = load_recipe(choice.recipe, choice.overrides)
    assert (recipe.model.name, recipe.model.pretrained) == ("maxvit_micro", "shipped")
    assert "maxvit_pico:rmlp-in1k-256 cannot be had: the hub cannot be reached (HF_HUB_OFFLINE is set)" in choice.said


def test_weights_that_are_in_the_cache_are_taken(hub_cache, tmp_path):
    fake_hub.put_published(hub_cache, tmp_path)
    choice = choose_recipe("photos", on_gpu=True)
    recipe = load_recipe(choice.recipe, choice.overrides)
    assert (recipe.model.name, recipe.model.pretrained) == ("maxvit_tiny", "in1k-224")
    assert (recipe.model.probe, choice.said) == (True, "")


def test_a_model_that_was_asked_for_is_never_silently_random(hub_cache):
    with pytest.raises(MaxViTError, match=r"maxvit_tiny cannot be had: .*; --scratch starts from random weights"):
        choose_recipe("photos", choices={"model": "maxvit_tiny"})


def test_a_model_with_weights_in_the_cache_takes_them(hub_cache, tmp_path):
    fake_hub.put_published(hub_cache, tmp_path)
    recipe = chosen(choices={"model": "maxvit_tiny"})
    assert (recipe.model.name, recipe.model.pretrained) == ("maxvit_tiny", True)


def test_scratch_is_random_weights_and_no_probe():
    recipe = chosen(scratch=True, choices={"model": "maxvit_tiny"})
    assert (recipe.model.name, recipe.model.pretrained, recipe.model.probe) == ("maxvit_tiny", None, False)


def test_a_recipe_that_was_given_is_left_alone():
    assert chosen(recipe="digits").model.pretrained is None


def test_damaged_weights_in_the_cache_are_not_taken_and_that_is_said(hub_cache, tmp_path):
    file = fake_hub.put_published(hub_cache, tmp_path)
    next(hub_cache.rglob(file.name)).resolve().write_bytes(b"half of it")
    choice = choose_recipe("photos", on_gpu=True)
    assert load_recipe(choice.recipe, choice.overrides).model.pretrained == "shipped"
    assert "maxvit_tiny:in1k-224 cannot be had: " in choice.said
    assert "is damaged (its SHA-256 is not the published one): delete " in choice.said


@pytest.mark.parametrize(("preset", "epochs", "patience"), [("fast", 0, 30), ("good", 100, 30), ("best", 300, 90)])
def test_a_preset_is_a_number_of_epochs_and_patience_goes_with_it(preset, epochs, patience):
    settings = chosen(preset=preset).optimization
    assert (settings.epochs, settings.patience) == (epochs, patience)


def test_where_there_is_no_probe_fast_is_a_quarter():
    assert chosen(task="segmentation", preset="fast").optimization.epochs == 15


def test_epochs_that_are_given_have_the_last_word():
    assert chosen(preset="fast", choices={"epochs": 7}).optimization.epochs == 7


def test_the_warm_up_is_as_large_a_share_of_fewer_epochs():
    assert chosen(choices={"epochs": 10}).optimization.warmup_epochs == 0.5


def test_an_unknown_preset_is_refused():
    with pytest.raises(MaxViTError, match="preset"):
        choose_recipe("photos", preset="slow")


@pytest.fixture
def pretrained(tmp_path):
    """A run folder with a small network that learned without labels."""
    backbone = create_model("maxvit_micro", num_classes=0, image_size=64)
    network = make_task({"name": "masked"}).make_network(backbone, [])
    network.save(tmp_path / "run" / "best.safetensors")
    return tmp_path / "run", network


@pytest.mark.parametrize("task", ["classification", "regression", "masked"])
def test_a_run_gives_its_backbone_to_any_task_and_its_head_to_none(task, pretrained):
    run, network = pretrained
    choice = choose_recipe("photos", task, choices={"model": str(run)})
    recipe = load_recipe(choice.recipe, choice.overrides)
    assert (recipe.model.name, recipe.model.pretrained) == ("maxvit_micro", str(run))
    assert choice.said == f"starts from the backbone, without the head, of {run}, which was trained for masked"
    made = make_network(recipe, ["a", "b"])
    found, wanted = backbone_of(made).state_dict(), network.backbone.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
    assert not any(key in wanted for key in made.head.state_dict())
    if task == "masked":
        assert not torch.equal(made.head.mask_token, network.head.mask_token)


def test_a_folder_is_classified_at_the_size_of_the_run_unless_another_is_given(pretrained):
    run, _ = pretrained
    recipe = chosen(choices={"model": str(run)})
    assert (recipe.data.image_size, recipe.model.probe) == (None, True)
    assert make_network(recipe, ["a", "b"]).preprocessing.image_size == (64, 64)
    assert chosen(choices={"model": str(run), "image_size": 96}).data.image_size == (96, 96)


def test_random_weights_and_those_of_a_run_are_not_wanted_together(pretrained):
    with pytest.raises(MaxViTError, match=r"--scratch starts from random weights, and --model .*run from its own"):
        choose_recipe("photos", choices={"model": str(pretrained[0])}, scratch=True)


def test_a_run_of_no_variant_is_refused(tmp_path):
    network_of("segmentation").save(tmp_path / "a.safetensors")
    with pytest.raises(MaxViTError, match=r"a.safetensors holds a network that is not one of maxvit list"):
        choose_recipe("photos", choices={"model": str(tmp_path / "a.safetensors")})
