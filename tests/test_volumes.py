"""Networks for sequences, and for volumes and video; those made from networks for images."""

import dataclasses
from math import prod

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import healthy
import maxvit
from maxvit import MaxSA, MaxViT, MaxViTConfig, MaxViTError
from maxvit.config import DIALECTS
from maxvit.export.options import ExportOptions

SMALL = MaxViTConfig(
    stem_channels=4, channels=(8, 8, 8, 12), depths=(1, 2, 1, 1), head_dim=4, window_size=(3, 2), grid_size=(2, 3),
    num_classes=5, image_size=(64, 96),
)  # fmt: skip


def make(**changes):
    torch.manual_seed(0)
    return healthy.fill(MaxViT(dataclasses.replace(SMALL, **changes)))


@pytest.mark.parametrize("dialect", [name for name in DIALECTS if name != "torchvision"])
@pytest.mark.parametrize(("time", "window_size"), [(1, None), (5, None), (8, (2, 3, 3))])
def test_a_repeated_image_is_answered_as_the_image_is(dialect, time, window_size):
    model = make(dialect=DIALECTS[dialect], grid_size=(3, 3), window_size=(3, 3))
    images = torch.randn(2, 3, 37, 50)
    volumes = images[:, :, None].expand(-1, -1, time, -1, -1)
    answers, truth = model.inflated(window_size=window_size)(volumes), model(images)
    assert (answers - truth).abs().max() < 3e-6 * truth.abs().max()


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (lambda: make(dialect=DIALECTS["torchvision"]), "shortcuts that pool 3 x 3 count zeros around the map"),
        (lambda: make().inflated(), "takes maps of 3 sides; one for images can be inflated"),
        (lambda: make(inner_fields=2), "inner_fields is 2, and fields are of images: it is 0 with 3 sides"),
        (lambda: maxvit.optimize(make()), "an optimised network only computes"),
    ],
)
def test_what_cannot_be_inflated_says_why(model, says):
    network = model()
    with pytest.raises(MaxViTError, match=says):
        network.inflated()


@pytest.mark.parametrize("dims", [1, 3])
def test_a_network_of_other_dimensions_trains_and_comes_back_from_its_file(dims, tmp_path):
    config = dataclasses.replace(SMALL.with_dims(dims, 2), order=("CBG", "CP", "GC", "CGB"))
    model = MaxViT(config)
    x = torch.randn(2, 3, *(5, 33, 40)[3 - dims :] if dims == 3 else (70,))
    model(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.save(tmp_path / "model.safetensors")
    again = maxvit.load_model(tmp_path / "model.safetensors")
    assert again.config == config
    assert torch.equal(again(x), model.eval()(x))
    pyramid = again.forward_pyramid(x, (2, 32))
    assert [tuple(m.shape[2:]) for m in pyramid] == [tuple(-(-n // s) for n in x.shape[2:]) for s in (2, 32)]


def test_create_model_inflates_weights(tmp_path):
    torch.manual_seed(0)
    maxvit.create_model("maxvit_micro", num_classes=3).eval().save(tmp_path / "micro.safetensors")
    options = {"dims": 3, "image_size": (8, 64, 64), "window_size": (2, 4, 4)}
    model = maxvit.create_model("maxvit_micro", pretrained=tmp_path / "micro.safetensors", **options)
    assert (model.config.window_size, model.config.image_size, model.config.num_classes) == ((2, 4, 4), (8, 64, 64), 3)
    images = torch.randn(1, 3, 64, 64)
    volumes = images[:, :, None].expand(-1, -1, 8, -1, -1)
    torch.testing.assert_close(model(volumes), maxvit.load_model(tmp_path / "micro.safetensors")(images))
    fresh = maxvit.create_model("maxvit_micro", **options)
    assert {n: t.shape for n, t in fresh.state_dict().items() if "head" not in n} == {
        n: t.shape for n, t in model.state_dict().items() if "head" not in n
    }


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dims": 4}, r"dims is 4; choose 1 \(sequences\), 2 \(images\) or 3 \(volumes and video\)"),
        (
            {"dims": 3, "image_size": (64, 64)},
            r"image_size is \(64, 64\); it takes a side in pixels, or \(time, height",
        ),
        ({"dims": 3, "window_size": (7, 7)}, r"window_size is \(7, 7\); it takes a number, or \(time, height, width\)"),
        ({"dims": 1, "pretrained": "shipped"}, "dims is 1, and weights are for 2 or, inflated, for 3"),
        (
            {"order": "GBC", "pretrained": "shipped"},
            "order: weights have their own; leave them or pretrained out",
        ),
        ({"order": "GXC"}, "order is 'GXC'; it takes letters of C"),
        ({"order": ["CBG"]}, r"order is \('CBG',\); it takes one for all stages, or one for each of 4"),
    ],
)
def test_networks_that_do_not_exist_are_refused(options, says):
    with pytest.raises(MaxViTError, match=says):
        maxvit.create_model("maxvit_micro", **options)


@pytest.mark.parametrize(
    ("model", "shape", "says"),
    [
        (make, (1, 3, 4, 64, 64), r"takes \(B, 3, H, W\); for volumes and video make one .*: dims=3"),
        (lambda: make().inflated(), (1, 3, 64, 64), r"takes \(B, 3, T, H, W\); for images make one .*: dims=2"),
        (lambda: make().inflated(), (3, 4, 64, 64), r"add a batch axis"),
        (lambda: make().inflated(), (1, 3, 4, 31, 64), "images are 4 x 31 x 64 pixels; the smallest side is 32"),
    ],
)
def test_what_a_network_does_not_take_is_refused_with_what_it_takes(model, shape, says):
    with pytest.raises(MaxViTError, match=says):
        model()(torch.randn(shape))


def test_what_is_for_images_alone_refuses_volumes():
    model = maxvit.create_model("maxvit_micro", dims=3)
    with pytest.warns(
        UserWarning, match="plain PyTorch: .*(they compute images, and this network takes maps of 3|compiler)"
    ):
        maxvit.accelerate(model)
    with pytest.raises(MaxViTError, match="files are for images, and the network takes maps of 3 sides"):
        ExportOptions().check(model)
    with pytest.raises(MaxViTError, match="attention is shown over images, and this network takes maps of 3 sides"):
        maxvit.rollout(model, torch.randn(3, 64, 96))


@pytest.mark.parametrize(
    ("sides", "longer"), [((96,), (192,)), ((8, 16, 16), (16, 16, 16)), ((8, 16, 16), (8, 32, 48))]
)
def test_the_cost_of_attention_grows_with_the_voxels(sides, longer):
    layer = MaxSA(32, (2, 4, 4)[-len(sides) :], (2, 4, 4)[-len(sides) :])

    def multiplications(sides):
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
            layer(torch.randn(1, 32, *sides))
        return counted.get_total_flops()

    assert multiplications(longer) * prod(sides) == multiplications(sides) * prod(longer)
