"""The head lies over the image, trains, and travels with its checkpoint."""

import pytest
import torch
from torch import nn

from maxvit import MaxViTError, create_model
from maxvit.tasks import load, make_task
from maxvit.tasks.segmentation.network import SegmentationHead
from maxvit.tasks.segmentation.settings import SegmentationSettings

DECODERS = ["upernet", "unet", "fpn"]
FINEST = [("upernet", 4), ("unet", 4), ("fpn", 4), ("upernet", 2), ("fpn", 2)]


def a_network(decoder="upernet", classes=3, **settings):
    task = make_task({"name": "segmentation", "decoder": decoder, "decoder_channels": 64, **settings})
    names = [f"class {i}" for i in range(classes)]
    return task, task.make_network(create_model("maxvit_micro", image_size=64), names)


class Picks(nn.Module):
    """In place of a decoder: one of its maps."""

    def __init__(self, level):
        super().__init__()
        self.level = level

    def forward(self, features):
        return features[self.level]


@pytest.mark.parametrize(
    ("decoder", "finest", "strides", "given"),
    [
        ("upernet", 4, (4, 8, 16, 32), 4),
        ("upernet", 2, (2, 4, 8, 16, 32), 2),
        ("unet", 4, (2, 4, 8, 16, 32), 1),
        ("unet", 2, (2, 4, 8, 16, 32), 1),
        ("fpn", 4, (4, 8, 16, 32), 4),
        ("fpn", 2, (2, 4, 8, 16), 2),
    ],
)
def test_the_finest_map_that_is_asked_for_is_read_and_gives_the_logits(decoder, finest, strides, given):
    _, network = a_network(decoder, finest_stride=finest)
    assert network.head.strides == strides
    seen = []
    network.head.classifier.register_forward_pre_hook(lambda _, x: seen.append(x[0].shape[2:]))
    maps = network.backbone.forward_pyramid(torch.randn(2, 3, 65, 97), strides)
    with torch.inference_mode():
        before = network.head.eval()(maps, (65, 97))
        assert before.shape == (2, 3, 65, 97)
        assert seen == [(96 // given, 128 // given)]
        for i in range(len(maps)):
            changed = [x + torch.randn_like(x) if j == i else x for j, x in enumerate(maps)]
            assert not torch.equal(network.head(changed, (65, 97)), before), strides[i]


@pytest.mark.parametrize("finest", [2, 4])
@pytest.mark.parametrize("size", [(65, 97), (33, 64), (96, 127)])
def test_logits_lie_over_the_image_at_odd_sizes(size, finest):
    settings = SegmentationSettings(decoder_channels=64, finest_stride=finest)
    head = SegmentationHead(dict.fromkeys((2, 4, 8, 16, 32), 64), 3, settings)
    head.decoder, head.classifier = Picks(2), nn.Identity()  # the finest map
    maps = []
    for stride in head.strides:
        rows, columns = torch.arange(-(-size[0] // stride)), torch.arange(-(-size[1] // stride))
        maps.append(torch.stack(torch.meshgrid(rows.float(), columns.float(), indexing="ij"))[None].repeat(2, 1, 1, 1))
    logits = head.eval()(maps, size)
    assert logits.shape == (2, 2, *size)
    for axis in (0, 1):  # the centre of pixel i is at (i + 0.5) / finest - 0.5 of the map, wherever the map ends
        at = (torch.arange(size[axis] - 8) + 0.5) / finest - 0.5
        line = logits[1, axis, :, 5] if axis == 0 else logits[1, axis, 7]
        torch.testing.assert_close(line[2 : size[axis] - 8], at[2:])


@pytest.mark.parametrize(("decoder", "finest"), FINEST)
def test_every_parameter_learns_at_an_odd_size(decoder, finest):
    task, network = a_network(decoder, finest_stride=finest, dice_weight=0.5)
    images, targets = torch.randn(2, 3, 65, 97), torch.randint(0, 3, (2, 65, 97), dtype=torch.uint8)
    nn.init.normal_(network.head.classifier.weight)  # its own are so small that gradients below could pass for none
    task.losses(network.train(), images, targets)["loss"].backward()
    learns = {name: p for name, p in network.named_parameters() if p.requires_grad}
    assert [name for name, p in learns.items() if p.grad is None or not torch.isfinite(p.grad).all()] == []
    assert all(p.grad.abs().sum() > 0 for p in network.head.classifier.parameters())
    frozen = {name for name, _ in network.named_parameters()} - learns.keys()
    unread = {f"backbone.stages.3.{name}" for name, _ in network.backbone.stages[3].named_parameters()}
    assert frozen == (unread if (decoder, finest) == ("fpn", 2) else set())
    for part in (network.backbone.stem, *network.backbone.stages):
        assert all(p.grad.any() for p in part.parameters() if p.requires_grad and p.ndim > 1)


@pytest.mark.parametrize(("decoder", "finest"), FINEST)
def test_an_image_is_answered_alike_alone_and_in_a_batch(decoder, finest):
    _, network = a_network(decoder, finest_stride=finest)
    images = torch.randn(3, 3, 37, 66)
    with torch.inference_mode():
        together, alone = network.eval()(images), network(images[1:2])
    torch.testing.assert_close(together[1:2], alone)


@pytest.mark.parametrize("decoder", DECODERS)
def test_two_halves_are_learnt(decoder):
    task, network = a_network(decoder, classes=2)
    images = torch.randn(2, 3, 64, 96) * 0.1
    targets = torch.zeros(2, 64, 96, dtype=torch.uint8)
    targets[:, :, 40:] = 1
    images += targets[:, None] * 2.0
    optimizer = torch.optim.AdamW(network.train().parameters(), lr=1e-3)
    for _ in range(12):
        loss = task.losses(network, images, targets)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    logits = network(images)  # batch norms of a dozen updates have no statistics yet
    assert (logits.argmax(1) == targets).float().mean() > 0.97


def test_at_the_start_all_classes_are_about_as_likely():
    task, network = a_network(classes=7)
    loss = task.losses(network.train(), torch.randn(2, 3, 64, 64), torch.zeros(2, 64, 64, dtype=torch.uint8))["loss"]
    assert abs(loss.item() - torch.tensor(7.0).log().item()) < 0.5


def test_upernet_says_that_it_cannot_learn_from_one_image():
    task, network = a_network()
    with pytest.raises(MaxViTError, match="device_batch_size to 2 or more"):
        task.losses(network.train(), torch.randn(1, 3, 64, 64), torch.zeros(1, 64, 64, dtype=torch.uint8))


@pytest.mark.parametrize(("decoder", "finest"), FINEST)
def test_a_checkpoint_holds_the_whole_network(decoder, finest, tmp_path):
    _, network = a_network(decoder, finest_stride=finest, dropout=0.3)
    network.save(tmp_path / "a.safetensors")
    again = load(tmp_path / "a.safetensors")
    images = torch.randn(2, 3, 64, 64)
    assert (again.settings.decoder, again.settings.finest_stride) == (decoder, finest)
    assert again.head.dropout.p == 0.3
    with torch.inference_mode():
        torch.testing.assert_close(again(images), network.eval()(images), rtol=0, atol=0)


def test_channels_are_dropped_in_training_only():
    _, network = a_network("unet", dropout=0.5)
    network.head.train()
    maps = network.backbone.eval().forward_pyramid(torch.randn(2, 3, 64, 64), network.head.strides)
    for module in network.head.decoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    nn.init.normal_(network.head.classifier.weight)
    assert not torch.equal(network.head(maps, (64, 64)), network.head(maps, (64, 64)))
    network.head.eval()
    assert torch.equal(network.head(maps, (64, 64)), network.head(maps, (64, 64)))


@pytest.mark.full
@pytest.mark.parametrize(("decoder", "finest"), FINEST)
def test_a_graph_answers_as_the_network(decoder, finest):
    task, network = a_network(decoder, finest_stride=finest)
    module = task.export_spec(network.eval()).module
    images = torch.randn(3, 3, 64, 96)
    with torch.no_grad():
        program = torch.export.export(
            module, (images[:2],), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=8)}, None)[:1]
        )
        torch.testing.assert_close(program.module()(images), module(images))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"decoder": "pspnet"}, "task.decoder"),
        ({"finest_stride": 8}, "task.finest_stride"),
        ({"decoder_channels": 100}, "multiple of 64"),
        ({"scale": [2.0, 0.5]}, "smallest, largest"),
        ({"slide_stride": 0}, "task.slide_stride"),
        ({"colour": True}, "unknown setting 'task.colour'"),
    ],
)
def test_a_setting_that_is_not_allowed_is_named(setting, message):
    with pytest.raises(MaxViTError, match=message):
        make_task({"name": "segmentation", **setting})
