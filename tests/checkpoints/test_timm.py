"""timm's official variants: read exactly, computed equally, written so that timm takes them; others are refused."""

import dataclasses
import re

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from healthy import fill
from maxvit import MaxViT, MaxViTConfig, MaxViTError, load_model
from maxvit.checkpoints.timm import from_timm, infer_config, save_for_timm, timm_call, to_timm
from maxvit.config import TORCHVISION, VARIANTS, Dialect, Preprocessing
from official import CHECKPOINT, difference, golden, images
from timm_micro import micro_of_timm, ours_of, small

OFFICIAL = timm.list_models("maxvit*_tf_*")
OTHERS = sorted({n for kind in ("maxxvit*", "coatn*", "test_coatnet") for n in timm.list_models(kind)})
SOME = {
    "maxxvitv2_nano_rw_256",
    "maxxvit_rmlp_nano_rw_256",
    "coatnet_pico_rw_224",
    "coatnext_nano_rw_224",
    "test_coatnet",
}
LIMIT = 2e-5
HALF = (0.5, 0.5, 0.5)


def some(names, normal):
    return [name if name in normal else pytest.param(name, marks=pytest.mark.full) for name in names]


NORMAL = {"maxvit_tiny_tf_224", "maxvit_tiny_tf_384"}
FITS = [name for name in OFFICIAL if name.endswith("224") or "large" not in name]  # into the memory of a laptop


