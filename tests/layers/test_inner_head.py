"""Classes from inner maps: fields of any map, and a network that is read, optimised and exported with them."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

import maxvit
from every_task import backbone
from maxvit.checkpoints.timm import to_timm
from maxvit.errors import MaxViTError
from maxvit.export.options import ExportOptions
from maxvit.layers.inner_head import field_means
from maxvit.tasks.network import with_embeddings


@pytest.fixture(scope="module")
def network():
    made = backbone(names=["ant", "bee", "cat"], fit="squash").eval()
    made.reset_classifier(3, class_names=["ant", "bee", "cat"], inner_fields=2)
    torch.nn.init.normal_(made.inner_head.classifier.weight)
    made.inner_head.mean.normal_()
    return made


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 48)


@pytest.mark.parametrize("hw", [(1, 1), (2, 3), (4, 4), (7, 9), (13, 31)])
def test_fields_are_those_of_adaptive_pooling(hw):
    maps = [torch.randn(2, 3, *hw), torch.randn(2, 5, 6, 6)]
    wanted = torch.cat([F.adaptive_avg_pool2d(each, 4).flatten(1) for each in maps], 1)
    torch.testing.assert_close(field_means(maps, 4), wanted)


def test_scores_are_the_sum_of_both_heads(network, images):
    *inner, last = network.forward_pyramid(images, (8, 16, 32))
    torch.testing.assert_close(network(images), network.head(last) + network.inner_head(inner))
    assert not torch.equal(network(images), network.head(last))


def test_it_is_saved_and_read(network, images, tmp_path):
    network.save(tmp_path / "network.safetensors")
    read = maxvit.load_model(tmp_path / "network.safetensors")
    assert read.config.inner_fields == 2
    assert torch.equal(read(images), network(images))


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_an_optimised_network_has_it(network, images, backend):
    torch.testing.assert_close(maxvit.optimize(network, backend=backend)(images), network(images), atol=1e-4, rtol=1e-4)


def test_embeddings_hold_what_its_classifier_sees(network, images):
    scores, embeddings = with_embeddings(network, images)
    torch.testing.assert_close(scores, network(images))
    assert embeddings.shape == (2, network.config.channels[-1] + len(network.inner_head.mean))


def test_a_new_classifier_is_without_unless_it_is_asked_for(network):
    network = maxvit.create_model("maxvit_micro", num_classes=2)
    network.reset_classifier(3, inner_fields=4)
    network.reset_classifier(2)
    assert network.inner_head is None
    assert network.config.inner_fields == 0


def test_onnx_has_it(network, images, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    maxvit.export_model(network, tmp_path / "network.onnx", options=ExportOptions(image_size=(64, 48)))
    session = onnxruntime.InferenceSession(str(tmp_path / "network.onnx"))
    (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), network(images), atol=1e-4, rtol=1e-4)


def test_timm_has_no_place_for_it(network):
    square = dataclasses.replace(network.config, window_size=(2, 2), grid_size=(2, 2))
    with pytest.raises(MaxViTError, match="inner maps"):
        to_timm(network.state_dict(), square)


def test_what_is_no_number_of_fields_is_refused():
    with pytest.raises(MaxViTError, match="inner_fields is -1; it takes a whole number"):
        maxvit.create_model("maxvit_micro", num_classes=2).reset_classifier(2, inner_fields=-1)
