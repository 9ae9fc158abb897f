"""A page for the browser: what is written, what is refused, and that its JavaScript computes as Python does."""

import base64
import dataclasses
import hashlib
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image

import maxvit
from every_task import backbone, network_of
from maxvit import ExportOptions, MaxViTError, Preprocessing, export_web
from maxvit.data.transforms import preprocess
from maxvit.export.web import folder as web
from maxvit.export.web import runtime
from maxvit.tasks.classification.predictions import Judged, best_classes

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
NODE = shutil.which("node")
with_node = pytest.mark.skipif(NODE is None, reason="needs Node.js")


@pytest.fixture
def small_runtime(tmp_path, monkeypatch):
    """A folder with a runtime of two words."""
    files = {runtime.MODULE: b"export {}; // \xc3\xa9", runtime.WASM: b"\0asm"}
    monkeypatch.setattr(runtime, "SHA256", {name: hashlib.sha256(text).hexdigest() for name, text in files.items()})
    place = tmp_path / "node_modules" / "onnxruntime-web" / "dist"
    place.mkdir(parents=True)
    for name, content in files.items():
        (place / name).write_bytes(content)
    return tmp_path


def test_a_page_holds_the_network_its_names_and_the_runtime_in_scripts_of_its_own(small_runtime, tmp_path, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(web, "PART", 50_000)
    network, out = network_of("classification"), tmp_path / "page"
    out.mkdir()
    (out / "model-99.js").write_text("of a larger network")
    (out / "mine.txt").write_text("mine")
    done = export_web(network, out, runtime_folder=small_runtime)
    assert (done.path, done.verification.relative < 1e-4) == (out / "index.html", True)
    about = json.loads((out / "about.js").read_text().removeprefix("const about = ").removesuffix(";\n"))
    assert (about["class_names"], about["preprocessing"]) == (network.class_names, network.preprocessing.to_dict() | {
        "image_size": [64, 64], "mean": [0.1, 0.2, 0.3], "std": list(network.preprocessing.std), "shown_bands": []
    })  # fmt: skip
    parts = [base64.b64decode(re.fullmatch(r'part\("(.*)"\);\n', (out / p).read_text())[1]) for p in about["parts"]]
    assert (len(parts) > 2, sum(map(len, parts)), max(map(len, parts))) == (True, about["bytes"], 50_000)
    given = onnxruntime.InferenceSession(b"".join(parts)).get_inputs()[0]
    assert (given.name, given.shape) == ("images", [1, 3, 64, 64])
    assert (out / "runtime.js").read_text() == 'part({ module: "export {}; // \\u00e9", wasm: "AGFzbQ==" });\n'
    code = json.loads((out / "worker.js").read_text().removeprefix("const workerCode = ").removesuffix(";\n"))
    assert "function resizePillow(" in code
    asked = re.findall(r'(?:src|href)="([^"]+)"', (out / "index.html").read_text())
    made = {"index.html", "runtime.js", *about["parts"], *(name for name in asked if name != "data:,")}
    assert {file.name for file in out.iterdir()} == made | {"mine.txt"}


@pytest.mark.parametrize(
    ("network", "options", "sentence"),
    [
        (lambda: backbone(fit="crop"), {"from_pixels": True}, "a page prepares pictures itself: leave pixels out"),
        (lambda: backbone(fit="crop"), {"batch": 2}, "a page computes one picture at a time: leave batch out"),
        (lambda: backbone(fit="crop"), {"precision": "bf16"}, "does not compute in bf16: choose fp32, fp16 or int8"),
        (lambda: backbone(fit="aspect"), {}, "the network's images keep their shapes"),
        (lambda: bands(), {}, "the network is for images of other bands or of more than 8 bits"),
        (lambda: features(), {}, "the network has no classifier, and a page shows classes"),
        pytest.param(lambda: sliding(), {}, "slides windows", marks=pytest.mark.full),
        (lambda: network_of("examples.counting_task"), {}, "shows logits, shares, values or boxes, and counting gives"),
        (lambda: network_of("masked"), {}, "masked is not exported"),
    ],
)
def test_what_a_page_cannot_do_is_refused_in_words_and_nothing_is_written(network, options, sentence, tmp_path):
    made = network()
    with pytest.raises(MaxViTError, match=re.escape(sentence)):
        export_web(made, tmp_path / "page", ExportOptions(**options))
    assert list(tmp_path.iterdir()) == []


def features():
    network = backbone(fit="crop")
    network.reset_classifier(0)
    return network


def sliding():
    return network_of("segmentation", {"decoder": "fpn", "inference": "slide"})


def bands():
    network = backbone(fit="crop")
    network.preprocessing = dataclasses.replace(network.preprocessing, value_range=(0, 4095))
    return network


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (None, "npm, which downloads onnxruntime-web 1.30.0, was not found: install Node.js"),
        ('echo \'{"error": {"summary": "no such host"}}\'; exit 1', r"could not download .* \(no such host\)"),
        ("echo no space left >&2; exit 28", r"could not download .* \(no space left\)"),
        ('tar czf "$4/a.tgz" package', "is not what onnxruntime-web 1.30.0 holds: the registry"),
    ],
)
def test_npm_that_is_missing_fails_or_gives_something_else_is_said(script, sentence, tmp_path, monkeypatch):
    bins, told = tmp_path / "bin", []
    bins.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if script is not None:
        made = "mkdir -p package/dist; echo other > package/dist/" + "; echo other > package/dist/".join(runtime.SHA256)
        (bins / "npm").write_text(f"#!/bin/sh\n{made}\n{script}\n")
        (bins / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bins}:/usr/bin:/bin" if script else str(bins))
    with pytest.raises(MaxViTError, match=sentence):
        runtime.runtime_files(None, told.append)
    assert len(told) == (script is not None)
    assert not (tmp_path / "cache").exists()


