"""Code for timm's models on ours, with no adapter: what timm's tests of its models check, and answers as timm's."""

from math import ceil

import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.models import FeatureInfo, group_parameters
from timm.models._features import FeatureGetterNet
from timm.optim import param_groups_layer_decay
from torchvision.models import maxvit_t

from maxvit import MaxViTError, Preprocessing, create_model, export_model, load_model, optimize, preprocess
from maxvit.checkpoints.published import find_by_their_name
from maxvit.checkpoints.timm import NAMES, infer_config
from maxvit.checkpoints.torchvision import from_torchvision
from maxvit.config import VARIANTS
from official import difference
from timm_micro import ours_of, small

NAME, SIZE = "maxvit_micro", (2, 3, 37, 50)
REDUCTIONS, CHANNELS = (2, 4, 8, 16, 32), (32, 32, 64, 96, 128)


@pytest.fixture
def model():
    return create_model(NAME, pretrained=False).eval()


def shapes(maps):
    return [tuple(x.shape) for x in maps]


def expected_shapes(indices=range(5)):
    return [(2, CHANNELS[i], ceil(37 / REDUCTIONS[i]), ceil(50 / REDUCTIONS[i])) for i in indices]


# what timm's tests/test_models.py checks of each of its models


def test_forward_is_finite_and_checkpointing_does_not_change_it(model):
    images = torch.randn(SIZE)
    logits = model(images)
    assert logits.shape == (2, 10)
    assert logits.isfinite().all()
    model.set_grad_checkpointing()
    assert torch.equal(model(images), logits)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_backward_reaches_every_parameter(checkpointing):
    model = create_model(NAME, pretrained=False, num_classes=42).train()
    model.set_grad_checkpointing(checkpointing)
    logits = model(torch.randn(SIZE))
    assert logits.shape == (2, 42)
    logits.mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_default_configuration_describes_the_network(model):
    cfg = model.default_cfg
    assert cfg == model.pretrained_cfg
    assert (model.num_classes, model.num_features, model.head_hidden_size) == (10, 128, 128)
    features = model.forward_features(torch.randn(1, *cfg["input_size"]))
    assert features.shape == (1, model.num_features, *cfg["pool_size"])
    assert model.forward_head(features, pre_logits=True).shape == (1, model.head_hidden_size)
    assert {f"{cfg['classifier']}.weight", f"{cfg['first_conv']}.weight"} <= model.state_dict().keys()
    assert model.get_classifier() is model.get_submodule(cfg["classifier"])


def test_resetting_removes_the_classifier_then_the_pool_and_puts_both_back(model):
    images = torch.randn(SIZE)
    before = model.forward_head(model.forward_features(images), pre_logits=True)
    model.reset_classifier(0)
    assert model.num_classes == 0
    assert torch.equal(model(images), before)
    model.reset_classifier(0, "")
    assert model(images).shape == (2, 128, 2, 2)
    model.reset_classifier(7, "max")
    assert model(images).shape == (2, 7)
    assert (model.num_classes, model.config.pool, model.head.pool) == (7, "max", "max")


def test_pool_and_classifier_can_be_left_out_from_the_start():
    assert create_model(NAME, num_classes=0, global_pool="").eval()(torch.randn(SIZE)).shape == (2, 128, 2, 2)


def test_feature_network_gives_the_maps_that_its_feature_info_describes():
    model = create_model(NAME, pretrained=False, features_only=True).eval()
    assert model.feature_info.channels() == list(CHANNELS)
    assert model.feature_info.reduction() == list(REDUCTIONS)
    assert model.feature_info.module_name() == ["stem", "stages.0", "stages.1", "stages.2", "stages.3"]
    assert model.default_cfg["input_size"] == (3, 32, 32)
    assert shapes(model(torch.randn(SIZE))) == expected_shapes()


@pytest.mark.parametrize(("asked", "given"), [((1, 3), [1, 3]), ([-2, 0], [0, 3]), (2, [3, 4])])
def test_feature_network_holds_only_what_its_maps_need(asked, given):
    model = create_model(NAME, features_only=True, out_indices=asked, feature_cls="getter")
    model.set_grad_checkpointing()
    assert model.feature_info.channels() == [CHANNELS[i] for i in given]
    maps = model(torch.randn(SIZE))
    assert shapes(maps) == expected_shapes(given)
    sum(x.mean() for x in maps).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_intermediates_are_the_maps_and_the_last_is_forward_features(model):
    images = torch.randn(SIZE)
    info = FeatureInfo(model.feature_info, len(model.feature_info))  # timm's own
    assert (info.channels(), info.reduction()) == (list(CHANNELS), list(REDUCTIONS))
    last, maps = model.forward_intermediates(images, output_fmt="NCHW")
    assert shapes(maps) == expected_shapes()
    assert torch.equal(last, model.forward_features(images))


