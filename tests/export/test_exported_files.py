"""export_model: what is put in place answers as the network; what does not is never put there."""

import copy
import dataclasses
import logging
import sys

import numpy as np
import pytest
import torch
from torch import nn

import maxvit
from maxvit import ExportOptions, MaxViT, MaxViTConfig, MaxViTError, Preprocessing, export_model
from maxvit.data.transforms import denormalise, normalise, preprocess
from maxvit.export import export as files
from maxvit.export import onnx as onnx_files
from maxvit.export import quantize, torch_export
from maxvit.export.quantize import quantized
from maxvit.export.runtimes import in_onnxruntime, in_openvino
from maxvit.inference.engines import open_engine
from maxvit.tasks import make_task

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

NAMES = ["ant", 'a "bee" <&>', "猫"]
ENDINGS = {"onnx": ".onnx", "torch": ".pt2", "openvino": ".xml"}
PREPROCESSING = Preprocessing(image_size=(64, 96), mean=(0.1, 0.2, 0.3), crop_pct=0.9)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = MaxViTConfig(
        stem_channels=16, channels=(16, 16, 16, 16), depths=(1, 1, 1, 1), head_dim=8, window_size=(2, 3),
        grid_size=(3, 2), num_classes=3, image_size=(64, 96),
    )  # fmt: skip
    model = MaxViT(config, PREPROCESSING, NAMES).eval()
    for parameter in model.parameters():  # answers that differ from image to image
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.3)
    model.provenance = {"data": "photos"}
    return model


@pytest.fixture(scope="module")
def arrays():
    random = np.random.default_rng(0)
    return [random.integers(0, 20 + 5 * i, (70, 101, 3), dtype=np.uint8) for i in range(40)]


FORMS = [
    ("onnx", ExportOptions()),
    ("onnx", ExportOptions(image_size=(33, 71), batch=3, from_pixels=True, opset=17)),
    ("onnx", ExportOptions(precision="fp16")),
    ("onnx", ExportOptions(precision="bf16")),
    ("onnx", ExportOptions(precision="int8", from_pixels=True, batch=2)),
    ("onnx", ExportOptions(precision="int8", opset=21)),
    ("openvino", ExportOptions(batch=3, from_pixels=True)),
    ("openvino", ExportOptions(precision="fp16", image_size=(32, 32))),
    ("openvino", ExportOptions(precision="int8")),
    pytest.param("torch", ExportOptions(image_size=(45, 71), from_pixels=True), marks=pytest.mark.full),
    pytest.param("torch", ExportOptions(precision="bf16", batch=3), marks=pytest.mark.full),
]


@pytest.mark.parametrize(("to", "options"), FORMS)
@pytest.mark.filterwarnings("ignore:::torch.export", "ignore:::copyreg")
def test_every_form_is_compared_brings_its_metadata_and_is_run_by_its_engine(model, arrays, tmp_path, to, options):
    path = tmp_path / f"model{ENDINGS[to]}"
    done = export_model(model, path, to, options, arrays)
    found, beside = done.verification, [path.with_suffix(".bin")] if to == "openvino" else []
    assert sorted(tmp_path.iterdir()) == sorted([path, *beside])
    assert (found.random, found.real, done.path, done.weights) == (2, 4, path, beside[0] if beside else None)
    assert found.relative <= (found.allowed or 0.5)
    assert found.allowed == {"fp32": 1e-4, "int8": None}.get(options.precision, found.allowed)
    engine = open_engine(path)
    spec = dataclasses.replace(PREPROCESSING, image_size=options.image_size or (64, 96))
    assert (engine.class_names, engine.preprocessing, engine.config) == (NAMES, spec, model.config)
    assert engine.name.endswith(found.engine if options.precision == "fp32" else f"{found.engine}, {options.precision}")
    images = torch.stack([preprocess(spec, array) for array in arrays[5:40:7]])
    with torch.inference_mode():
        expected = model(images).softmax(-1)
    tolerance = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 0.1, "int8": 0.3}[options.precision]
    assert (engine(images).softmax(-1) - expected).abs().max() < tolerance


def test_a_file_that_answers_otherwise_is_not_put_in_place(model, tmp_path, monkeypatch):
    path, write = tmp_path / "model.onnx", onnx_files.write_onnx

    def wrong(network, temporary, options):
        other = maxvit.MaxViT(network.config, network.preprocessing, network.class_names).eval()
        write(other, temporary, options)

    path.write_text("the old one")
    monkeypatch.setattr(onnx_files, "write_onnx", wrong)
    with pytest.raises(MaxViTError, match="gives other numbers than the network: the relative difference is"):
        export_model(model, path)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("model.onnx", "the old one")]


