"""torchvision's `maxvit_t`: its dialect has a name, and each part of that name is needed."""

import dataclasses

import pytest
import torch
import torchvision
from torchvision.models.maxvit import MaxVit

from healthy import fill
from maxvit import MaxViT, MaxViTError, load_model
from maxvit.checkpoints.torchvision import from_torchvision
from maxvit.config import OFFICIAL, TORCHVISION, VARIANTS, Dialect, Preprocessing
from maxvit.description import describe
from official import difference, images

LIMIT = 2e-5
FIELDS = [f.name for f in dataclasses.fields(Dialect) if getattr(TORCHVISION, f.name) != getattr(OFFICIAL, f.name)]


def ours_of(theirs):
    config, preprocessing, state = from_torchvision(theirs.state_dict())
    return MaxViT.restore(state, describe(config, preprocessing, None, {}), "torchvision")


@pytest.fixture
def small():
    """The first and third stage keep the channels, so that it is the stride that projects."""
    return fill(
        MaxVit(
            input_size=(64, 64),
            stem_channels=32,
            partition_size=2,
            block_channels=[32, 64, 64, 96],
            block_layers=[1, 2, 1, 1],
            head_dim=16,
            stochastic_depth_prob=0.2,
            num_classes=11,
        )
    )


def test_logits_are_those_of_torchvision_and_preprocessing_is_its():
    theirs = fill(torchvision.models.maxvit_t())
    ours, x = ours_of(theirs), images(2, 224)
    with torch.inference_mode():
        assert difference(ours(x), theirs(x)) < LIMIT
    assert ours.config == dataclasses.replace(VARIANTS["maxvit_tiny"], dialect=TORCHVISION)
    assert ours.preprocessing == Preprocessing(crop_pct=1.0)


def test_small_network_agrees_too(small):
    ours, x = ours_of(small), torch.randn(3, 3, 64, 64)
    assert (ours.config.depths, ours.config.head_dim, ours.config.window_size) == ((1, 2, 1, 1), 16, (2, 2))
    with torch.inference_mode():
        assert difference(ours(x), small(x)) < LIMIT


@pytest.mark.parametrize("field", FIELDS)
def test_each_difference_that_the_dialect_names_is_seen(small, field):
    config, _, state = from_torchvision(small.state_dict())
    dialect = dataclasses.replace(TORCHVISION, **{field: getattr(OFFICIAL, field)})
    ours = MaxViT(dataclasses.replace(config, dialect=dialect)).eval()
    left_over = ours.load_state_dict(state, strict=False).unexpected_keys
    shortcuts = [f"stages.{s}.0.mbconv.shortcut.conv.{kind}" for s in (0, 2) for kind in ("weight", "bias")]
    assert left_over == (shortcuts if field == "shortcut_projection" else [])
    x = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        assert difference(ours(x), small(x)) > 20 * LIMIT


def test_file_is_recognised_and_comes_back_from_ours(small, tmp_path):
    torch.save(small.state_dict(), tmp_path / "maxvit.pth")
    ours = load_model(tmp_path / "maxvit.pth")
    assert ours.provenance == {"converted_from": "torchvision maxvit.pth"}
    ours.save(tmp_path / "ours.safetensors")
    again, x = load_model(tmp_path / "ours.safetensors"), torch.randn(2, 3, 64, 64)
    assert again.config.dialect == TORCHVISION
    with torch.inference_mode():
        assert torch.equal(again(x), ours(x))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("classifier.3.bias"), r"of torchvision: classifier\.3\.bias is missing$"),
        (lambda s: s.pop("classifier.5.weight"), r"^classifier\.5\.weight is missing$"),
        (lambda s: s.update(more=torch.zeros(1)), r"of torchvision: more is not part of the network$"),
        (lambda s: [s.pop(n) for n in list(s) if n.startswith("blocks.3.")], "^it has 3 stages, and a MaxViT has 4$"),
    ],
)
def test_what_does_not_fit_is_named(small, change, says):
    state = dict(small.state_dict())
    change(state)
    with pytest.raises(MaxViTError, match=says):
        from_torchvision(state)


def test_bias_tables_of_several_sizes_are_refused(small):
    state = dict(small.state_dict())
    name = "blocks.2.layers.0.layers.grid_attention.attn_layer.1.relative_position_bias_table"
    state[name] = state[name][:-1]
    with pytest.raises(MaxViTError, match=r"a bias table has shape \(8, 4\), where \(9, heads\) is wanted"):
        from_torchvision(state)
