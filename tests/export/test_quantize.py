"""int8: the levels by hand, the file against what it should compute, and products kept in fp32 until answers agree."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from maxvit import MaxViT, MaxViTConfig, MaxViTError, Preprocessing
from maxvit.export.int8 import Range, find_range, quantize_weight, rounded

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from maxvit.export import quantize  # noqa: E402
from maxvit.export.options import ExportOptions  # noqa: E402
from maxvit.export.quantize import quantized  # noqa: E402
from maxvit.inference.engines import FileEngine  # noqa: E402

PRODUCTS = 4 * (1 + 2 * 4)  # MBConv's project; qkv, proj and two of the feed-forward network, twice


INT8 = ExportOptions(precision="int8")


def write(path, *arguments):
    """Write what is quantised, and say what that did."""
    made, done = quantized(*arguments)
    path.write_bytes(made.SerializeToString())
    return done


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = MaxViTConfig(
        stem_channels=8, channels=(8, 16, 16, 24), depths=(1, 1, 1, 1), head_dim=8, window_size=(2, 2),
        grid_size=(2, 2), num_classes=3, image_size=(64, 64),
    )  # fmt: skip
    model = MaxViT(config, Preprocessing(image_size=(64, 64)), ["ant", "bee", "cat"]).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(0)
    return [random.integers(0, 20 + 5 * i, (64, 64, 3), dtype=np.uint8) for i in range(40)]


def test_levels_are_those_by_hand():
    inputs = find_range(torch.tensor([0.1, -1.0, 1.55]))
    assert (inputs.step, inputs.zero) == (pytest.approx(0.01), 100)
    assert find_range(torch.tensor([0.5, 2.55])) == Range(0.0, pytest.approx(2.55))  # 0 is always a level
    given = torch.tensor([0.0, 0.014, 0.016, -1.2, 9.0])
    assert torch.allclose(rounded(given, inputs), torch.tensor([0.0, 0.01, 0.02, -1.0, 1.55]))
    levels, steps = quantize_weight(torch.tensor([[0.63, -0.316, 0.1], [0.0, 0.0, 0.0]]))
    assert levels.tolist() == [[63, -32, 10], [0, 0, 0]]
    assert steps[0] == pytest.approx(0.01)


def test_two_products_of_bytes_never_saturate_16_bits():
    levels, _ = quantize_weight(torch.randn(7, 11))
    assert levels.abs().max() == 63
    assert 2 * 255 * 63 <= 2**15 - 1


def test_the_file_answers_nearly_as_the_network_and_says_how_nearly(model, images, tmp_path):
    done = write(tmp_path / "model.onnx", model, INT8, images, 0.99)
    assert (done.compared_on, done.calibrated_on, len(done.damage)) == (20, 20, PRODUCTS)
    assert done.agreement >= 0.99
    onnx.checker.check_model(tmp_path / "model.onnx", full_check=True)
    written = {p.key: p.value for p in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert json.loads(written["quantization"]) == dataclasses.asdict(done)
    engine = FileEngine(tmp_path / "model.onnx")
    assert (engine.name, engine.class_names) == ("ONNX Runtime, int8", ["ant", "bee", "cat"])
    batch = torch.cat(quantize._batches(model.preprocessing, images[1::2]))
    with torch.inference_mode():
        expected = model(batch)
    error = (engine(batch) - expected).norm() / expected.norm()
    assert 1e-4 < error < 0.05  # 8 bits, and not fp32


def test_all_products_but_those_kept_are_in_8_bits(model, images, tmp_path):
    done = write(tmp_path / "model.onnx", model, INT8, images, 0.99)
    ops = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    q_k_and_v = 2 * sum(name.endswith("qkv") for name in done.damage if name not in done.kept)
    assert ops.count("MatMulIntegerToFloat") == PRODUCTS - len(done.kept) + q_k_and_v


def test_the_damage_of_a_product_is_that_of_its_output_alone(model, images):
    network = quantize.fold_for_inference(model)
    batches = quantize._batches(model.preprocessing, images[:3])
    ranges = quantize._ranges(network, batches)
    damage = quantize._damage(network, batches, ranges)
    assert all(0 < d < 0.1 for d in damage.values())
    name = "stages.1.0.grid_attention.ffn.expand"
    seen = []
    layer = network.get_submodule(name)
    handle = layer.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    network(batches[0])
    handle.remove()
    (x, y), step = seen[0], ranges[name].step
    assert (ranges[name].low, ranges[name].high) == (pytest.approx(float(x.min())), pytest.approx(float(x.max())))
    levels, steps = quantize_weight(layer.weight)
    again = ((x / step).round() * step) @ (levels * steps[:, None]).T + layer.bias
    assert damage[name] == pytest.approx(float((again - y).norm() / y.norm()), rel=1e-2)


def test_the_most_damaged_go_back_to_fp32_until_enough_answers_agree(model, images, tmp_path, monkeypatch):
    shares = iter([0.5, 0.9, 0.97])
    monkeypatch.setattr(quantize, "_agreement", lambda *_: next(shares))
    done = write(tmp_path / "model.onnx", model, INT8, images, 0.95)
    assert (done.agreement, len(done.kept)) == (0.97, 2 * (PRODUCTS // 16))
    least_kept = min(done.damage[name] for name in done.kept)
    assert all(done.damage[name] <= least_kept for name in done.damage if name not in done.kept)


def test_where_nothing_agrees_everything_stays_in_fp32(model, images, tmp_path, monkeypatch):
    monkeypatch.setattr(quantize, "_agreement", lambda *_: 0.5)
    done = write(tmp_path / "model.onnx", model, INT8, images, 0.99)
    assert len(done.kept) == PRODUCTS
    assert {n.domain for n in onnx.load(tmp_path / "model.onnx").graph.node} == {""}


@pytest.mark.parametrize(
    ("number", "agreement", "sentence"),
    [(40, 1.5, "agreement is 1.5; it takes a share"), (19, 0.99, "19 images were given to calibrate on")],
)
def test_what_cannot_be_done_is_refused(model, images, tmp_path, number, agreement, sentence):
    with pytest.raises(MaxViTError, match=sentence):
        write(tmp_path / "model.onnx", model, INT8, images[:number], agreement)
    assert list(tmp_path.iterdir()) == []