def test_the_network_is_left_as_it_is(model, tmp_path):
    other = MaxViT(model.config, PREPROCESSING, NAMES).bfloat16().train()
    before = {name: t.clone() for name, t in other.state_dict().items()}
    for options in (ExportOptions(from_pixels=True), ExportOptions(precision="bf16")):
        export_model(other, tmp_path / "model.onnx", options=options)
    assert other.training
    assert all(p.requires_grad for p in other.parameters())
    assert all(t.equal(before[name]) for name, t in other.state_dict().items())


def test_int8_of_a_set_is_the_same_in_openvino_as_in_onnx_runtime_for_any_number_of_images(model, arrays):
    made, _ = quantized(model, ExportOptions(precision="int8", opset=23), arrays, agreement=0)
    images = torch.stack([preprocess(PREPROCESSING, array) for array in arrays[:7]])
    ours, theirs = (opened(made.SerializeToString())(images) for opened in (in_openvino, in_onnxruntime))
    assert (ours - theirs).norm() < 0.01 * theirs.norm()


def test_agreement_of_int8_is_that_of_the_runtime_that_the_file_is_for(model, arrays, tmp_path, monkeypatch):
    asked = []
    for name in ("in_openvino", "in_onnxruntime"):
        run = getattr(files, name)
        monkeypatch.setattr(files, name, lambda file, name=name, run=run: asked.append(name) or run(file))
    for to, ending in (("openvino", "xml"), ("onnx", "onnx")):
        export_model(model, tmp_path / f"model.{ending}", to, ExportOptions(precision="int8"), arrays, agreement=0)
    assert asked == ["in_openvino"] * 2 + ["in_onnxruntime"] * 2  # in fp32, then in int8


@pytest.mark.parametrize(
    ("to", "name", "options", "sentence"),
    [
        ("onnx", "model.pt2", ExportOptions(), r"unknown ending '\.pt2': known are \.onnx"),
        ("tflite", "model.tflite", ExportOptions(), "unknown format 'tflite'"),
        (
            "torch",
            "model.pt2",
            ExportOptions(precision="int8"),
            "slower than fp32: export it for ONNX Runtime or OpenVINO",
        ),
        ("torch", "model.pt2", ExportOptions(opset=20), "opset is of ONNX"),
        ("openvino", "model.xml", ExportOptions(opset=20), "opset is of ONNX"),
        ("openvino", "model.xml", ExportOptions(precision="bf16"), "OpenVINO chooses bf16 when it runs"),
        (
            "onnx",
            "model.onnx",
            ExportOptions(any_size=True, precision="bf16"),
            "no ONNX for any size in bf16: choose fp16",
        ),
        ("onnx", "model.onnx", ExportOptions(precision="int8"), "0 images were given to calibrate on"),
    ],
)
def test_what_a_format_cannot_do_is_refused_before_any_work(model, tmp_path, to, name, options, sentence):
    with pytest.raises(MaxViTError, match=sentence):
        export_model(model, tmp_path / name, to, options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"batch": 0}, "batch is 0; it takes a whole number from 1 up"),
        ({"opset": 16}, "opset is 16; it takes 17 to 23"),
        ({"precision": "bf16", "opset": 21}, "convolutions in bf16 are part of opset 22, and 21 was asked for"),
        ({"any_size": True, "image_size": (64, 64)}, "has no size of its own"),
        ({"any_size": True, "precision": "int8"}, "int8 is for images of one size"),
        ({"any_size": True, "opset": 20}, "has an opset of its own"),
    ],
)
def test_a_form_that_cannot_be_is_refused(values, sentence):
    with pytest.raises(MaxViTError, match=sentence):
        ExportOptions(**values)


def test_networks_that_do_not_fit_a_form_are_refused(model, tmp_path):
    with pytest.raises(MaxViTError, match="the network is optimised already: export the original"):
        export_model(maxvit.optimize(model), tmp_path / "model.pt2", "torch")
    headless = MaxViT(dataclasses.replace(model.config, num_classes=0))
    with pytest.raises(MaxViTError, match="the network has no classifier, and pixels"):
        export_model(headless, tmp_path / "model.onnx", options=ExportOptions(from_pixels=True))
    five = MaxViT(dataclasses.replace(model.config, in_channels=5))
    with pytest.raises(MaxViTError, match="the network has 5 channels, and pixels"):
        export_model(five, tmp_path / "model.onnx", options=ExportOptions(from_pixels=True))
    aspect = MaxViT(model.config, Preprocessing(image_size=(64, 96), fit="aspect"))
    with pytest.raises(
        MaxViTError, match="keep their shapes, and a file for one size takes one: export it for any size"
    ):
        export_model(aspect, tmp_path / "model.onnx")


