"""Configuration: what is allowed, and the way to JSON and back."""

import copy
import dataclasses
import json
import math
import pickle

import pytest
import torch

from maxvit.config import OFFICIAL, VARIANTS, MaxViTConfig, Preprocessing, check_known, official_preprocessing
from maxvit.errors import MaxViTError


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_configuration_survives_json(config):
    assert MaxViTConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_preprocessing_survives_json():
    spec = Preprocessing(image_size=(37, 53), crop_pct=0.9, interpolation="bilinear", mean=(0.5,), std=(0.25,))
    assert Preprocessing.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_variants_cannot_be_changed_by_accident():
    with pytest.raises(TypeError):
        VARIANTS["maxvit_tiny"] = MaxViTConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        VARIANTS["maxvit_tiny"].head_dim = 16


@pytest.mark.parametrize(
    "frozen", [VARIANTS["maxvit_tiny"], Preprocessing(), OFFICIAL], ids=lambda it: type(it).__name__
)
@pytest.mark.parametrize("change", [lambda it: setattr(it, "other", 1), lambda it: delattr(it, "other")])
def test_frozen_data_refuses_an_unknown_name_in_a_sentence(frozen, change):
    with pytest.raises(
        dataclasses.FrozenInstanceError, match=r"^other cannot be set: .* make another with dataclasses"
    ):
        change(frozen)


def test_configuration_bears_what_the_trainer_of_transformers_does_to_it():
    config = MaxViTConfig()
    config.use_cache = False  # its constructor, on every network
    assert config == MaxViTConfig()
    assert MaxViTConfig.from_dict(json.loads(config.to_json_string())) == config  # its TensorBoard callback


def test_frozen_data_can_be_copied_and_pickled():
    config = MaxViTConfig(depths=(1, 2, 3, 4))
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize(("size", "window"), [(224, (7, 7)), (384, (12, 12)), ((512, 225), (16, 8)), (32, (1, 1))])
def test_windows_scale_with_the_image_and_tables_stay(size, window):
    config = VARIANTS["maxvit_tiny"].resized(size)
    assert config.window_size == config.grid_size == window
    assert config.bias_table_size == (13, 13)


def test_official_preprocessing_depends_on_the_size():
    small, large = official_preprocessing((224, 224)), official_preprocessing((384, 384))
    assert (small.crop_pct, small.mean, small.std) == (0.875, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert official_preprocessing((224, 224), imagenet_21k=True).mean == (0.5, 0.5, 0.5)
    assert (large.crop_pct, large.mean, large.std) == (384 / 416, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"channels": (64, 128, 256)}, "need one entry for each of 4 stages"),
        ({"channels": (64, 128, 250, 512)}, "must be multiples of head_dim, which is 32"),
        ({"depths": (2, 2, 0, 2)}, "depths is .* positive whole numbers"),
        ({"window_size": 7}, "window_size is 7; it takes positive whole numbers"),
        ({"grid_size": (7, 7, 7)}, r"two numbers, \(height, width\)"),
        ({"drop_path_rate": 1.0}, "drop_path_rate is 1.0; it takes a number below 1"),
        ({"se_ratio": 0}, "se_ratio is 0; it takes a number above 0, up to 1"),
        ({"pool": "mean"}, "pool is 'mean'; choose 'avg' or 'max'"),
        ({"num_classes": -1}, "num_classes is -1"),
        ({"in_channels": 0}, "in_channels is 0; it takes a whole number from 1 up"),
        ({"image_size": (31, 224)}, "the smallest side is 32 pixels"),
        ({"window": (7, 7)}, "unknown configuration key 'window': did you mean 'window_size'"),
    ],
)
def test_configuration_that_makes_no_network_is_refused(values, says):
    with pytest.raises(MaxViTError, match=says):
        MaxViTConfig.from_dict({**VARIANTS["maxvit_tiny"].to_dict(), **values})


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"image_size": (224,)}, "takes .height, width. from 32 up"),
        ({"crop_pct": 1.1}, "crop_pct is 1.1; it takes a number above 0, up to 1"),
        ({"interpolation": "nearest"}, "interpolation is 'nearest'; choose"),
        ({"std": (0.0, 0.2, 0.2)}, "std above 0"),
        ({"mean": (0.5, 0.5)}, "one value per channel"),
        ({"crop": 0.9}, "unknown preprocessing key 'crop': did you mean"),
    ],
)
def test_preprocessing_that_cannot_be_done_is_refused(values, says):
    with pytest.raises(MaxViTError, match=says):
        Preprocessing.from_dict({**Preprocessing().to_dict(), **values})


def test_unknown_name_with_nothing_near_lists_what_is_known():
    with pytest.raises(MaxViTError, match="unknown fruit 'zzz': known are apple, pear"):
        check_known("fruit", ["pear", "zzz"], ["apple", "pear"])


def test_outputs_are_one_class_of_many_or_a_question_each():
    logits = torch.tensor([[0.0, math.log(3.0), -math.log(3.0)]])
    torch.testing.assert_close(MaxViTConfig().probabilities(logits), torch.tensor([[3.0, 9.0, 1.0]]) / 13)
    torch.testing.assert_close(MaxViTConfig(multi_label=True).probabilities(logits), torch.tensor([[0.5, 0.75, 0.25]]))


@pytest.mark.parametrize(
    ("config", "answered"),
    [
        (MaxViTConfig(), [2]),
        (MaxViTConfig(multi_label=True), [2, 1]),
        (MaxViTConfig(multi_label=True, threshold=0.9), [2]),
        (MaxViTConfig(multi_label=True, threshold=0.98), []),
    ],
)
def test_predicted_is_the_most_probable_or_what_reaches_the_threshold(config, answered):
    assert config.predicted(torch.tensor([0.25, 0.5, 0.9375])) == answered


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), "0.5", True, None])
def test_a_threshold_that_is_no_probability_is_refused(threshold):
    with pytest.raises(MaxViTError, match=r"threshold is .*; it takes a probability from 0 to 1"):
        MaxViTConfig(threshold=threshold)


def test_multi_label_is_yes_or_no():
    with pytest.raises(MaxViTError, match="multi_label is 'sigmoid'; it takes True or False"):
        MaxViTConfig(multi_label="sigmoid")
