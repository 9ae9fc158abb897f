"""Files of ExecuTorch: they answer as the network, say what they are, and are refused where they cannot be."""

import json
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

import maxvit
from maxvit import ExportOptions, MaxViT, MaxViTConfig, MaxViTError, Preprocessing, export_model
from maxvit.inference.engines import open_engine
from maxvit.tasks import make_task

CONFIG = MaxViTConfig(
    stem_channels=4, channels=(8, 8, 8, 8), depths=(1, 1, 1, 1), head_dim=4, window_size=(3, 2), grid_size=(2, 3),
    num_classes=3, image_size=(64, 96),
)  # fmt: skip
NAMES = ["ant", 'a "bee" <&>', "猫"]
needs_executorch = pytest.mark.skipif(not find_spec("executorch"), reason="pip install 'maxvit[executorch]'")


def make(settings=None):
    torch.manual_seed(0)
    backbone = MaxViT(CONFIG, Preprocessing(image_size=(64, 96)), NAMES)
    network = make_task(settings).make_network(backbone, NAMES, new_head=True) if settings else backbone
    for parameter in network.parameters():  # answers that differ from image to image
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"any_size": True}, "ExecuTorch's files are for images of one size"),
        ({"precision": "fp16"}, "ExecuTorch's files are in fp32 here, and fp16 was asked for"),
        ({"precision": "int8"}, "ExecuTorch's files are in fp32 here, and int8 was asked for"),
        ({"opset": 20}, "opset is of ONNX"),
        ({}, r"needs executorch, which is not installed: pip install 'maxvit\[executorch\]'"),
    ],
)
def test_what_it_cannot_do_is_refused(tmp_path, monkeypatch, options, sentence):
    monkeypatch.setitem(sys.modules, "executorch", None)
    with pytest.raises(MaxViTError, match=sentence):
        export_model(make(), tmp_path / "a.pte", "executorch", ExportOptions(**options))
    assert list(tmp_path.iterdir()) == []


TASKS = [
    pytest.param(None, False, id="classification"),
    pytest.param(None, True, id="pixels"),
    pytest.param({"name": "segmentation", "decoder_channels": 64}, False, id="segmentation"),
    pytest.param({"name": "aesthetics"}, True, id="aesthetics"),
]


@needs_executorch
@pytest.mark.full
@pytest.mark.parametrize(("settings", "pixels"), TASKS)
def test_a_file_answers_as_its_network_and_says_what_it_is(tmp_path, settings, pixels):
    network, path = make(settings), tmp_path / "a.pte"
    arrays = [np.random.default_rng(i).integers(0, 99, (70, 101, 3), dtype=np.uint8) for i in range(3)]
    done = export_model(network, path, "executorch", ExportOptions(from_pixels=pixels, batch=2), arrays)
    assert done.verification.relative < 1e-5
    assert list(tmp_path.iterdir()) == [path]
    found, wanted = maxvit.Predictor(path), maxvit.Predictor(network)
    assert (found.class_names, found.preprocessing) == (wanted.class_names, wanted.preprocessing)
    for ours, expected in zip(found(arrays), wanted(arrays), strict=True):
        assert (ours.value - expected.value).abs().float().mean() < 1e-4
    from executorch.runtime import Runtime

    said = Runtime.get().load_program(path).load_method("class_names").execute([])[0]
    assert json.loads(said) == network.class_names


@needs_executorch
@pytest.mark.full
def test_operators_of_other_libraries_are_named(tmp_path):
    network = make({"name": "detection", "detector": "retinanet", "strides": (8, 16), "detections": 20})
    with pytest.raises(
        MaxViTError, match=r"ExecuTorch has no torchvision\.nms.*, which the graph needs: export it for"
    ):
        export_model(network, tmp_path / "a.pte", "executorch")
    assert list(tmp_path.iterdir()) == []


@needs_executorch
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\1\2damaged" * 100, r"ExecuTorch cannot read .*a\.pte \(.*\): it may be damaged"),
        (b"<!DOCTYPE html><html></html>", r"a\.pte is a web page \(HTML\), .* and not a program of ExecuTorch"),
    ],
)
def test_a_file_that_is_something_else_is_refused(tmp_path, content, sentence):
    (tmp_path / "a.pte").write_bytes(content)
    with pytest.raises(MaxViTError, match=sentence):
        open_engine(tmp_path / "a.pte")


@needs_executorch
@pytest.mark.filterwarnings("ignore")  # of the converter's import
def test_a_program_of_somebody_else_is_refused(tmp_path):
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(torch.nn.ReLU(), (torch.zeros(1, 3),))
    (tmp_path / "a.pte").write_bytes(to_edge_transform_and_lower(program).to_executorch().buffer)
    with pytest.raises(MaxViTError, match="was not written by maxvit"):
        open_engine(tmp_path / "a.pte")