@pytest.mark.parametrize(("package", "extra"), [("onnx", "export"), ("openvino", "openvino")])
def test_a_package_that_is_missing_is_named(model, tmp_path, monkeypatch, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MaxViTError, match=rf"needs {package}, which is not installed: pip install 'maxvit\[{extra}\]'"):
        export_model(model, tmp_path / f"model{ENDINGS[package]}", package)


@pytest.mark.parametrize("ending", [".xml", ".pt2"])
def test_a_damaged_file_is_refused(tmp_path, ending):
    (tmp_path / f"model{ending}").write_bytes(b"\1\2damaged" * 100)
    with pytest.raises(MaxViTError, match=rf"model\{ending}.* (it may be|is) damaged"):
        open_engine(tmp_path / f"model{ending}")


def test_a_program_whose_copy_broke_off_ends_in_one_sentence(tmp_path, caplog):
    write_sum_for_torch(path := tmp_path / "model.pt2", 1)
    path.write_bytes(path.read_bytes()[:2000])
    caplog.clear()
    with pytest.raises(MaxViTError, match=r"model\.pt2 is a part of a zip archive, .*: copy it again"):
        open_engine(path)
    assert [record.name for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    ("ending", "wanted"),
    [(".onnx", "an ONNX file"), (".xml", "a network of OpenVINO"), (".pt2", "a program of torch.export")],
)
def test_a_file_of_another_kind_is_called_what_it_is(tmp_path, ending, wanted):
    path = tmp_path / f"model{ending}"
    path.write_bytes(b"<!DOCTYPE html><html></html>")
    with pytest.raises(MaxViTError) as raised:
        open_engine(path)
    assert str(raised.value).startswith(
        f"{path} is a web page (HTML), perhaps one that asks to log in, and not {wanted}:"
    )


def sum_of(number, said):
    """An ONNX file that adds its inputs up, and says something of itself."""
    values = [onnx.helper.make_tensor_value_info(f"x{i}", onnx.TensorProto.FLOAT, [1, 3]) for i in range(number + 1)]
    inputs, output = values[:-1], values[-1]
    node = onnx.helper.make_node("Sum", [value.name for value in inputs], [output.name])
    graph = onnx.helper.make_graph([node], "sum", inputs, [output])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.helper.set_model_props(made, said)
    return made


def write_sum_for_openvino(path, number):
    import openvino

    onnx.save(sum_of(number, {}), path.with_suffix(".onnx"))
    openvino.save_model(openvino.convert_model(path.with_suffix(".onnx")), path)


class Sum(nn.Module):
    def forward(self, *values):
        return sum(values)


def write_sum_for_torch(path, number):
    torch.export.save(torch.export.export(Sum(), (torch.zeros(1, 3),) * number), path)


WRITE = {
    ".onnx": lambda path, number: onnx.save(sum_of(number, {}), path),
    ".xml": write_sum_for_openvino,
    ".pt2": write_sum_for_torch,
}


@pytest.mark.filterwarnings("ignore:::torch.export", "ignore:::copyreg")
@pytest.mark.parametrize("ending", WRITE)
@pytest.mark.parametrize("number", [1, 2])
def test_a_file_of_another_program_is_refused_however_many_inputs_it_has(tmp_path, ending, number):
    path = tmp_path / f"theirs{ending}"
    WRITE[ending](path, number)
    with pytest.raises(
        MaxViTError, match=r"was not written by maxvit, and does not say its classes: use maxvit export$"
    ):
        open_engine(path)


def test_a_file_of_ours_that_was_given_another_input_is_refused(tmp_path):
    onnx.save(sum_of(2, {"format": '"maxvit"'}), tmp_path / "ours.onnx")
    with pytest.raises(MaxViTError, match=r"ours\.onnx takes 2 inputs, and maxvit writes files that take one: export"):
        open_engine(tmp_path / "ours.onnx")


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:::onnxscript", "ignore:::copyreg", "ignore:::torch.export")
@pytest.mark.parametrize("to", list(ENDINGS))
def test_files_for_any_size_answer_at_several(model, arrays, tmp_path, to):
    path = tmp_path / f"model{ENDINGS[to]}"
    done = export_model(model, path, to, ExportOptions(any_size=True, from_pixels=True), arrays)
    assert done.verification.random == 4
    engine = open_engine(path)
    for size in ((33, 40), (101, 77)):
        pixels = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
        images = torch.stack([normalise(PREPROCESSING, p) for p in pixels])
        with torch.inference_mode():
            torch.testing.assert_close(engine(images).softmax(-1), model(images).softmax(-1), atol=1e-4, rtol=1e-3)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:::torch.export", "ignore:::copyreg")