def test_timms_own_feature_network_wraps_ours(model):
    wrapped = FeatureGetterNet(model, out_indices=(1, -1))
    assert wrapped.feature_info.channels() == [CHANNELS[1], CHANNELS[-1]]
    assert shapes(wrapped(torch.randn(SIZE))) == expected_shapes([1, 4])


# the same answers as timm's network with the same weights


@pytest.fixture(scope="module")
def twins():
    theirs = small()
    return ours_of(theirs), theirs


@pytest.mark.parametrize(
    "options",
    [{}, {"indices": 2}, {"indices": (3, 1)}, {"indices": [0, -2], "stop_early": True}, {"norm": True}],
    ids=str,
)
@torch.inference_mode()
def test_intermediates_are_those_of_timm(twins, options):
    images = torch.randn(2, 3, 64, 96)
    (last, maps), (their_last, their_maps) = (m.forward_intermediates(images, **options) for m in twins)
    assert shapes(maps) == shapes(their_maps)
    for x, y in zip([last, *maps], [their_last, *their_maps], strict=True):
        assert difference(x, y) < 1e-4
    only = twins[0].forward_intermediates(images, intermediates_only=True, **options)
    assert all(torch.equal(x, y) for x, y in zip(only, maps, strict=True))


@torch.inference_mode()
def test_map_without_a_pool_is_that_of_timm():
    theirs = small()
    ours, images = ours_of(theirs), torch.randn(2, 3, 64, 96)
    for network in (ours, theirs):
        network.reset_classifier(0, "")
    assert ours(images).shape == (2, 64, 2, 3)
    assert difference(ours(images), theirs(images)) < 1e-4


def test_layer_decay_scales_each_parameter_as_timm_does(twins):
    ours = twins[0]
    names = {n: t for n, t in NAMES.pairs(ours.config).items() if n in dict(ours.named_parameters())}
    of_ours, of_theirs = (group_parameters(m, m.group_matcher(), reverse=True) for m in twins)
    assert of_ours == {n: of_theirs[t] for n, t in names.items()}
    groups = param_groups_layer_decay(ours, layer_decay=0.5)
    assert sum(len(group["params"]) for group in groups) == len(names)
    assert {group["lr_scale"] for group in groups} == {0.5**i for i in range(6)}


def test_timms_transform_prepares_an_image_as_ours_does(model):
    model.preprocessing = Preprocessing(image_size=(64, 96), fit="squash", crop_pct=1.0, mean=(0.1, 0.2, 0.3))
    pixels = torch.randint(0, 256, (50, 70, 3), dtype=torch.uint8).numpy()
    theirs = create_transform(**resolve_data_config(model=model))(Image.fromarray(pixels))
    torch.testing.assert_close(theirs[None], preprocess(model, pixels), rtol=0, atol=2 / 255 / 0.224)


# names


def test_every_official_network_of_timm_is_known_by_its_name():
    names = timm.list_models("maxvit_*_tf_*", include_tags=True)
    assert [find_by_their_name(name).their_name for name in names] == names


@pytest.mark.parametrize("name", ["maxvit_tiny_tf_384", "maxvit_small_tf_224.in1k", "maxvit_base_tf_224.in21k"])
def test_name_of_timm_is_the_network_that_timm_makes_of_it(name):
    with torch.device("meta"):
        theirs, ours = timm.create_model(name), create_model(name)
    assert ours.config == infer_config({n: tuple(t.shape) for n, t in theirs.state_dict().items()})


def test_name_of_torchvision_is_the_network_that_torchvision_makes_of_it():
    with torch.device("meta"):
        assert create_model("maxvit_t").config == from_torchvision(maxvit_t().state_dict())[0]


@pytest.mark.parametrize("prefix", ["", "timm/", "hf_hub:timm/", "hf-hub:timm/"])
def test_name_of_timm_with_pretrained_asks_for_those_weights(prefix, hub_cache):
    with pytest.raises(MaxViTError, match=r"model\.safetensors of timm/maxvit_base_tf_384\.in21k_ft_in1k is not in"):
        create_model(f"{prefix}maxvit_base_tf_384.in21k_ft_in1k", pretrained=True)
    with pytest.raises(MaxViTError, match=r"timm/maxvit_base_tf_384\.in1k is not in"):
        create_model(f"{prefix}maxvit_base_tf_384", pretrained=True)


