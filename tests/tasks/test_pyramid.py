"""What detectors and decoders of other libraries rely on: maps of the strides and channels that are promised."""

import pytest
import segmentation_models_pytorch as smp
import torch
from torchvision.ops import FeaturePyramidNetwork

from maxvit import MaxViTError, create_model
from maxvit.tasks.segmentation.encoder import MaxViTEncoder, register

STRIDES = (2, 4, 8, 16, 32)
SIZES = [(64, 96), (65, 97), (37, 131)]


def a_backbone(**kind):
    return create_model("maxvit_micro", num_classes=5, image_size=64, **kind)


@pytest.mark.parametrize("size", SIZES)
def test_maps_have_the_sizes_and_channels_that_are_promised(size):
    backbone = a_backbone().eval()
    maps = backbone.forward_pyramid(torch.randn(2, 3, *size), STRIDES)
    for stride, x in zip(STRIDES, maps, strict=True):
        assert x.shape == (2, backbone.pyramid_channels[stride], -(-size[0] // stride), -(-size[1] // stride))


def test_maps_are_what_the_classifier_is_computed_from():
    backbone, images = a_backbone().eval(), torch.randn(2, 3, 65, 97)
    deepest = backbone.forward_pyramid(images, [32])[0]
    assert torch.equal(deepest, backbone.forward_features(images))
    assert torch.equal(backbone.forward_head(deepest), backbone(images))


def test_strides_come_in_the_order_wanted():
    backbone, images = a_backbone().eval(), torch.randn(2, 3, 33, 64)
    all_of_them = dict(zip(STRIDES, backbone.forward_pyramid(images, STRIDES), strict=True))
    for strides in ((32, 4), (8,), (16, 2, 8)):
        maps = backbone.forward_pyramid(images, strides)
        assert all(torch.equal(x, all_of_them[s]) for s, x in zip(strides, maps, strict=True))
    with pytest.raises(MaxViTError, match=r"strides \[64\] do not exist"):
        backbone.forward_pyramid(images, (4, 64))


def test_a_change_in_a_corner_of_the_image_is_largest_in_that_corner_of_each_map():
    """What a detector relies on beyond shapes: a map lies over the image, rows as rows and columns as columns."""
    backbone = a_backbone().eval()
    images = torch.randn(2, 3, 96, 160)
    changed = images.clone()
    changed[:, :, :8, -8:] += 2
    for stride, before, after in zip(
        (2, 4, 8),
        backbone.forward_pyramid(images, (2, 4, 8)),
        backbone.forward_pyramid(changed, (2, 4, 8)),
        strict=True,
    ):
        difference = (after - before).abs().sum((0, 1))
        row, column = divmod(int(difference.argmax()), difference.shape[1])
        assert row * stride < 16
        assert column * stride >= 160 - 16


@pytest.mark.parametrize("size", SIZES)
def test_a_feature_pyramid_network_takes_the_maps_and_gives_gradients(size):
    backbone = a_backbone(drop_path_rate=0.0)
    strides = (4, 8, 16, 32)
    pyramid = FeaturePyramidNetwork([backbone.pyramid_channels[s] for s in strides], 16)
    maps = backbone.forward_pyramid(torch.randn(2, 3, *size), strides)
    levels = pyramid({str(s): x for s, x in zip(strides, maps, strict=True)})
    assert {name: x.shape[2:] for name, x in levels.items()} == {
        str(s): (-(-size[0] // s), -(-size[1] // s)) for s in strides
    }
    sum(x.square().mean() for x in levels.values()).backward()
    missing = {n for n, p in backbone.named_parameters() if p.grad is None}
    assert missing == {n for n, _ in backbone.named_parameters() if n.startswith("head.")}


@pytest.mark.parametrize(
    "model", [smp.Unet, smp.UPerNet, smp.FPN, smp.Linknet, smp.MAnet, smp.PSPNet, smp.UnetPlusPlus]
)
def test_models_of_segmentation_models_pytorch_run_on_it(model):
    register("maxvit_test", a_backbone())
    network = model("maxvit_test", encoder_weights=None, classes=4)
    logits = network(torch.randn(2, 3, 64, 96))
    assert logits.shape == (2, 4, 64, 96)
    logits.square().mean().backward()
    assert next(network.encoder.backbone.stem.parameters()).grad.abs().sum() > 0


def test_a_model_gets_a_copy_with_the_weights():
    backbone = a_backbone()
    register("maxvit_test", backbone)
    first, second = (smp.Unet("maxvit_test", encoder_weights=None) for _ in range(2))
    for name, tensor in first.encoder.backbone.state_dict().items():
        assert torch.equal(tensor, backbone.state_dict()[name])
        assert tensor.data_ptr() != second.encoder.backbone.state_dict()[name].data_ptr()
    assert backbone.head.classifier.out_features == 5


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_an_encoder_keeps_the_library_s_contract(depth):
    backbone = a_backbone().eval()
    encoder, images = MaxViTEncoder(backbone, depth), torch.randn(2, 3, 64, 96)
    maps = encoder(images)
    assert [x.shape[1] for x in maps] == encoder.out_channels
    assert encoder.output_stride == 2**depth
    assert [64 // x.shape[2] for x in maps] == [2**i for i in range(depth + 1)]
    assert maps[0] is images
    for x, y in zip(maps[1:], backbone.forward_pyramid(images, STRIDES), strict=False):
        assert torch.equal(x, y)


def test_grey_images_are_answered_as_if_they_were_copied_into_three_channels():
    register("maxvit_test", a_backbone())
    grey = smp.Unet("maxvit_test", encoder_weights=None, in_channels=1).eval()
    assert grey.encoder.out_channels[0] == 1
    image = torch.randn(2, 1, 64, 64)
    colour = MaxViTEncoder(a_backbone()).eval()
    register("maxvit_test", colour.backbone)
    grey = smp.Unet("maxvit_test", encoder_weights=None, in_channels=1).eval()
    for x, y in zip(grey.encoder(image)[1:], colour(image.expand(-1, 3, -1, -1))[1:], strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-4)


def test_what_attention_cannot_do_is_refused():
    register("maxvit_test", a_backbone())
    with pytest.raises(MaxViTError, match="output stride 16 needs stages with dilation"):
        smp.DeepLabV3Plus("maxvit_test", encoder_weights=None)
    with pytest.raises(MaxViTError, match="encoder_depth is 6"):
        MaxViTEncoder(a_backbone(), 6)
    with pytest.raises(MaxViTError, match="'resnet18' is one of"):
        register("resnet18", a_backbone())
