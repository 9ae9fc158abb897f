"""A backbone with a head: what is trained, what is computed, what a file of it says."""

import numpy as np
import pytest
import torch
from torch import nn

from maxvit import MaxViTError, Predictor, accelerate, create_model, storage
from maxvit.config import Preprocessing
from maxvit.export.export import export_model
from maxvit.export.options import ExportOptions
from maxvit.tasks import find_task, list_tasks, load, make_task, task_of
from maxvit.tasks.network import TaskNetwork
from maxvit.tasks.task import TaskSettings

AESTHETICS = {"name": "aesthetics"}
SCORES = [str(score) for score in range(1, 11)]


class Sum(nn.Module):
    """A head on some strides."""

    def __init__(self, strides):
        super().__init__()
        self.strides, self.scale = strides, nn.Parameter(torch.ones(1, 1))

    def forward(self, maps, size, targets=None):
        return self.scale * sum(m.mean() for m in maps)


def backbone():
    return create_model("maxvit_micro", image_size=64)


def aesthetics():
    return make_task(AESTHETICS).make_network(backbone(), SCORES)


@pytest.mark.parametrize("strides", [(4,), (8, 16), (4, 32)])
def test_stages_above_the_head_are_neither_trained_nor_computed(strides):
    network = TaskNetwork(backbone(), Sum(strides), ["a"], TaskSettings(name="sum"))
    computed = []
    for i, stage in enumerate(network.backbone.stages):
        for block in stage.children():
            block.register_forward_hook(lambda *_, i=i: computed.append(i))
    network(torch.randn(2, 3, 65, 97)).backward()
    used = {4: 1, 8: 2, 16: 3, 32: 4}[max(strides)]
    assert set(computed) == set(range(used))
    for i, stage in enumerate(network.backbone.stages):
        assert all(p.requires_grad == (i < used) for p in stage.parameters())
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


def test_the_backbone_s_own_head_is_gone_and_another_backbone_shares_the_head():
    network = aesthetics().eval()
    fast = network.with_backbone(accelerate(network.backbone))
    assert fast.head is network.head
    assert fast.backbone is not network.backbone
    assert {id(p) for p in fast.parameters()} == {id(p) for p in network.parameters()}
    images = torch.randn(2, 3, 65, 97)
    torch.testing.assert_close(fast(images), network(images))
    assert not any(name.startswith("backbone.head") for name, _ in network.named_parameters())


def test_norms_and_biases_of_the_head_are_not_decayed():
    network = aesthetics()
    spared = network.no_weight_decay()
    for name, parameter in network.named_parameters():
        assert (name in spared) == (parameter.ndim < 2 or name.endswith("bias.table"))


def test_a_file_brings_everything_back(tmp_path):
    network = aesthetics().eval()
    network.provenance = {"epoch": 3}
    path = tmp_path / "a.safetensors"
    network.save(path)
    again = load(path)
    assert task_of(path) == "aesthetics"
    assert (again.class_names, again.provenance, again.settings) == (SCORES, {"epoch": 3}, network.settings)
    assert again.preprocessing == network.preprocessing
    images = torch.randn(2, 3, 65, 97)
    assert torch.equal(again(images), network(images))
    assert load(path, {"dropout": 0.5}).settings.dropout == 0.5


def test_a_file_that_does_not_hold_its_network_is_refused(tmp_path):
    network, path = aesthetics(), tmp_path / "a.safetensors"
    network.class_names = SCORES[:9]
    storage.save(path, network.state_dict(), network.metadata())
    with pytest.raises(MaxViTError, match="does not hold the network that it describes"):
        load(path)


def test_a_file_cannot_have_a_module_imported(tmp_path):
    network, path = aesthetics(), tmp_path / "a.safetensors"
    network.settings = TaskSettings(name="antigravity")
    storage.save(path, network.state_dict(), network.metadata())
    with pytest.raises(MaxViTError, match="module that was not imported: name it with --task antigravity"):
        load(path)
    with pytest.raises(MaxViTError, match="module that was not imported"):
        network.save(path)


@pytest.mark.parametrize("task", ["segmentation", "detection"])
@pytest.mark.parametrize("size", [(74, 86), (427, 640), (97, 31)])
def test_answers_with_a_place_are_of_the_whole_image(task, size):
    pytest.importorskip("segmentation_models_pytorch")
    pixels = np.zeros((*size, 3), np.uint8)
    edge = max(2, max(size) // 40)  # a frame that any crop would cut
    for side in (pixels[:edge], pixels[-edge:], pixels[:, :edge], pixels[:, -edge:]):
        side[:] = 255
    task = make_task({"name": task})
    spec = Preprocessing(image_size=(64, 64), fit="aspect", crop_pct=1.0, mean=(0,) * 3, std=(1,) * 3)
    prepared = task.prepare(spec, pixels)
    assert prepared.shape[1:] == task.prepared_size(spec, size)
    for side in (prepared[:, 0], prepared[:, -1], prepared[:, :, 0], prepared[:, :, -1]):
        assert side.min() > 0.5


def test_a_predictor_and_an_export_leave_the_network_as_it_is(tmp_path):
    network = aesthetics().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    (found,) = Predictor(network)(np.zeros((70, 90, 3), np.uint8))
    assert found.value.sum() == pytest.approx(1)
    export_model(network, tmp_path / "a.pt2", "torch", ExportOptions(image_size=(64, 64), batch=1))
    assert all(part.training for part in network.modules())
    assert all(p.requires_grad for p in network.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_predictor_takes_one_image_several_or_a_generator():
    predictor, image = Predictor(aesthetics()), np.zeros((70, 90, 3), np.uint8)
    assert [len(predictor(images)) for images in (image, [image, image], (image for _ in range(3)))] == [1, 2, 3]


def test_tasks_are_found_by_name_and_misspelt_ones_are_told():
    assert set(list_tasks()) >= {"aesthetics", "classification", "detection", "segmentation"}
    assert find_task("aesthetics").name == "aesthetics"
    with pytest.raises(MaxViTError, match="unknown task 'aesthetic'"):
        find_task("aesthetic")
    with pytest.raises(TypeError, match="aesthetics takes AestheticsSettings"):
        find_task("aesthetics")(TaskSettings(name="aesthetics"))


@pytest.mark.parametrize(("given", "found"), [({}, torch.float32), ({"dtype": torch.float16}, torch.float16)])
def test_a_file_of_16_bits_is_a_network_of_float32_unless_another_type_is_asked_for(tmp_path, given, found):
    aesthetics().bfloat16().save(tmp_path / "a.safetensors")
    network = load(tmp_path / "a.safetensors", **given)
    assert {p.dtype for p in network.parameters()} == {found}
