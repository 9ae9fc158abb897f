"""ONNX by sets of operators: the same answers with old ones, valid, and within what TensorRT documents."""

import dataclasses

import pytest
import torch
from torch import nn

from combinations import pairwise
from maxvit import ExportOptions, MaxViT, MaxViTConfig
from maxvit.config import DIALECTS, TORCHVISION, Preprocessing
from maxvit.data.transforms import normalise
from maxvit.export.onnx import check_onnx, write_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

CONFIG = MaxViTConfig(
    stem_channels=4, channels=(8, 8, 16, 8), depths=(1, 1, 2, 1), head_dim=4, window_size=(3, 2), grid_size=(2, 3),
    num_classes=5, image_size=(64, 96),
)  # fmt: skip

# of what the graphs hold, docs/operators.md of onnx-tensorrt 10.15 lists these as supported
TENSORRT = {
    "Add", "Attention", "AveragePool", "Cast", "Concat", "Conv", "DequantizeLinear", "Erf", "Gather", "Gelu", "Gemm",
    "GlobalAveragePool", "GlobalMaxPool", "Identity", "LayerNormalization", "MatMul", "Mul", "QuantizeLinear",
    "Reshape", "Shape", "Sigmoid", "Softmax", "Tanh", "Tile", "Transpose",
}  # fmt: skip


def trained(**changes):
    """A network where every weight and statistic counts."""
    model = MaxViT(dataclasses.replace(CONFIG, **changes)).eval()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5) if name.endswith("running_var") else nn.init.normal_(tensor, std=0.2)
    return model


def answers(path, values):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: values.numpy()})[0])


@pytest.mark.parametrize(
    ("opset", "changes", "size"),
    pairwise(
        [None, 17, 19, 20, 22, 23],
        [{}, {"dialect": TORCHVISION, "pool": "max"}, {"dialect": DIALECTS["timm_rmlp"]}],
        [(64, 96), (33, 211), (32, 32)],
    ),
)
def test_every_set_gives_the_network_s_answers_with_operators_that_tensorrt_lists(tmp_path, opset, changes, size):
    model, path = trained(**changes), tmp_path / "model.onnx"
    write_onnx(model, path, ExportOptions(image_size=size, opset=opset))
    check_onnx(path)
    made = onnx.load(path)
    assert {node.op_type for node in made.graph.node} <= TENSORRT
    assert [(o.domain, o.version) for o in made.opset_import] == [("", opset or 23)]
    images = torch.randn(3, 3, *size)
    with torch.inference_mode():
        expected = model(images)
    assert (answers(path, images) - expected).abs().max() < 1e-5 * expected.std()


@pytest.mark.parametrize("opset", [None, 17])
def test_the_output_for_novelty_has_operators_that_tensorrt_lists(tmp_path, opset):
    model, path = trained(novelty_centres=7), tmp_path / "model.onnx"
    write_onnx(model, path, ExportOptions(opset=opset))
    check_onnx(path)
    made = onnx.load(path)
    assert {node.op_type for node in made.graph.node} <= TENSORRT | {"ArgMin", "ReduceSum", "Sqrt", "Sub"}
    images = torch.randn(3, 3, 64, 96)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    _, novelty = session.run(["logits", "novelty"], {"images": images.numpy()})
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(novelty), model.forward_novelty(images)[1])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("opset", [None, 17])
def test_pixels_become_the_probabilities_of_the_images_that_they_are(tmp_path, channels, opset):
    model, path = trained(in_channels=channels), tmp_path / "model.onnx"
    mean, std = ((0.1, 0.2, 0.3), (0.3, 0.5, 0.7)) if channels == 3 else ((0.2,), (0.4,))
    model.preprocessing = Preprocessing(image_size=(64, 96), mean=mean, std=std)
    write_onnx(model, path, ExportOptions(from_pixels=True, opset=opset))
    check_onnx(path)
    assert {node.op_type for node in onnx.load(path).graph.node} <= TENSORRT
    pixels = torch.randint(0, 256, (3, 64, 96, 3), dtype=torch.uint8)
    images = torch.stack([normalise(model.preprocessing, p.numpy()) for p in pixels])
    with torch.inference_mode():
        torch.testing.assert_close(answers(path, pixels), model(images).softmax(-1))


def test_attention_is_on_four_axes_where_a_set_is_asked_for_and_by_products_where_it_is_old(tmp_path):
    model, path = trained(), tmp_path / "model.onnx"

    def attention():
        made = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True, data_prop=True).graph
        ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in made.value_info}
        return [[ranks[name] for name in node.input[:3]] for node in made.node if node.op_type == "Attention"]

    for opset, ranks in ((None, [3, 3, 3]), (23, [4, 4, 4])):
        write_onnx(model, path, ExportOptions(opset=opset))
        assert attention() == [ranks] * 10
    write_onnx(model, path, ExportOptions(opset=22))
    assert attention() == []


@pytest.mark.parametrize("number", [1, 4])
def test_a_fixed_batch_is_in_the_file(tmp_path, number):
    write_onnx(trained(), tmp_path / "model.onnx", ExportOptions(batch=number, from_pixels=True))
    (pixels,), (probabilities,) = (
        [[d.dim_value for d in value.type.tensor_type.shape.dim] for value in values]
        for values in (lambda g: (g.input, g.output))(onnx.load(tmp_path / "model.onnx").graph)
    )
    assert (pixels, probabilities) == ([number, 64, 96, 3], [number, 5])


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_weights_of_half_precision_take_half_the_space_and_ends_stay_float32(tmp_path, precision):
    model, path = trained(), tmp_path / "model.onnx"
    write_onnx(model, path, ExportOptions(precision=precision))
    check_onnx(path)
    graph = onnx.load(path).graph
    kind = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}[precision]
    assert {t.data_type for t in graph.initializer} == {kind, onnx.TensorProto.INT64}
    ends = {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    assert ends == {onnx.TensorProto.FLOAT}


def test_weights_too_large_for_one_file_lie_beside_it_and_are_the_same(tmp_path, monkeypatch):
    model, images = trained(), torch.randn(2, 3, 64, 96)
    write_onnx(model, tmp_path / "whole.onnx", ExportOptions())
    monkeypatch.setattr("maxvit.export.onnx.LARGEST", 1000)
    write_onnx(model, tmp_path / "model.onnx", ExportOptions())
    check_onnx(tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx.data").stat().st_size > (tmp_path / "model.onnx").stat().st_size / 2
    assert torch.equal(answers(tmp_path / "model.onnx", images), answers(tmp_path / "whole.onnx", images))
    proto = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    assert all(len(t.raw_data) <= 1024 or t.data_type == onnx.TensorProto.INT64 for t in proto.graph.initializer)
