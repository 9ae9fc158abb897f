"""Making networks by name, and loading them from files."""

import pytest
import torch

from maxvit import MaxViT, MaxViTConfig, MaxViTError, create_model, list_models, load_model, storage
from official import CHECKPOINT

SMALL = MaxViTConfig(
    stem_channels=4, channels=(8, 8, 8, 8), depths=(1, 1, 1, 1), head_dim=4, num_classes=3, image_size=(64, 64)
)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "small.safetensors"
    MaxViT(SMALL, class_names=["a", "b", "c"]).save(path)
    return path


def test_models_are_listed_smallest_first():
    assert list_models() == [f"maxvit_{size}" for size in ("micro", "tiny", "small", "base", "large", "xlarge")]


def test_options_reach_the_configuration():
    model = create_model("maxvit_micro", num_classes=7, in_channels=1, image_size=(64, 97), drop_path_rate=0.3)
    expected = {"num_classes": 7, "in_channels": 1, "image_size": (64, 97), "drop_path_rate": 0.3}
    assert {name: getattr(model.config, name) for name in expected} == expected
    assert (model.config.window_size, model.config.bias_table_size) == ((2, 4), (7, 7))
    assert model(torch.randn(1, 1, 64, 97)).shape == (1, 7)


def test_misspelt_name_is_answered_with_the_right_one():
    with pytest.raises(MaxViTError, match="unknown model 'maxvit_tinny': did you mean 'maxvit_tiny'"):
        create_model("maxvit_tinny")


def test_loading_can_set_size_and_classes(saved):
    model = load_model(saved, image_size=128, num_classes=9)
    assert model.config.window_size == (4, 4)
    assert model(torch.randn(1, 3, 128, 128)).shape == (1, 9)
    assert model.class_names is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state.pop("stem.norm.weight"), r"stem\.norm\.weight is missing"),
        (lambda state: state.update(extra=torch.zeros(1)), "extra is not part of the network"),
        (
            lambda state: state.update({"head.classifier.weight": torch.zeros(4, 8)}),
            r"head\.classifier\.weight has shape \(4, 8\), wanted is \(3, 8\)",
        ),
    ],
)
def test_weights_that_do_not_fit_the_configuration_are_named(saved, change, says):
    state, metadata = storage.load(saved)
    change(state)
    storage.save(saved, state, metadata)
    with pytest.raises(MaxViTError, match=says):
        load_model(saved)


def test_weights_of_another_package_are_named(tmp_path):
    storage.save(tmp_path / "other.safetensors", {"conv.weight": torch.zeros(1)}, {})
    with pytest.raises(MaxViTError, match=r"it holds conv\.weight and no configuration"):
        load_model(tmp_path / "other.safetensors")


def test_damaged_description_is_named(saved):
    state, metadata = storage.load(saved)
    storage.save(saved, state, {**metadata, "config": {**metadata["config"], "depth": 3}})
    with pytest.raises(MaxViTError, match="unknown configuration key 'depth'"):
        load_model(saved)


def test_raw_weights_of_a_file_that_holds_one_set_are_refused(saved):
    with pytest.raises(MaxViTError, match="holds one set of weights"):
        load_model(saved, ema=False)


def test_official_checkpoint_becomes_ours(tmp_path):
    official = load_model(CHECKPOINT)
    official.save(tmp_path / "converted.safetensors")
    ours = load_model(tmp_path / "converted.safetensors")
    theirs = official.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.state_dict().items())
    assert ours.provenance["weights"] == "averaged"
    assert ours.config == official.config
