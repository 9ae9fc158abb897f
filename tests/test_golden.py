"""The numbers of the official model: every golden array, in fp32.

Limits are those of the reference: 2e-5 of the logits' deviation, 1e-5 for what comes before. The smallest mistake
that can be made costs 3.4e-5 (layer-norm epsilon).
"""

import itertools

import pytest
import torch

from maxvit import MaxViT, load_model
from maxvit.config import VARIANTS
from official import CHECKPOINT, MICRO, difference, golden, images, network

LOGITS, FEATURES = 2e-5, 1e-5


@pytest.fixture(scope="module")
def micro() -> MaxViT:
    return load_model(CHECKPOINT)


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("name", ["micro_224", "micro_384", "micro_512", "micro_224x448"])
def test_micro_checkpoint_gives_the_official_outputs(micro, name):
    expected = golden(name)
    if name in ("micro_384", "micro_512"):  # windows of 12 and 16; a 224 x 448 image is seen with windows of 7
        micro = load_model(CHECKPOINT, image_size=int(name.removeprefix("micro_")))
    features = micro.forward_features(expected["images"])
    assert difference(features.mean((2, 3)), expected["pooled_features"]) < FEATURES
    assert difference(micro.forward_head(features), expected["logits"]) < LOGITS


def test_every_stage_is_the_official_one_up_to_its_corners(micro):
    expected = golden("micro_224")
    maps = micro.forward_pyramid(expected["images"], strides=(2, 4, 8, 16, 32))
    for k, x in enumerate(maps):
        nhwc = x.permute(0, 2, 3, 1)
        assert difference(x.mean((2, 3)), expected[f"stage_{k}_mean"]) < FEATURES
        assert difference(x.square().mean((2, 3)).sqrt(), expected[f"stage_{k}_rms"]) < FEATURES
        assert difference(nhwc[:, :3, :3], expected[f"stage_{k}_top_left"]) < FEATURES
        assert difference(nhwc[:, -3:, -3:], expected[f"stage_{k}_bottom_right"]) < FEATURES
    assert difference(micro.head.norm(maps[-1].mean((2, 3))), expected["normed_features"]) < FEATURES


def test_raw_weights_are_another_model_and_are_read_when_asked(micro):
    expected = golden("micro_224")
    raw = load_model(CHECKPOINT, ema=False)
    assert difference(raw(expected["images"]), expected["logits_of_raw_weights"]) < LOGITS
    assert difference(raw(expected["images"]), expected["logits"]) > 1


def test_start_of_training_shows_the_layer_norm_epsilon():
    expected = golden("micro_init_224")
    model = network(MICRO, "micro/init", at_start=True)
    features = model.forward_features(golden("micro_224")["images"][:2])
    pooled = features.mean((2, 3))
    assert difference(pooled, expected["pooled_features"]) < FEATURES
    assert difference(model.head.norm(pooled), expected["normed_features"]) < FEATURES
    assert difference(model.forward_head(features), expected["logits"]) < LOGITS


@pytest.mark.parametrize(
    ("size", "side"),
    [
        ("tiny", 224),
        ("tiny", 384),
        ("small", 224),
        pytest.param("base", 224, marks=pytest.mark.full),
        pytest.param("large", 224, marks=pytest.mark.full),
        pytest.param("xlarge", 224, marks=pytest.mark.full),
    ],
)
def test_full_size_network_gives_the_official_outputs(size, side):
    expected = golden("full_goldens")
    model = network(VARIANTS[f"maxvit_{size}"])
    model.set_image_size(side)
    maps = model.forward_pyramid(images(2, side), strides=(2, 4, 8, 16, 32))
    for k, x in enumerate(maps):
        assert difference(x.mean((2, 3)), expected[f"{size}_{side}_stage_{k}_mean"]) < FEATURES
    assert difference(maps[-1].mean((2, 3)), expected[f"{size}_{side}_pooled_features"]) < FEATURES
    assert difference(model.forward_head(maps[-1]), expected[f"{size}_{side}_logits"]) < LOGITS


def test_golden_images_are_those_of_the_formula():
    assert torch.equal(images(4, 224, "micro/images"), golden("micro_224")["images"])
    assert torch.equal(images(1, 448, "micro/images")[:, :, :224], golden("micro_224x448")["images"])


def test_no_golden_array_is_left_out():
    names = {"images", "logits", "logits_of_raw_weights", "pooled_features", "normed_features"}
    corners = itertools.product(range(5), ("mean", "rms", "top_left", "bottom_right"))
    assert golden("micro_224").keys() == names | {f"stage_{k}_{what}" for k, what in corners}
    sizes = ("tiny_224", "tiny_384", "small_224", "base_224", "large_224", "xlarge_224")
    parts = ("logits", "pooled_features", *(f"stage_{k}_mean" for k in range(5)))
    assert golden("full_goldens").keys() == {f"{size}_{part}" for size in sizes for part in parts}
