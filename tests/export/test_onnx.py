"""ONNX files: valid, answered by ONNX Runtime as by the network, and with all that the network knows beside weights."""

import dataclasses
import json

import pytest
import torch
from torch import nn

from maxvit import MaxViT, MaxViTConfig
from maxvit.config import DIALECTS, TORCHVISION
from maxvit.export.onnx import write_onnx
from maxvit.export.options import ExportOptions

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

CONFIG = MaxViTConfig(
    stem_channels=4, channels=(8, 8, 16, 8), depths=(1, 1, 2, 1), head_dim=4, window_size=(3, 2), grid_size=(2, 3),
    num_classes=5, image_size=(64, 96),
)  # fmt: skip


def trained(config):
    """A network where every weight and statistic counts."""
    model = MaxViT(config, class_names=[f"class {i}" for i in range(config.num_classes)]).eval()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5) if name.endswith("running_var") else nn.init.normal_(tensor, std=0.2)
    return model


def agree(path, model, *shape):
    images = torch.randn(*shape)
    with torch.inference_mode():
        expected = model(images)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    (logits,) = onnxruntime.InferenceSession(path, options).run(["logits"], {"images": images.numpy()})
    assert logits.shape == expected.shape
    assert (torch.from_numpy(logits) - expected).abs().max() < 1e-5 * expected.std()


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, (64, 96)),
        ({}, (33, 211)),  # no map divides: groups are padded, and sides are odd and even
        ({}, (32, 41)),  # the last map is smaller than a group
        ({"dialect": TORCHVISION}, (67, 64)),
        ({"dialect": DIALECTS["timm_rmlp_small"], "stem_hidden_channels": 6}, (67, 64)),
        ({"dialect": DIALECTS["timm_rw"], "pool": "max", "num_classes": 0}, (64, 96)),
        pytest.param({"dialect": DIALECTS["timm_pm"]}, (64, 96), marks=pytest.mark.full),  # traced
        ({"num_classes": 0, "pool": "max", "bias_table_size": (3, 5)}, (64, 96)),
    ],
)
def test_onnx_runtime_answers_as_the_network(tmp_path, changes, size):
    model, path = trained(dataclasses.replace(CONFIG, **changes)), tmp_path / "model.onnx"
    write_onnx(model, path, ExportOptions(image_size=size))
    onnx.checker.check_model(path, full_check=True)
    for number in (1, 3):
        agree(path, model, number, 3, *size)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:::onnxscript", "ignore:::copyreg")
def test_one_file_for_any_size_answers_as_the_network(tmp_path):
    model, path = trained(CONFIG), tmp_path / "model.onnx"
    write_onnx(model, path, ExportOptions(any_size=True))
    onnx.checker.check_model(path, full_check=True)
    for shape in [(2, 3, 64, 96), (1, 3, 33, 33), (3, 3, 37, 101), (1, 3, 211, 33)]:
        agree(path, model, *shape)
    assert {p.key for p in onnx.load(path).metadata_props} >= {"format", "config", "preprocessing", "class_names"}


def test_a_file_for_one_image_says_so(tmp_path):
    write_onnx(trained(CONFIG), tmp_path / "model.onnx", ExportOptions(batch=1))
    (images,) = onnx.load(tmp_path / "model.onnx").graph.input
    assert [d.dim_value for d in images.type.tensor_type.shape.dim] == [1, 3, 64, 96]


def test_the_runtime_is_left_no_batch_norm_no_split_and_two_transposes_a_block(tmp_path):
    write_onnx(trained(CONFIG), tmp_path / "model.onnx", ExportOptions())
    ops = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert not {"BatchNormalization", "Split", "Softmax"} & set(ops)
    blocks, same = 5, 1  # the last map is one grid: its tokens stand in order
    assert (ops.count("Transpose"), ops.count("Gather")) == (2 * blocks, 3 * blocks - same)


def test_metadata_are_those_of_a_checkpoint(tmp_path):
    model = trained(CONFIG)
    model.provenance = {"data": "photos"}
    write_onnx(model, tmp_path / "model.onnx", ExportOptions())
    written = {p.key: json.loads(p.value) for p in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert written == {**json.loads(json.dumps(model.metadata())), "precision": "fp32"}


def test_the_network_is_left_as_it_is(tmp_path):
    model = trained(CONFIG).bfloat16().train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    write_onnx(model, tmp_path / "model.onnx", ExportOptions())
    assert model.training
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
