"""The end point that explains: the Python functions' own numbers, and sentences for what cannot be."""

import copy
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

import healthy
import maxvit
from maxvit import MaxViT, Predictor
from maxvit.explain.methods import METHODS
from maxvit.explain.token_attention import attention_at
from maxvit.serve.app import create_app

PATH = "/v1/models/micro/explain"
FILES = ("index.html", "page.css", "page.js", "samples.js", "tables.js")
PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def model() -> MaxViT:
    return healthy.digits()


@pytest.fixture(scope="module")
def client(model):
    with TestClient(create_app({"micro": Predictor(model)}, originals={"micro": model})) as client:
        yield client


@pytest.fixture(scope="module")
def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_its_numbers_are_the_functions_own(client, model, png):
    found = client.post(f"{PATH}?x=20&y=9&of=digit 3&method=rollout", content=png, headers=PNG).json()
    (image,) = Predictor(model).prepare(png).images
    layers = attention_at(model, image, (20, 9))
    assert [(a["stage"], a["block"], a["axis"]) for a in found["layers"]] == [
        (a.stage, a.block, a.axis) for a in layers
    ]
    for given, layer in zip(found["layers"], layers, strict=True):
        assert np.allclose(given["values"], layer.values, atol=1e-6)
        assert [tuple(c) for c in given["cells"]] == layer.cells
    assert np.allclose(found["map"], METHODS["rollout"](model, image, 3), atol=1e-6)
    with torch.inference_mode():
        probabilities = model(image[None])[0].softmax(-1)
    best = found["prediction"]["classes"][0]
    assert best["class"] == f"digit {int(probabilities.argmax())}"
    assert best["probability"] == pytest.approx(float(probabilities.max()), abs=1e-6)
    assert (found["explained"], found["width"], found["height"]) == ("digit 3", 32, 32)
    assert found["picture"].startswith("data:image/png;base64,")


def test_without_a_point_no_layer_is_shown(client, png):
    found = client.post(PATH, content=png, headers=PNG).json()
    assert found["layers"] == []
    assert found["explained"] == found["prediction"]["classes"][0]["class"]


@pytest.mark.parametrize(
    ("query", "content", "status", "sentence"),
    [
        ("?x=3", None, 422, "give x and y"),
        ("?x=32&y=0", None, 422, "outside"),
        ("?x=-1&y=0", None, 422, "outside"),
        ("?of=cat", None, 422, "cat"),
        ("?of=10", None, 422, "10"),
        ("?method=magic", None, 422, "choose"),
        ("?x=one&y=0", None, 422, ""),
        ("", b"no image", 422, "image"),
    ],
)
def test_what_cannot_be_is_said(client, png, query, content, status, sentence):
    answer = client.post(PATH + query, content=content or png, headers=PNG)
    assert answer.status_code == status
    assert sentence in answer.text


def test_another_network_is_not_there(client, png):
    assert client.post("/v1/models/other/explain", content=png, headers=PNG).status_code == 404


def test_two_images_are_one_too_many(client, png):
    files = [("a", ("a.png", png, "image/png")), ("b", ("b.png", png, "image/png"))]
    assert client.post(PATH, files=files).status_code == 422


def test_the_page_needs_nothing_from_elsewhere(client):
    pages = [client.get(path) for path in ("/", *(f"/page/{name}" for name in FILES))]
    assert sorted(FILES) == sorted(path.name for path in (Path(maxvit.__file__).parent / "serve" / "page").iterdir())
    assert all(page.status_code == 200 for page in pages)
    assert not any("http://" in page.text or "https://" in page.text for page in pages)


def test_without_originals_there_is_no_page(model, png):
    with TestClient(create_app({"micro": Predictor(model)})) as client:
        assert client.get("/").status_code == 404
        assert client.post(PATH, content=png, headers=PNG).status_code == 404


def test_a_multi_label_network_says_which_classes_reach_its_threshold(model, png):
    model = copy.deepcopy(model)
    model.config = dataclasses.replace(model.config, multi_label=True, threshold=0.4)
    torch.nn.init.zeros_(model.head.classifier.weight)
    model.head.classifier.bias.data = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.45, 0.1, 0.1, 0.1, 0.1]).logit()
    with TestClient(create_app({"micro": Predictor(model)}, originals={"micro": model})) as client:
        asked = [client.post(path, content=png, headers=PNG).json() for path in (PATH, "/predict?top_k=2")]
        described = client.get("/v1/models/micro").json()
    for classes in (asked[0]["prediction"]["classes"], asked[1]["results"][0]["prediction"]["classes"]):
        assert [c["class"] for c in classes] == [f"digit {i}" for i in range(6)]  # all that are answered
        assert [c["probability"] for c in classes] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.45])
        assert all(c["predicted"] for c in classes)
    assert described["threshold"] == 0.4
