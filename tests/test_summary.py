"""Counts of a small network, against formulas written out layer by layer."""

import json
from math import ceil

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from maxvit.config import MaxViTConfig
from maxvit.model import MaxViT
from maxvit.summary import summarize
from maxvit.tasks import make_task

CONFIG = MaxViTConfig(
    stem_channels=8,
    channels=(8, 16, 16, 24),
    depths=(1, 2, 1, 1),
    head_dim=8,
    window_size=(2, 3),
    grid_size=(5, 4),
    num_classes=3,
    image_size=(37, 83),
)


def conv(cin, cout, k, hw, groups=1, bias=True):
    """Parameters and multiply-adds of one Conv2d whose output has hw pixels."""
    weights = cout * (cin // groups) * k * k
    return weights + (cout if bias else 0), weights * hw


def linear(cin, cout, tokens):
    return cin * cout + cout, cin * cout * tokens


def norm(channels):
    return 2 * channels, 0


def attention(c, hw, size, table):
    """Norm, qkv, products of T x T in every group of the padded map, bias table, projection, norm, feed-forward."""
    tokens, group = hw[0] * hw[1], size[0] * size[1]
    groups = ceil(hw[0] / size[0]) * ceil(hw[1] / size[1])
    products = (c // CONFIG.head_dim * table[0] * table[1], 2 * groups * group**2 * c)
    layers = [linear(c, 3 * c, tokens), linear(c, c, tokens), linear(c, 4 * c, tokens), linear(4 * c, c, tokens)]
    return [*layers, norm(c), norm(c), products]


def block(cin, c, before, after):
    """MBConv from a map with `before` pixels, then both attentions on the map `after`."""
    hw = after[0] * after[1]
    hidden, squeezed = 4 * c, c // 4
    layers = [norm(cin), conv(cin, hidden, 1, before, bias=False), norm(hidden)]
    layers += [conv(hidden, hidden, 3, hw, groups=hidden, bias=False), norm(hidden)]
    layers += [conv(hidden, squeezed, 1, 1), conv(squeezed, hidden, 1, 1), conv(hidden, c, 1, hw)]
    if cin != c:
        layers.append(conv(cin, c, 1, hw))
    table = (3, 5)  # 2 * window - 1
    return layers + attention(c, after, (2, 3), table) + attention(c, after, (5, 4), table)


def total(layers):
    return tuple(sum(column) for column in zip(*layers, strict=True))


MAPS = [(19, 42), (10, 21), (5, 11), (3, 6), (2, 3)]  # of the stem and the stages, from 37 x 83, rounded up
PIXELS = [h * w for h, w in MAPS]
WANTED = {  # part: (blocks, output, (parameters, multiply-adds))
    "stem": (0, (8, *MAPS[0]), total([conv(3, 8, 3, PIXELS[0]), norm(8), conv(8, 8, 3, PIXELS[0])])),
    "stage 1": (1, (8, *MAPS[1]), total(block(8, 8, PIXELS[0], MAPS[1]))),
    "stage 2": (
        2,
        (16, *MAPS[2]),
        total(block(8, 16, PIXELS[1], MAPS[2]) + block(16, 16, PIXELS[2], MAPS[2])),
    ),
    "stage 3": (1, (16, *MAPS[3]), total(block(16, 16, PIXELS[2], MAPS[3]))),
    "stage 4": (1, (24, *MAPS[4]), total(block(16, 24, PIXELS[3], MAPS[4]))),
    "head": (0, (3,), total([norm(24), linear(24, 24, 1), linear(24, 3, 1)])),
}


@pytest.mark.parametrize("name", WANTED)
def test_each_part_counts_what_its_formula_says(name):
    (part,) = [p for p in summarize(MaxViT(CONFIG)).parts if p.name == name]
    assert (part.blocks, part.output, (part.parameters, part.multiply_adds)) == WANTED[name]


def test_the_totals_are_the_sums_of_the_parts():
    summary = summarize(MaxViT(CONFIG))
    assert [part.name for part in summary.parts] == list(WANTED)
    assert summary.image_size == (37, 83)
    assert summary.parameters == sum(part.parameters for part in summary.parts)
    assert summary.multiply_adds == sum(part.multiply_adds for part in summary.parts)


def test_the_weight_bytes_are_those_of_the_file(tmp_path):
    model = MaxViT(CONFIG)
    model.save(tmp_path / "model.safetensors")
    data = (tmp_path / "model.safetensors").read_bytes()
    header = int.from_bytes(data[:8], "little")
    assert json.loads(data[8 : 8 + header])
    assert summarize(model).weight_bytes == len(data) - 8 - header


def test_activations_grow_with_the_area_and_the_parameters_do_not():
    model = MaxViT(CONFIG)
    small, tall = summarize(model, (160, 192)), summarize(model, (320, 192))  # windows and grids divide all maps
    assert tall.image_size == (320, 192)
    assert small.parameters == tall.parameters
    assert 1.95 * small.training_bytes < tall.training_bytes < 2 * small.training_bytes  # the head does not grow
    assert 1.95 * small.multiply_adds < tall.multiply_adds < 2 * small.multiply_adds


def test_the_activation_bytes_are_those_that_a_real_forward_keeps():
    """Per image: what autograd saved for two images on the CPU, without the weights, each storage once."""
    model, storages = MaxViT(CONFIG).train(), {}
    weights = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}

    def keep(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(torch.randn(2, 3, 37, 83))
    assert output.requires_grad
    measured = sum(storage.nbytes() for pointer, storage in storages.items() if pointer not in weights) / 2
    assert summarize(model).training_bytes == pytest.approx(measured, rel=0.01)  # kernels may keep other scraps


def kept_bytes(model, module, x):
    """What autograd saves of one part of a model on the CPU, without its weights; and the part's output."""
    storages = {}
    weights = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}

    def keep(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = module(x)
    return {pointer: s.nbytes() for pointer, s in storages.items() if pointer not in weights}, output


def test_the_checkpointed_bytes_are_block_inputs_and_the_largest_block():
    """What a real checkpointed forward saves, and what the largest block saves when it is run by itself."""
    model = MaxViT(CONFIG).train()
    model.set_gradient_checkpointing()
    images = torch.randn(2, 3, 37, 83)
    forward, _ = kept_bytes(model, model, images)
    x, own, largest = model.stem(images), [], 0
    for block in (block for stage in model.stages for block in stage):
        kept, output = kept_bytes(model, block, x)
        own.append(sum(kept.values()) - x.untyped_storage().nbytes())
        largest = max(largest, *kept.values())
        x = output
    summary = summarize(model)
    measured = (sum(forward.values()) + max(own)) / 2
    assert summary.checkpointed_bytes == pytest.approx(measured, rel=0.01)  # as above
    assert summary.checkpointed_bytes < 0.8 * summary.training_bytes
    assert summary.largest_bytes == largest / 2


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training):
    model = MaxViT(CONFIG).train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    summarize(model)
    assert all(module.training is training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
    for name, tensor in model.state_dict().items():
        assert tensor.device.type == "cpu"
        assert torch.equal(tensor, before[name])


def test_nothing_is_allocated_for_an_image_that_fits_no_memory():
    size = (32 * 3001, 32 * 2003)  # the input alone would take 150 GB
    summary = summarize(MaxViT(CONFIG), size)
    assert summary.parts[-2].output == (24, 3001, 2003)
    assert summary.training_bytes > 10**12


def test_without_a_classifier_the_head_gives_features():
    with torch.device("meta"):
        model = MaxViT(MaxViTConfig.from_dict({**CONFIG.to_dict(), "num_classes": 0}))
    assert summarize(model).parts[-1].output == (24,)
    assert summarize(model).parts[-1].parameters == 2 * 24 + 24 * 24 + 24


def test_gradient_checkpointing_does_not_hide_what_training_keeps():
    model = MaxViT(CONFIG)
    plain = summarize(model)
    model.set_gradient_checkpointing()
    assert summarize(model) == plain


# the heads of tasks

TASKS = {
    "classification": {"name": "classification"},
    "segmentation": {"name": "segmentation", "decoder_channels": 64, "dice_weight": 0.5},
    "aesthetics": {"name": "aesthetics"},
    "masked": {"name": "masked"},
    "retinanet": {"name": "detection", "detector": "retinanet", "pyramid_channels": 32},
    "mask-rcnn": {"name": "detection", "pyramid_channels": 32, "mask_channels": 16, "head_channels": 24},
    "cascade": {"name": "detection", "detector": "cascade-mask-rcnn", "pyramid_channels": 32, "strides": (8, 16)},
}


def make(name):
    """A network of a task, in training mode."""
    task = make_task(TASKS[name])
    return task, task.make_network(MaxViT(CONFIG), ["ant", "bee", "cat"], new_head=True).train()


@pytest.mark.parametrize("name", TASKS)
def test_of_every_task_parts_are_counted_and_add_up(name):
    task, network = make(name)
    summary = summarize(network)
    assert [part.name for part in summary.parts] == list(WANTED)
    assert summary.parameters == sum(p.numel() for p in network.parameters())
    assert summary.parameters == sum(part.parameters for part in summary.parts)
    assert summary.multiply_adds == sum(part.multiply_adds for part in summary.parts)
    for part in summary.parts[:4]:
        assert (part.blocks, part.output, (part.parameters, part.multiply_adds)) == WANTED[part.name]
    assert summary.not_counted == task.not_counted


@pytest.mark.parametrize("name", ["segmentation", "aesthetics", "masked", "retinanet"])
def test_the_head_of_a_task_is_counted_as_a_real_step_computes_it(name):
    task, network = make(name)
    box = {"boxes": torch.tensor([[2.0, 3, 30, 20]]), "labels": torch.tensor([1])}
    targets = {"segmentation": torch.zeros(2, 37, 83, dtype=torch.uint8), "aesthetics": torch.ones(2, 3) / 3}
    targets["masked"] = torch.rand(2, 10, 21) < 0.6
    storages = {}
    weights = {tensor.untyped_storage().data_ptr() for tensor in network.state_dict().values()}

    def keep(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    counter = FlopCounterMode(display=False)
    with counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = task.losses(network, torch.randn(2, 3, 37, 83), targets.get(name, [box, box]))
    assert losses["loss"].requires_grad
    summary = summarize(network)
    assert summary.multiply_adds == counter.get_total_flops() // 4
    if name != "retinanet":  # whose losses are not counted
        kept = sum(storage.nbytes() for pointer, storage in storages.items() if pointer not in weights) / 2
        assert summary.training_bytes == pytest.approx(kept, rel=0.05)


def test_regions_are_those_that_training_looks_at():
    """Twice as many regions are twice the work of what looks at them."""
    _, network = make("mask-rcnn")
    counts = []
    for regions in (100, 200, 300):
        settings = network.settings.model_copy(update={"samples": (256, regions)})
        network.settings = settings
        counts.append(summarize(network).parts[-1].multiply_adds)
    box = 32 * 7 * 7 * 24 + 24 * 24 + 24 * 4 + 24 * 16  # two layers, classes with the background, offsets
    mask = 14 * 14 * (9 * 32 * 16 + 3 * 9 * 16 * 16 + 4 * 16 * 16) + 28 * 28 * 16 * 4
    assert counts[1] - counts[0] == counts[2] - counts[1] == 100 * box + 25 * mask