@pytest.mark.parametrize("to", list(ENDINGS))
@pytest.mark.parametrize("name", ["micro", "tiny", "small", "base", "large", "xlarge"])
def test_every_variant_is_exported_and_answers_as_in_pytorch(name, to, tmp_path):
    network = maxvit.create_model(f"maxvit_{name}").eval()
    assert export_model(network, tmp_path / f"model{ENDINGS[to]}", to).verification.relative < 1e-4


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:::torch.export", "ignore:::copyreg")
@pytest.mark.parametrize("to", list(ENDINGS))
@pytest.mark.parametrize("size", [32, 384, 512])
def test_published_sizes_are_exported_with_their_windows(size, to, tmp_path):
    network = maxvit.create_model("maxvit_tiny", image_size=size).eval()
    assert export_model(network, tmp_path / f"model{ENDINGS[to]}", to).verification.relative < 1e-4


def several(model, **changes):
    twin = copy.deepcopy(model)
    twin.config = dataclasses.replace(model.config, multi_label=True, threshold=0.3, **changes)
    return twin


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_pixels_of_a_multi_label_network_become_sigmoids_and_its_file_says_so(model, arrays, tmp_path, to):
    path = tmp_path / f"model{ENDINGS[to]}"
    export_model(several(model), path, to, ExportOptions(from_pixels=True), arrays[5:7])
    engine = open_engine(path)
    assert (engine.config.multi_label, engine.config.threshold) == (True, 0.3)
    images = torch.stack([preprocess(PREPROCESSING, array) for array in arrays[5:40:7]])
    with torch.inference_mode():
        expected = 1 / (1 + (-model(images)).exp())
    pixels = denormalise(PREPROCESSING, images)
    torch.testing.assert_close(engine.file(pixels)[0], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(engine(images).sigmoid(), expected, atol=1e-4, rtol=0)


def test_a_program_of_a_multi_label_network_gives_sigmoids(model, arrays):
    images = torch.stack([preprocess(PREPROCESSING, array) for array in arrays[5:7]])
    with torch.inference_mode():
        module = torch_export.graph_of(several(model), ExportOptions(from_pixels=True)).module
        found = torch_export._FromPixels(module, PREPROCESSING)(denormalise(PREPROCESSING, images))
        torch.testing.assert_close(found, 1 / (1 + (-model(images)).exp()), atol=1e-4, rtol=0)


def test_probabilities_that_are_0_or_1_still_have_logits():
    task = make_task({"name": "classification", "loss": "sigmoid"})
    given = torch.tensor([[0.0, 1.0, 0.25]])
    logits = task.from_export([given], from_pixels=True)
    assert logits.isfinite().all()
    torch.testing.assert_close(task.probabilities(logits), given)


def test_int8_of_a_multi_label_network_is_judged_by_all_that_is_answered():
    given = torch.tensor([[0.9, 0.2, 0.4], [0.2, 0.1, 0.0]])
    config = MaxViTConfig(multi_label=True, threshold=0.3)
    wanted = [[True, False, True], [False, False, False]]
    assert quantize._predicted(given, config, are_probabilities=True).tolist() == wanted
    assert quantize._predicted(given.logit(), config).tolist() == wanted
    assert quantize._predicted(given, MaxViTConfig()).tolist() == [[0], [0]]
    assert quantize._agreement(torch.tensor(wanted), torch.tensor([[True, False, True], [False, True, False]])) == 0.5


@pytest.mark.parametrize("to", ["onnx", pytest.param("torch", marks=pytest.mark.full)])
@pytest.mark.filterwarnings("ignore:::torch.export", "ignore:::copyreg")
def test_probabilities_of_a_file_are_those_at_the_temperature_of_the_network(model, arrays, tmp_path, to):
    network = copy.deepcopy(model)
    network.config = dataclasses.replace(network.config, temperature=0.5)
    path = tmp_path / f"model{ENDINGS[to]}"
    export_model(network, path, to, ExportOptions(from_pixels=True), arrays[5:7])
    engine = open_engine(path)
    images = torch.stack([preprocess(engine.preprocessing, array) for array in arrays[5:7]])
    with torch.inference_mode():
        expected = (model(images) / 0.5).softmax(-1)
    sizes = [tuple(images.shape[2:])] * 2
    torch.testing.assert_close(torch.stack(engine.task.predict(engine, images, sizes)), expected, atol=1e-4, rtol=0)
