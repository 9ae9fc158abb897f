"""Exported files of every task: they give the network's predictions, in predict and in evaluate."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

import maxvit
from maxvit import ExportOptions, MaxViT, MaxViTConfig, MaxViTError, Preprocessing, export_model
from maxvit.data.dataset import LabelledImages
from maxvit.inference.cache import exported
from maxvit.inference.engines import open_engine
from maxvit.tasks import make_task

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

ENDINGS = {"onnx": ".onnx", "torch": ".pt2", "openvino": ".xml"}
CONFIG = MaxViTConfig(
    stem_channels=8, channels=(8, 16, 16, 16), depths=(1, 1, 1, 1), head_dim=8, window_size=(2, 3), grid_size=(2, 3),
    num_classes=3, image_size=(64, 96),
)  # fmt: skip
NAMES = ["ant", "bee", "cat"]
RETINANET = {"name": "detection", "detector": "retinanet", "strides": (8, 16), "detections": 20}
TASKS = {  # settings, class names, and what is looked at of a prediction
    "classification": ({"name": "classification"}, NAMES, lambda p: p),
    "whole": ({"name": "segmentation", "decoder_channels": 64}, NAMES, lambda p: p),
    "slide": ({"name": "segmentation", "decoder_channels": 64, "inference": "slide"}, NAMES, lambda p: p),
    "aesthetics": ({"name": "aesthetics"}, [str(i) for i in range(1, 11)], lambda p: p),
    "retinanet": ({**RETINANET, "score_threshold": 0.3}, NAMES, lambda p: p["boxes"]),
    "counting": ({"name": "counting_task"}, ["object"], lambda p: p),
}


def make(kind, fit="squash"):
    """A network whose predictions differ from image to image."""
    torch.manual_seed(0)
    values, names, _ = TASKS[kind]
    backbone = MaxViT(CONFIG, Preprocessing(image_size=(64, 96), fit="aspect" if kind == "slide" else fit))
    network = make_task(values).make_network(backbone, names, new_head=True).eval()
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.2)
    return network


@pytest.fixture(autouse=True)
def counting_is_found(monkeypatch, request):
    monkeypatch.syspath_prepend(request.config.rootpath / "examples")


@pytest.fixture(scope="module")
def arrays():
    random = np.random.default_rng(0)
    return [random.integers(0, 90 + 50 * i, (70 + 20 * i, 101, 3), dtype=np.uint8) for i in range(3)]


def same(found, expected, kind):
    """Whether predictions are equal, but for pixels whose classes are equally likely."""
    look = TASKS[kind][2]
    if kind == "retinanet":
        return len(look(found.value)) > 3 and torch.allclose(
            look(found.value), look(expected.value), atol=0.1
        )  # pixels
    if kind in ("whole", "slide"):
        return (found.value == expected.value).float().mean() > 0.99
    return torch.allclose(look(found.value), look(expected.value), rtol=1e-3, atol=1e-3)


full = pytest.mark.full
FILES = [
    pytest.param(kind, to, pixels, marks=() if (kind, to, pixels) == ("aesthetics", "torch", True) else full)
    for kind in TASKS
    for to in ENDINGS
    for pixels in (False, True)
]


@pytest.mark.parametrize(("kind", "to", "pixels"), FILES)
@pytest.mark.filterwarnings("ignore:::torch.export", "ignore:::copyreg", "ignore:::onnxscript")
def test_a_file_of_every_task_gives_the_predictions_of_the_network(kind, to, pixels, arrays, tmp_path):
    network, path = make(kind), tmp_path / f"model{ENDINGS[to]}"
    done = export_model(network, path, to, ExportOptions(from_pixels=pixels), arrays)
    assert done.verification.relative < 1e-4
    assert (done.verification.random, done.verification.real, done.squeezes) == (2, 3, False)
    wanted, predictor = maxvit.Predictor(network), maxvit.Predictor(path)
    assert predictor.task.settings == wanted.task.settings
    assert (predictor.class_names, predictor.preprocessing) == (wanted.class_names, wanted.preprocessing)
    for found, expected in zip(predictor(arrays), wanted(arrays), strict=True):
        assert found.size == expected.size
        assert same(found, expected, kind)


@pytest.mark.full
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("kind", ["whole", "aesthetics", "counting"])
@pytest.mark.filterwarnings("ignore:::torch.export", "ignore:::copyreg")
def test_half_precision_is_as_far_from_fp32_as_pytorch_is(kind, precision, arrays, tmp_path):
    done = export_model(make(kind), tmp_path / "a.pt2", "torch", ExportOptions(precision=precision), arrays)
    assert 1e-4 < done.verification.relative < done.verification.allowed < 1
    assert open_engine(tmp_path / "a.pt2").name.endswith(precision)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:::torch.export", "ignore:::copyreg")
def test_a_file_is_evaluated_as_its_network(arrays, tmp_path):
    network = make("aesthetics")
    shares = np.random.default_rng(1).dirichlet(np.ones(10), 3).astype(np.float32)
    labelled = LabelledImages(arrays, shares, network.class_names, ["a", "b", "c"])
    export_model(network, tmp_path / "a.pt2", "torch", ExportOptions(batch=2))
    found, wanted = (maxvit.evaluate(source, labelled).metrics for source in (tmp_path / "a.pt2", network))
    assert found == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (ExportOptions(any_size=True), "any_size is for a MaxViT with its own head, and this one has a head of aes"),
        (ExportOptions(precision="int8"), "int8 is for a MaxViT with its own head"),
        (ExportOptions(opset=17), "opset is for a MaxViT with its own head"),
        (ExportOptions(precision="bf16"), "PyTorch's exporter writes no ONNX of a task's head in bf16: choose fp16"),
    ],
)
def test_what_a_head_of_a_task_cannot_have_is_refused(options, sentence, tmp_path):
    with pytest.raises(MaxViTError, match=sentence):
        export_model(make("aesthetics"), tmp_path / "a.onnx", options=options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("kind", "squeezes"), [("whole", True), ("counting", True), ("slide", False)])
def test_images_that_keep_their_shapes_are_squeezed_unless_the_file_takes_pieces(kind, squeezes):
    network, options = make(kind, "aspect"), ExportOptions(image_size=(96, 64))
    assert options.squeezes(network) == squeezes
    fit = "squash" if squeezes else "aspect"
    assert options.spec(network) == dataclasses.replace(network.preprocessing, image_size=(96, 64), fit=fit)


def test_settings_that_are_part_of_a_graph_are_not_changed_in_its_file(tmp_path):
    path = tmp_path / "a.onnx"
    export_model(make("classification"), path)
    assert open_engine(path, settings={"top_k": 2}).task.settings.top_k == 2
    with pytest.raises(MaxViTError, match=r"task\.loss cannot be changed in .*a\.onnx: export the checkpoint again"):
        open_engine(path, settings={"loss": "sigmoid"})


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:::copyreg", "ignore:::onnxscript")
def test_a_checkpoint_of_a_task_is_exported_once_for_each_setting_and_says_that_it_squeezes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make("retinanet", "aspect").save(tmp_path / "a.safetensors")
    said = []
    for _ in range(2):
        path = exported(tmp_path / "a.safetensors", said.append, {"score_threshold": 0.4})
    squeezed = "images are squeezed to 64 x 96, and keep their shapes with --engine torch"
    assert said == [f"exporting {tmp_path / 'a.safetensors'} to {path}: some seconds, once", squeezed, squeezed]
    engine = open_engine(tmp_path / "a.safetensors", "onnxruntime", tell=said.append, settings={"score_threshold": 0.4})
    assert (engine.path, engine.task.settings.score_threshold) == (path, 0.4)
    assert json.dumps(engine.class_names) == json.dumps(NAMES)
