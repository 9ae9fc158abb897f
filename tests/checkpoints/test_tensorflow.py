"""The official names: one table, both directions."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from maxvit import MaxViT, MaxViTConfig, MaxViTError, load_model
from maxvit.checkpoints.tensorbundle import TensorBundle
from maxvit.checkpoints.tensorflow import from_official, infer_config, is_checkpoint, name_table
from maxvit.config import VARIANTS
from official import CHECKPOINT, MICRO, to_official

PREFIX = CHECKPOINT / "model.ckpt-93600"


def test_table_names_every_variable_of_the_checkpoint_once():
    theirs = [name for entry in name_table(MICRO) for name in entry.theirs]
    stored = {n for n in TensorBundle(PREFIX).entries if "Exponential" not in n and n != "global_step"}
    assert len(theirs) == len(set(theirs)) == 288
    assert set(theirs) == stored


LARGER = [pytest.param(f"maxvit_{name}", marks=pytest.mark.full) for name in ("tiny", "small")]


@pytest.mark.parametrize("name", ["maxvit_micro", *LARGER])
def test_there_and_back_is_exact(name):
    config = VARIANTS[name]
    state = MaxViT(config).state_dict()
    for tensor in state.values():
        if tensor.is_floating_point():
            torch.nn.init.normal_(tensor)
    back = from_official(to_official(state, config), config)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[n], state[n]) for n in state)


def test_back_to_official_gives_the_stored_arrays():
    bundle = TensorBundle(PREFIX)
    for name, array in to_official(load_model(CHECKPOINT, ema=False).state_dict(), MICRO).items():
        assert np.array_equal(array, bundle.read(name)), name


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("tiny", 614),
        pytest.param("small", 616, marks=pytest.mark.full),
        pytest.param("base", 1318, marks=pytest.mark.full),
        pytest.param("xlarge", 1316, marks=pytest.mark.full),
    ],
)
def test_configuration_follows_from_names_and_shapes(name, variables):
    config = VARIANTS[f"maxvit_{name}"]
    with torch.device("meta"):
        state = MaxViT(config).state_dict()
    shapes = {n: a.shape for n, a in to_official({n: torch.empty(t.shape) for n, t in state.items()}, config).items()}
    assert len(shapes) == variables
    assert infer_config(shapes) == config


@pytest.mark.parametrize(("classes", "multi_label"), [(1000, False), (21843, True)])
def test_imagenet_21k_learned_by_sigmoid(classes, multi_label):
    config = dataclasses.replace(VARIANTS["maxvit_micro"], num_classes=classes)
    with torch.device("meta"):
        state = MaxViT(config).state_dict()
    shapes = {n: a.shape for n, a in to_official({n: torch.empty(t.shape) for n, t in state.items()}, config).items()}
    assert infer_config(shapes).multi_label is multi_label


def test_unusual_settings_are_inferred_too():
    config = MaxViTConfig(
        stem_channels=8, channels=(16, 32, 48, 64), depths=(1, 1, 2, 1), head_dim=16, expansion=2, se_ratio=0.5,
        window_size=(4, 5), grid_size=(4, 5), in_channels=4, num_classes=0, image_size=(128, 160),
    )  # fmt: skip
    shapes = {n: a.shape for n, a in to_official(MaxViT(config).state_dict(), config).items()}
    assert infer_config(shapes) == config


@pytest.mark.parametrize("path", [CHECKPOINT, PREFIX, PREFIX.with_name(PREFIX.name + ".index")])
def test_checkpoint_is_found_by_folder_prefix_or_file(path):
    assert is_checkpoint(path)
    assert load_model(path).config == MICRO


def test_other_paths_are_no_checkpoint(tmp_path):
    assert not is_checkpoint(tmp_path)
    assert not is_checkpoint(tmp_path / "missing")


def test_several_checkpoints_in_a_folder_must_be_told_apart(tmp_path):
    for step in (1, 2):
        shutil.copy(PREFIX.with_name(PREFIX.name + ".index"), tmp_path / f"model.ckpt-{step}.index")
    with pytest.raises(MaxViTError, match=r"holds several checkpoints .*; name the one to read"):
        load_model(tmp_path)


def test_variables_of_another_network_are_refused():
    with pytest.raises(MaxViTError, match="it is not a MaxViT"):
        infer_config({"resnet/conv/kernel": (7, 7, 3, 64)})


def test_missing_variable_is_named():
    arrays = to_official(MaxViT(MICRO).state_dict(), MICRO)
    del arrays["maxvit/block_01_01/attention_1/k/bias"]
    with pytest.raises(MaxViTError, match="lacks maxvit/block_01_01/attention_1/k/bias"):
        from_official(arrays, MICRO)