def test_a_runtime_of_another_version_is_refused(small_runtime):
    with pytest.raises(MaxViTError, match="does not hold ort"):
        runtime.runtime_files(small_runtime / "node_modules", print)
    (small_runtime / "node_modules" / "onnxruntime-web" / "dist" / runtime.WASM).write_bytes(b"other")
    with pytest.raises(MaxViTError, match=r"threaded.wasm in .* is not that of onnxruntime-web 1.30.0"):
        runtime.runtime_files(small_runtime, print)


def node(files, code, **inputs):
    """What a piece of JavaScript prints, as JSON; inputs are its variables."""
    text = "\n".join((web.PAGE / name).read_text() for name in files)
    given = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in inputs.items())
    script = f"{given}{text}\n{code}"
    return json.loads(subprocess.run([NODE, "-"], input=script, check=True, capture_output=True, text=True).stdout)


# what only a browser has: the pixels of a picture
PIXELS = """
const picture = { height: pixels.length, width: pixels[0].length };
const flat = (rows) => Uint8Array.from(rows.flat(2));
function piece(_, [top, left, h, w]) {
  return flat(pixels.slice(top, top + h).map((row) => row.slice(left, left + w)));
}
function exact() { return flat(pixels); }
const { values, shape } = prepare(preprocessing, picture);
console.log(JSON.stringify([shape, Array.from(values)]));
"""
PREPARED = {  # height, width and alpha of a picture, and how it is prepared
    "cropped": (97, 131, 255, {"crop_pct": 0.875}),
    "enlarged": (29, 23, 255, {"interpolation": "bilinear"}),
    "squeezed, partly transparent": (61, 131, None, {"fit": "squash"}),
    "in its shape, with an alpha channel of nothing": (47, 163, 0, {"fit": "aspect", "interpolation": "bilinear"}),
    "grey, as TensorFlow resizes": (
        97, 71, 255, {"interpolation": "bicubic-tf1", "mean": (0.4,), "std": (0.2,), "crop_pct": 0.6}
    ),
}  # fmt: skip


@with_node
@pytest.mark.parametrize("name", PREPARED)
def test_pictures_are_prepared_as_in_python(name):
    height, width, alpha, values = PREPARED[name]
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (height, width, 4), np.uint8)
    if alpha is not None:
        pixels[..., 3] = alpha
    spec = Preprocessing(image_size=(37, 43), **values)
    wanted = preprocess(spec, Image.fromarray(pixels))
    preprocessing = spec.to_dict()
    shape, found = node(["resample.js", "prepare.js"], PIXELS, pixels=pixels.tolist(), preprocessing=preprocessing)
    assert shape == [1, *wanted.shape]
    exact = spec.interpolation != "bicubic-tf1"  # which sums fractions, in another order
    assert np.allclose(found, wanted.flatten().numpy(), rtol=0, atol=0 if exact else 1e-5)


NAMES = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu"]


@with_node
@pytest.mark.parametrize(
    ("config", "novelty", "said"),
    [
        ({"multi_label": False, "temperature": 2.5}, None, "fox"),
        ({"multi_label": False, "temperature": 1.0}, 1.75, "None of these"),
        ({"multi_label": False, "temperature": 1.0}, 0.75, "fox"),
        ({"multi_label": True, "threshold": 0.6}, None, "fox, ant, cat"),
        ({"multi_label": True, "threshold": 0.99}, None, "None of the labels"),
    ],
)
def test_classes_are_shown_as_python_names_them(config, novelty, said):
    logits = torch.tensor([2.0, -1.0, 1.5, -3.0, 0.25, 2.5, -0.5])
    known = dataclasses.replace(maxvit.create_model("maxvit_micro").config, num_classes=7, **config)
    probabilities = known.probabilities(logits)
    if novelty is not None:
        probabilities = probabilities.as_subclass(Judged)
        probabilities.novelty = novelty
    best = best_classes(probabilities, NAMES, 5, known.threshold if known.multi_label else None)
    about = {"config": known.to_dict(), "class_names": NAMES, "novelty_limit": 1, "colours": []}
    outputs = {"logits": {"dims": [1, 7], "data": logits.tolist()}}
    if novelty is not None:
        outputs["novelty"] = {"dims": [1], "data": [novelty]}
    found = node(["views.js"], "console.log(JSON.stringify(view(outputs)));", about=about, outputs=outputs)
    assert found["said"] == said
    assert (found["said"] == "None of these") == best.is_none
    assert [line["name"] for line in found["lines"]] == [name for name, _ in best.classes]
    assert [line["bar"] for line in found["lines"]] == pytest.approx([p for _, p in best.classes], abs=1e-6)
    if known.multi_label:
        assert [line["below"] for line in found["lines"]].count(False) == best.predicted