def test_words_of_timm_are_understood():
    model = create_model(NAME, num_classes=3, in_chans=1, img_size=(64, 96), drop_rate=0.0, checkpoint_path="")
    assert (model.config.in_channels, model.config.image_size, model.num_classes) == (1, (64, 96), 3)
    assert create_model(NAME, in_chans=None, img_size=None).config == VARIANTS[NAME]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"in_chans": 1, "in_channels": 3}, "in_chans is timm's word for in_channels, which is given too"),
        ({"checkpoint_path": "a.pth"}, "checkpoint_path is an argument of timm's, and not here: .* pretrained$"),
        ({"drop_rate": 0.1}, "drop_path_rate is the stochastic depth"),
        ({"scriptable": True}, "TorchScript is not supported; maxvit.export_model"),
        ({"feature_cls": "fx", "features_only": True}, "features_only gives a list of maps"),
        ({"out_indices": (1, 2)}, "out_indices chooses maps: add features_only=True"),
        ({"out_indices": (1, 5), "features_only": True}, r"maps \[1, 5\] are wanted; choose some of 0 .* to 4"),
        ({"out_indices": 6, "features_only": True}, "the last 6 maps are wanted, and there are 1 to 5"),
        ({"global_pool": ""}, "10 classes need a pool before them: choose 'avg' or 'max', or 0 classes"),
        ({"global_pool": "catavgmax"}, "pool is 'catavgmax'; choose 'avg' or 'max', or ''"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_words_that_have_no_meaning_here_are_answered_with_ours(words, says):
    with pytest.raises(MaxViTError, match=says):
        create_model(NAME, **words)


def test_pretrained_in_second_place_is_answered_with_its_word():
    with pytest.raises(MaxViTError, match="the second argument is True, and it is num_classes: write pretrained=True"):
        create_model("maxvit_tiny", True)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "maxxvit_rmlp_nano_rw_256.sw_in1k",
            "maxxvit_rmlp_nano_rw_256.sw_in1k is another architecture, not a MaxViT; those are maxvit_micro, ",
        ),
        ("coatnet_0_rw_224", "another architecture"),
        (
            "maxvit_rmlp_nano_rw_224",
            "unknown model 'maxvit_rmlp_nano_rw_224': did you mean 'maxvit_rmlp_nano_rw_256'",
        ),
        (
            "maxvit_tiny_tf_224.in21k",
            "unknown model 'maxvit_tiny_tf_224.in21k': did you mean 'maxvit_tiny_tf_224.in1k'",
        ),
        ("maxvit_t1", "unknown model 'maxvit_t1': did you mean 'maxvit_tiny'"),
    ],
)
def test_name_of_another_network_is_answered_with_ours(name, says):
    with pytest.raises(MaxViTError, match=says):
        create_model(name)


def test_only_one_format_of_maps_is_given(model):
    with pytest.raises(MaxViTError, match="output_fmt is 'NLC'; maps are given as 'NCHW'"):
        model.forward_intermediates(torch.randn(SIZE), output_fmt="NLC")


def test_network_without_a_pool_comes_back_from_its_file(tmp_path):
    model = create_model(NAME, num_classes=0, global_pool="max").eval()
    model.set_pool("")
    model.save(tmp_path / "map.safetensors")
    images = torch.randn(SIZE)
    assert torch.equal(load_model(tmp_path / "map.safetensors")(images), model(images))


def test_network_without_a_pool_is_not_exported(tmp_path):
    with pytest.raises(MaxViTError, match=r"the network has no pool, and its files hold one: .* set_pool\('avg'\)"):
        export_model(create_model(NAME, num_classes=0, global_pool=""), tmp_path / "map.onnx")


def test_names_are_those_of_an_optimised_network_too(model):
    images = torch.randn(SIZE)
    fast = optimize(model, backend="torch")
    assert (fast.num_features, fast.feature_info) == (model.num_features, model.feature_info)
    last, maps = fast.forward_intermediates(images)
    torch.testing.assert_close(
        [last, *maps], [model.forward_features(images), *model.forward_pyramid(images, REDUCTIONS)]
    )
    with pytest.raises(MaxViTError, match="an optimised network only computes"):
        fast.set_pool("max")