@pytest.mark.parametrize("name", some(FITS, NORMAL))
def test_logits_are_those_of_timm_and_the_way_back_is_exact(name):
    theirs = fill(timm.create_model(name))
    ours, x = ours_of(theirs), images(1, theirs.img_size[0])
    with torch.inference_mode():
        assert difference(ours(x), theirs(x)) < LIMIT
    back = to_timm(ours.state_dict(), ours.config)
    assert back.keys() == theirs.state_dict().keys()
    assert all(torch.equal(back[n], t) for n, t in theirs.state_dict().items())
    theirs.load_state_dict(back, strict=True)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if "tiny" in n or n.endswith("base_tf_224") else pytest.mark.full) for n in OFFICIAL],
)
def test_configuration_follows_from_names_and_shapes_at_every_resolution_and_number_of_classes(name):
    variant, side = re.fullmatch(r"(\w+)_tf_(\d+)", name).groups()
    windows = (int(side) // 32,) * 2
    table = (2 * windows[0] - 1,) * 2
    with torch.device("meta"):
        theirs = timm.create_model(name)
        for classes in (1000, 21841, 21843, 0):
            theirs.reset_classifier(classes)
            assert infer_config({n: tuple(t.shape) for n, t in theirs.state_dict().items()}) == dataclasses.replace(
                VARIANTS[variant],
                num_classes=classes,
                multi_label=classes == 21843,  # ImageNet-21K's, which learned by sigmoid
                image_size=(int(side), int(side)),
                window_size=windows,
                grid_size=windows,
                bias_table_size=table,
            )


@pytest.mark.parametrize("name", some(OTHERS, SOME))
def test_timms_other_networks_are_refused_by_the_first_names_that_do_not_fit(name):
    with torch.device("meta"):
        state = timm.create_model(name).state_dict()
    with pytest.raises(MaxViTError) as raised:
        from_timm(state)
    first, sentence = str(raised.value).split(" ", 1)[0].rstrip(","), str(raised.value)
    assert first in state
    assert "are in none of timm's MaxViTs (maxvit_*), which alone can be read: maxxvit, coatnet and" in sentence
    assert sentence.count("\n") == 0


def test_file_of_another_network_of_timm_is_refused(tmp_path):
    save_file(timm.create_model("test_coatnet").state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(
        MaxViTError, match=r"model\.safetensors: stages\.\S+, \S+, \S+ and \d+ more are in none of timm's"
    ):
        load_model(tmp_path / "model.safetensors")


def test_missing_tensor_is_named():
    state = small().state_dict()
    del state["stages.1.blocks.1.attn_grid.attn.proj.bias"]
    with pytest.raises(MaxViTError, match=r"of timm: stages\.1\.blocks\.1\.attn_grid\.attn\.proj\.bias is missing$"):
        from_timm(state)
    del state["stem.conv1.weight"]
    with pytest.raises(MaxViTError, match=r"^stem\.conv1\.weight is missing$"):
        infer_config({n: tuple(t.shape) for n, t in state.items()})


@pytest.mark.parametrize("size", [(64, 96), (160, 32)])
def test_windows_of_unequal_sides_are_read_too(size):
    theirs = small(size)
    ours = ours_of(theirs)
    assert ours.config.image_size == size
    with torch.inference_mode():
        x = torch.randn(2, 3, *size)
        assert difference(ours(x), theirs(x)) < LIMIT


@pytest.mark.parametrize(
    ("side", "classes", "expected"),
    [
        (224, 1000, Preprocessing(crop_pct=0.95)),
        (224, 21843, Preprocessing(crop_pct=0.95, mean=HALF, std=HALF)),
        (384, 1000, Preprocessing(image_size=(384, 384), fit="squash", crop_pct=1.0, mean=HALF, std=HALF)),
    ],
)
def test_preprocessing_is_that_of_timms_settings(side, classes, expected):
    with torch.device("meta"):
        theirs = timm.create_model(f"maxvit_tiny_tf_{side}", num_classes=classes)
    assert from_timm(theirs.state_dict())[1] == expected


@pytest.mark.parametrize("side", [384, 512])
def test_golden_checkpoint_gives_its_logits_loaded_saved_reloaded_and_in_timm(side, tmp_path):
    expected = golden(f"micro_{side}")
    with torch.inference_mode():
        ours = load_model(CHECKPOINT, image_size=side)
        assert difference(ours(expected["images"]), expected["logits"]) < LIMIT
        ours.save(tmp_path / "ours.safetensors")
        again = load_model(tmp_path / "ours.safetensors")
        assert torch.equal(again(expected["images"]), ours(expected["images"]))

        assert "timm has no name for these blocks" in save_for_timm(again, tmp_path / "timm.safetensors")
        theirs = micro_of_timm(side)
        theirs.load_state_dict(load_file(tmp_path / "timm.safetensors"), strict=True)
        assert difference(theirs(expected["images"]), expected["logits"]) < LIMIT

        back = load_model(tmp_path / "timm.safetensors")
        assert back.config == dataclasses.replace(again.config, bias_table_size=(side // 16 - 1,) * 2)
        assert difference(back(expected["images"]), expected["logits"]) < LIMIT


def test_file_for_timm_says_pt_and_is_loaded_by_the_call_that_is_told(tmp_path):
    model = fill(MaxViT(dataclasses.replace(VARIANTS["maxvit_tiny"], num_classes=5, in_channels=1)))
    model.set_image_size((64, 96))
    call = save_for_timm(model, tmp_path / "model.safetensors")
    assert call == "timm.create_model('maxvit_tiny_tf_224', num_classes=5, img_size=(64, 96), in_chans=1)"
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    theirs = eval(call).eval()
    theirs.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    x = torch.randn(2, 1, 64, 96)
    with torch.inference_mode():
        assert difference(theirs(x), model(x)) < LIMIT


@pytest.mark.parametrize("side", [224, 384, 512])
def test_call_names_the_resolution(side):
    config = VARIANTS["maxvit_base"].resized(side)
    assert timm_call(config) == f"timm.create_model('maxvit_base_tf_{side}', num_classes=1000)"


def test_network_without_classifier_goes_both_ways():
    theirs = small()
    theirs.reset_classifier(0)
    ours, x = ours_of(theirs), torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        assert difference(ours(x), theirs(x)) < LIMIT
    assert to_timm(ours.state_dict(), ours.config).keys() == theirs.state_dict().keys()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dialect": TORCHVISION}, "differs in gelu, padding, shortcut_pool, shortcut_projection$"),
        ({"grid_size": (5, 7)}, r"of one size, and here they are \(7, 7\) and \(5, 7\): set_image_size"),
        ({"order": "CGB"}, "blocks of MBConv, block and grid attention; this one .* has blocks CGB, CGB"),
        ({"dialect": Dialect(norm="rms", qk_norm=True)}, "differs in norm, qk_norm$"),
        ({"pool": "max"}, "average over the last map, and this one has pool='max'$"),
    ],
)
def test_network_that_timm_computes_otherwise_is_not_written(changes, says, tmp_path):
    model = MaxViT(MaxViTConfig(stem_channels=8, channels=(32,) * 4, depths=(1,) * 4, **changes))
    with pytest.raises(MaxViTError, match=says):
        save_for_timm(model, tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []
