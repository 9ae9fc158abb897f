"""Making networks by name, and loading them from files."""

import pytest
import torch

from fake_hub import put
from maxvit import MaxViT, MaxViTConfig, MaxViTError, create_model, list_models, load_model, storage
from maxvit.checkpoints.published import PUBLISHED
from maxvit.checkpoints.timm import to_timm
from maxvit.config import VARIANTS
from maxvit.tasks import make_task
from official import CHECKPOINT

SMALL = MaxViTConfig(
    stem_channels=4, channels=(8, 8, 8, 8), depths=(1, 1, 1, 1), head_dim=4, num_classes=3, image_size=(64, 64)
)
SIZES = ["micro", "pico", "nano", "tiny", "small", "base", "large", "xlarge"]


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "small.safetensors"
    MaxViT(SMALL, class_names=["a", "b", "c"]).save(path)
    return path


def test_models_are_listed_smallest_first():
    assert list_models() == [f"maxvit_{size}" for size in SIZES]


def test_models_with_published_weights_are_listed():
    assert list_models(pretrained=True) == list_models()


def test_options_reach_the_configuration():
    model = create_model("maxvit_micro", num_classes=7, in_channels=1, image_size=(64, 97), drop_path_rate=0.3)
    expected = {"num_classes": 7, "in_channels": 1, "image_size": (64, 97), "drop_path_rate": 0.3}
    assert {name: getattr(model.config, name) for name in expected} == expected
    assert (model.config.window_size, model.config.bias_table_size) == ((2, 4), (7, 7))
    assert model(torch.randn(1, 1, 64, 97)).shape == (1, 7)


@pytest.mark.parametrize(
    ("filter", "sizes"),
    [
        ("*tiny*", ["tiny"]),
        ("maxvit_*a*", ["nano", "small", "base", "large", "xlarge"]),
        (["*large", "*micro"], ["micro", "large", "xlarge"]),
        ("tiny", []),
        ("", SIZES),
    ],
)
def test_models_that_fit_a_pattern_are_listed(filter, sizes):
    assert list_models(filter) == [f"maxvit_{size}" for size in sizes]


def test_pattern_and_published_weights_are_both_asked_for(monkeypatch):
    others = tuple(row for row in PUBLISHED if row.variant != "maxvit_micro")
    monkeypatch.setattr("maxvit.checkpoints.published.PUBLISHED", others)
    assert list_models("*mi*", pretrained=True) == []
    assert list_models("*t*y", pretrained=True) == ["maxvit_tiny"]


def test_filter_that_is_no_text_is_refused():
    with pytest.raises(MaxViTError, match=r"filter is True; it takes a pattern such as '\*tiny\*'"):
        list_models(True)


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
    with pytest.raises(MaxViTError, match=r"is not a MaxViT that is known \(it holds conv\.weight\)"):
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


REPOSITORY = "timm/maxvit_tiny_tf_384.in1k"


@pytest.fixture
def published(tmp_path, hub_cache, monkeypatch):
    """A small network as timm would publish it: in the hub's cache, as `maxvit_tiny` at 384."""
    config = MaxViTConfig(
        stem_channels=4,
        channels=(8, 8, 12, 12),
        depths=(1, 1, 2, 1),
        head_dim=4,
        num_classes=5,
        drop_path_rate=0.25,
        image_size=(384, 384),
        window_size=(12, 12),
        grid_size=(12, 12),
    )
    other = MaxViTConfig(channels=(32, 64, 64, 96), depths=(1, 1, 1, 1))
    for module in ("create", "config.variants"):
        monkeypatch.setattr(f"maxvit.{module}.VARIANTS", {**VARIANTS, "maxvit_tiny": config, "maxvit_small": other})
    model = MaxViT(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)  # biases are zero at first
    storage.save(tmp_path / "model.safetensors", to_timm(model.state_dict(), config), {})
    put(hub_cache, REPOSITORY, tmp_path / "model.safetensors")
    return model


def kept(model):
    """All but the classifier."""
    return {name: t for name, t in model.state_dict().items() if not name.startswith("head.classifier")}


def assert_equal(ours, theirs):
    assert list(ours) == list(theirs)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_published_weights_are_found_by_tag(published):
    model = create_model("maxvit_tiny", pretrained="in1k-384")
    assert_equal(model.state_dict(), published.state_dict())
    assert model.config == published.config
    assert model.provenance["pretrained"] == f"https://huggingface.co/{REPOSITORY}"
    assert not model.training
    assert (model.preprocessing.fit, model.preprocessing.mean) == ("squash", (0.5, 0.5, 0.5))
    images = torch.randn(2, 3, 97, 131)
    torch.testing.assert_close(model(images), published(images))


def test_published_weights_are_found_by_the_name_that_timm_gives_them(published):
    model = create_model("maxvit_tiny_tf_384.in1k", pretrained=True)
    assert_equal(model.state_dict(), published.state_dict())
    assert model.config == published.config
    grey = create_model("maxvit_tiny_tf_384", pretrained=True, in_chans=1, num_classes=0, global_pool="max")
    assert (grey.config.in_channels, grey.config.num_classes, grey.config.pool) == (1, 0, "max")
    assert_equal(create_model("maxvit_t", pretrained="in1k-384").state_dict(), published.state_dict())


def test_true_means_the_default_and_a_miss_says_what_to_download(published, hub_cache):
    with pytest.raises(MaxViTError) as raised:
        create_model("maxvit_tiny", pretrained=True)
    said = str(raised.value)
    assert "https://huggingface.co/timm/maxvit_tiny_tf_224.in1k/resolve/main/model.safetensors" in said
    assert "pass its path" in said
    assert str(hub_cache) in said
    assert "\n" not in said


def test_false_is_a_fresh_network_in_training_mode(published):
    model = create_model("maxvit_tiny", pretrained=False)
    assert model.training
    assert not torch.equal(model.stem.conv1.weight, published.stem.conv1.weight)


def test_truncated_download_is_named(published, hub_cache, tmp_path):
    blob = next(hub_cache.rglob("model.safetensors")).resolve()
    blob.write_bytes(blob.read_bytes()[:1000])
    with pytest.raises(MaxViTError, match=r"is damaged .*: delete .*, and it is downloaded again"):
        create_model("maxvit_tiny", pretrained="in1k-384")


def test_published_tensor_of_a_wrong_shape_is_named(published, hub_cache, tmp_path):
    state, _ = storage.load(tmp_path / "model.safetensors")
    state["stages.2.blocks.1.conv.norm1.weight"] = torch.zeros(7)
    storage.save(tmp_path / "model.safetensors", state, {})
    next(hub_cache.rglob("model.safetensors")).unlink()
    put(hub_cache, REPOSITORY, tmp_path / "model.safetensors")
    with pytest.raises(
        MaxViTError, match=r"stages\.2\.1\.mbconv\.expand_norm\.weight has shape \(7,\), wanted is \(48,\)"
    ):
        create_model("maxvit_tiny", pretrained="in1k-384")


def test_weights_of_another_variant_are_refused(published, tmp_path):
    with pytest.raises(MaxViTError, match=r"holds weights of maxvit_tiny .*, not of maxvit_small: .*'maxvit_tiny'"):
        create_model("maxvit_small", pretrained=tmp_path / "model.safetensors")


def test_weights_of_no_variant_are_refused(saved):
    with pytest.raises(MaxViTError, match=r"weights of no published variant .*not of maxvit_tiny: .* load_model"):
        create_model("maxvit_tiny", pretrained=str(saved))


def test_new_classes_keep_everything_but_the_classifier(published):
    model = create_model("maxvit_tiny", pretrained="in1k-384", num_classes=37)
    assert_equal(kept(model), kept(published))
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 37)
    same = create_model("maxvit_tiny", pretrained="in1k-384", num_classes=5)
    assert_equal(same.state_dict(), published.state_dict())


def test_new_classes_have_other_names(published, tmp_path):
    published.class_names = list("abcde")
    published.save(tmp_path / "named.safetensors")
    load = {"name": "maxvit_tiny", "pretrained": tmp_path / "named.safetensors"}
    assert create_model(**load).class_names == list("abcde")
    assert create_model(**load, num_classes=5).class_names == list("abcde")
    assert create_model(**load, num_classes=4).class_names is None


def test_new_size_scales_windows_and_keeps_the_weights(published):
    model = create_model("maxvit_tiny", pretrained="in1k-384", image_size=(161, 97))
    assert (model.config.window_size, model.config.bias_table_size) == ((6, 4), (23, 23))
    assert model.preprocessing.image_size == (161, 97)
    assert_equal(model.state_dict(), published.state_dict())
    published.set_image_size((161, 97))
    images = torch.randn(2, 3, 161, 97)
    torch.testing.assert_close(model(images), published(images))


def test_one_channel_answers_as_three_copies_of_it(published):
    grey = create_model("maxvit_tiny", pretrained="in1k-384", in_channels=1)
    images = torch.randn(2, 1, 67, 101)
    torch.testing.assert_close(grey(images), published(images.expand(-1, 3, -1, -1)))
    assert grey.config.in_channels == grey.stem.conv1.in_channels == 1
    assert grey.preprocessing.mean == grey.preprocessing.std == (0.5,)
    assert grey.stem.conv1.weight.requires_grad


def test_more_channels_repeat_the_weights_in_turn(published):
    weight = create_model("maxvit_tiny", pretrained="in1k-384", in_channels=4).stem.conv1.weight
    theirs = published.stem.conv1.weight
    torch.testing.assert_close(weight, torch.stack([theirs[:, i] * 3 / 4 for i in (0, 1, 2, 0)], dim=1))
    six = create_model("maxvit_tiny", pretrained="in1k-384", in_channels=6)
    images = torch.randn(2, 3, 67, 101)
    torch.testing.assert_close(six(images.repeat(1, 2, 1, 1)), published(images))


def test_grey_preprocessing_is_the_mean_of_the_colours():
    model = MaxViT(SMALL)
    model.preprocessing = type(model.preprocessing)(mean=(0.1, 0.2, 0.6), std=(0.5, 0.25, 0.3))
    model.set_in_channels(1)
    assert model.preprocessing.mean == pytest.approx((0.3,))
    assert model.preprocessing.std == pytest.approx((0.35,))
    model.set_in_channels(3)
    assert model.preprocessing.mean == pytest.approx((0.3, 0.3, 0.3))


def test_adapted_network_comes_back_from_its_file(published, tmp_path):
    model = create_model("maxvit_tiny", pretrained="in1k-384", in_channels=1, num_classes=3, image_size=64)
    model.save(tmp_path / "adapted.safetensors")
    back = load_model(tmp_path / "adapted.safetensors")
    assert_equal(back.state_dict(), model.state_dict())
    assert (back.config, back.preprocessing) == (model.config, model.preprocessing)


def test_drop_path_rate_can_be_set_and_is_the_variants_otherwise(published):
    rates = [
        create_model("maxvit_tiny", pretrained="in1k-384", drop_path_rate=rate).stages[-1][0].block_attention.drop_path
        for rate in (None, 0.5)
    ]
    assert [r.rate for r in rates] == pytest.approx([0.25 * 4 / 5, 0.5 * 4 / 5])


def test_unknown_weights_name_the_tags(published):
    with pytest.raises(MaxViTError, match=r"no weights 'in1k-385' of maxvit_tiny .*in1k-224, in1k-384, .*'owner/name'"):
        create_model("maxvit_tiny", pretrained="in1k-385")


@pytest.mark.parametrize("path", ["runs/none.pth", "/none/at/all", "./none"])
def test_path_that_does_not_exist_is_named(path, hub_cache):
    with pytest.raises(MaxViTError, match="does not exist"):
        create_model("maxvit_tiny", pretrained=path)


def test_any_repository_of_the_hub_can_be_named(published, hub_cache, tmp_path):
    assert_equal(create_model("maxvit_tiny", pretrained=REPOSITORY).state_dict(), published.state_dict())
    published.save(tmp_path / "model.safetensors")
    put(hub_cache, "owner/ours", tmp_path / "model.safetensors")
    assert_equal(create_model("maxvit_tiny", pretrained="owner/ours").state_dict(), published.state_dict())
    with pytest.raises(MaxViTError, match=r"model\.safetensors of owner/nothing is not in its cache"):
        create_model("maxvit_tiny", pretrained="owner/nothing")


@pytest.mark.parametrize(
    "options", [{"num_classes": -1}, {"image_size": 31}, {"in_channels": 0}, {"drop_path_rate": 1}]
)
def test_options_are_checked_before_anything_is_downloaded(options, hub_cache):
    with pytest.raises(MaxViTError, match=next(iter(options))):
        create_model("maxvit_tiny", pretrained=True, **options)


def test_the_backbone_of_a_network_for_another_task_is_a_start(tmp_path):
    scores = [str(score) for score in range(1, 11)]
    trained = make_task({"name": "aesthetics"}).make_network(create_model("maxvit_micro", image_size=64), scores)
    trained.save(tmp_path / "task.safetensors")
    model = create_model("maxvit_micro", num_classes=3, pretrained=tmp_path / "task.safetensors")
    images = torch.randn(2, 3, 64, 96)
    assert torch.equal(model.eval().forward_features(images), trained.eval().backbone.forward_features(images))
    assert model(images).shape == (2, 3)
    assert model.class_names is None
