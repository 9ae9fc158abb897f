"""Networks of other tasks than classification: their answers and pictures, and what cannot be asked of them."""

import base64
import io
import json
import time

import brightest as toy
import numpy as np
import pytest
from pictures import encoded, pixels
from PIL import Image
from served import network, task_network
from starlette.testclient import TestClient

from maxvit.cli.serve import _open
from maxvit.errors import MaxViTError
from maxvit.serve.app import create_app
from maxvit.serve.limits import Limits

PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def asked(scores, brightest, predictor):
    with TestClient(create_app({"scores": scores, "brightest": brightest, "small": predictor})) as client:
        yield client


def night(height, width, x, y):
    """A dark image with a star of a tenth of its sides around a point."""
    image = np.full((height, width, 3), 20, np.uint8)
    top, left, tall, wide = y - height // 20, x - width // 20, height // 10, width // 10
    image[max(top, 0) : top + tall, max(left, 0) : left + wide] = 250
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def drawn(uri):
    assert uri.startswith("data:image/png;base64,")
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def forms(images):
    return [("image", (f"{i}.png", data)) for i, data in enumerate(images)]


def test_raw_bytes_a_form_and_base64_get_the_answer_of_the_task(asked, scores):
    data = encoded(3)
    (wanted,) = scores([data])
    said = scores.task.to_json(wanted.answer, scores.class_names)
    for answer, name in (
        (asked.post("/predict", content=data, headers=PNG), "image 0"),
        (asked.post("/predict", files={"image": ("a.png", data)}), "a.png"),
        (asked.post("/v1/models/scores/predict", json={"image": base64.b64encode(data).decode()}), "image 0"),
    ):
        assert answer.status_code == 200
        assert (answer.json()["model"], answer.json()["task"]) == ("scores", "aesthetics")
        (result,) = answer.json()["results"]
        assert (result["image"], result["error"], result["picture"]) == (name, None, None)
        assert result["sentence"] == scores.task.summary(wanted.answer, scores.class_names)
        assert result["answer"].keys() == said.keys()
        assert result["answer"]["mean"] == pytest.approx(said["mean"], rel=1e-5)
        assert result["answer"]["shares"] == pytest.approx(said["shares"], rel=1e-4)


def test_a_classifier_beside_it_answers_exactly_as_before(asked, predictor):
    answer = asked.post("/v1/models/small/predict?top_k=2", content=encoded(), headers=PNG).json()
    (wanted,) = predictor([encoded()])
    assert list(answer) == ["model", "results"]
    assert [list(r) for r in answer["results"]] == [["image", "classes", "error"]]
    assert [c["class"] for c in answer["results"][0]["classes"]] == [name for name, _ in wanted.classes[:2]]


def test_answers_are_in_pixels_of_each_image_and_those_of_one_prepared_size_are_computed_together(brightest):
    places = [(41, 41, 30, 9), (84, 21, 5, 70), (75, 75, 12, 60), (23, 92, 8, 20), (399, 399, 350, 33)]
    images = [night(*place) for place in places]
    shapes = [tuple(brightest.prepare(image)[0].shape) for image in images]
    assert [shapes.count(shape) for shape in shapes] == [3, 1, 3, 1, 3]
    with TestClient(create_app({"brightest": brightest})) as client:
        results = client.post("/predict", files=forms(images)).json()["results"]
        for result, (height, width, x, y), shape in zip(results, places, shapes, strict=True):
            assert (result["answer"]["height"], result["answer"]["width"]) == (height, width)
            found = result["answer"]["points"][0]["at"]
            assert abs(found[0] - x) <= width / 20 + width / shape[2] + 1
            assert abs(found[1] - y) <= height / 20 + height / shape[1] + 1
        metrics = client.get("/metrics").text.splitlines()
    assert 'maxvit_batch_images_count{model="brightest"} 4.0' in metrics  # the first, of black, before any client
    assert 'maxvit_batch_images_sum{model="brightest"} 6.0' in metrics
    assert 'maxvit_images_total{model="brightest",outcome="answered"} 5.0' in metrics


def test_a_picture_is_the_task_s_own_and_no_thread_but_those_for_it_makes_it(asked, brightest):
    data = night(37, 43, 30, 9)
    toy.threads.clear()
    (result,) = asked.post("/v1/models/brightest/predict?picture=true", content=data, headers=PNG).json()["results"]
    assert [name.partition("_")[0] for name in toy.threads] == ["compute", "decode", "decode"]
    (wanted,) = brightest([data])
    picture = brightest.task.draw_prediction(Image.open(io.BytesIO(data)), wanted.answer, ["star"])
    assert np.array_equal(np.asarray(drawn(result["picture"])), np.asarray(picture))
    x, y = (int(word) for word in result["sentence"].removeprefix("star at ").split(", "))
    assert (x, y) == pytest.approx((30, 9), abs=1)  # pixels of the prepared image are others


def test_a_picture_is_drawn_over_the_image_as_a_person_sees_it(asked):
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned
    data = encoded(2, "PNG", exif=exif)
    (result,) = asked.post("/v1/models/brightest/predict?picture=true", content=data, headers=PNG).json()["results"]
    picture = drawn(result["picture"])
    assert (result["answer"]["height"], result["answer"]["width"]) == (picture.height, picture.width) == (43, 37)
    unpainted = (np.asarray(picture) == np.rot90(pixels(2), -1)).all(-1)
    assert 0 < (~unpainted).sum() < 100


def test_the_picture_of_a_photograph_is_smaller(asked):
    data = night(375, 1500, 1200, 300)
    (result,) = asked.post("/v1/models/brightest/predict?picture=true", content=data, headers=PNG).json()["results"]
    picture = np.asarray(drawn(result["picture"])).astype(int)
    assert picture.shape == (256, 1024, 3)
    assert result["answer"]["width"] == 1500
    red = (picture[..., 0] > 200) & (picture[..., 1] < 60)
    assert np.argwhere(red).mean(0) == pytest.approx([300 * 256 / 375, 1200 * 1024 / 1500], abs=60)


def test_what_cannot_be_read_says_why_and_the_others_are_answered(asked, brightest):
    images = [night(37, 43, 30, 9), b"no picture", night(90, 21, 5, 70)]
    results = asked.post("/v1/models/brightest/predict?picture=true", files=forms(images)).json()["results"]
    assert [r["image"] for r in results] == ["0.png", "1.png", "2.png"]
    assert (results[1]["answer"], results[1]["picture"], results[1]["sentence"]) == (None, None, "")
    assert results[1]["error"].startswith("the data is not an image that can be read")
    assert [drawn(results[i]["picture"]).size for i in (0, 2)] == [(43, 37), (21, 90)]


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/v1/models/scores/embed", "scores is a network for aesthetics, and gives no embeddings"),
        ("/embed", "scores is a network for aesthetics, and gives no embeddings"),
        ("/v1/models/brightest/predict?top_k=3", "brightest is a network for brightest: leave top_k out"),
        ("/v1/models/small/predict?picture=true", "small is a classifier, and its answers are not drawn"),
        ("/v1/models/brightest/predict?picture=perhaps", "picture"),
    ],
)
def test_what_a_network_cannot_do_is_told(asked, path, sentence):
    answer = asked.post(path, content=encoded(), headers=PNG)
    assert answer.status_code == 422
    assert sentence in answer.json()["error"]


def test_models_say_their_task(asked):
    listed = asked.get("/v1/models").json()["models"]
    assert [(m["name"], m["task"], m["classes"]) for m in listed] == [
        ("scores", "aesthetics", 10),
        ("brightest", "brightest", 1),
        ("small", "classification", 5),
    ]
    assert asked.get("/v1/models/brightest").json()["class_names"] == ["star"]


def test_a_line_of_pixels_does_not_fill_the_memory(brightest, monkeypatch):
    def covering(_, size):
        factor = 64 / min(size)
        return round(size[0] * factor), round(size[1] * factor)

    monkeypatch.setattr(brightest.task, "prepared_size", covering)
    with TestClient(create_app({"brightest": brightest})) as client:
        answer = client.post("/predict", content=night(2, 400, 9, 1), headers=PNG)
        assert answer.status_code == 422
        assert "400 x 2 pixels and would get 12800 x 64; at most 16 times 64 x 64" in answer.json()["error"]
        assert client.post("/predict", content=night(20, 320, 9, 1), headers=PNG).status_code == 200


def test_an_image_that_a_task_cannot_prepare_does_not_keep_the_others_from_their_answers(brightest, monkeypatch):
    def refuse(_, size):
        if size == (2, 400):
            raise MaxViTError("that is a strip")
        return 64, 64

    monkeypatch.setattr(brightest.task, "prepared_size", refuse)
    with TestClient(create_app({"brightest": brightest})) as client:
        images = [night(37, 43, 30, 9), night(2, 400, 9, 1)]
        results = client.post("/v1/models/brightest/predict", files=forms(images)).json()["results"]
    assert results[0]["answer"] is not None
    assert results[1]["error"] == "that is a strip"


def test_where_it_is_too_busy_or_too_slow_it_is_503(brightest, monkeypatch):
    limits = Limits(timeout_s=1, queue=2, max_images=2)
    with TestClient(create_app({"brightest": brightest}, limits=limits)) as client:
        room = client.app.state.service.images
        room.take(1)
        answer = client.post("/predict", files=forms([encoded(1), encoded(2)]))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        room.give_back(1)
        monkeypatch.setattr(brightest.task, "draw_prediction", lambda image, *_: time.sleep(1.5) or image)
        answer = client.post("/predict?picture=true", content=encoded(), headers=PNG)
        assert (answer.status_code, room.taken) == (503, 0)
        assert "no answer within 1 s" in answer.json()["error"]


def test_what_a_task_refuses_is_422_and_its_mistake_500_and_the_next_request_is_answered(brightest, monkeypatch):
    with TestClient(create_app({"brightest": brightest}), raise_server_exceptions=False) as client:
        for error, status in ((MaxViTError("too dark"), 422), (ZeroDivisionError(), 500)):
            for method in ("answers", "to_json"):
                with monkeypatch.context() as patch:
                    patch.setattr(brightest.task, method, lambda *_, error=error: (_ for _ in ()).throw(error))
                    assert client.post("/predict", content=encoded(), headers=PNG).status_code == status
        assert client.post("/predict", content=encoded(), headers=PNG).status_code == 200


def test_what_is_no_number_is_null(brightest, monkeypatch):
    monkeypatch.setattr(brightest.task, "to_json", lambda *_: {"a": float("nan"), "b": [float("inf"), 1.5]})
    with TestClient(create_app({"brightest": brightest})) as client:
        text = client.post("/predict", content=encoded(), headers=PNG).text
    answer = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert answer["results"][0]["answer"] == {"a": None, "b": [None, 1.5]}


def test_checkpoints_of_several_tasks_are_opened_and_only_classifiers_kept_as_they_are(tmp_path, brightest):
    network().save(tmp_path / "small.safetensors")
    task_network("brightest", ["star"]).save(tmp_path / "stars.safetensors")
    paths = {name: tmp_path / f"{name}.safetensors" for name in ("stars", "small")}
    models, originals = _open(paths, "auto", "auto", "auto", ["brightest"], True)
    assert list(models) == ["stars", "small"]
    assert list(originals) == ["small"]
    assert _open(paths, "torch", "auto", "auto", [], False)[1] == {}
    data = night(37, 43, 30, 9)
    assert models["stars"]([data]) == brightest([data])
    with TestClient(create_app(models, originals=originals)) as client:
        answer = client.post("/v1/models/stars/explain", content=data, headers=PNG)
        assert answer.status_code == 422
        assert answer.json()["error"].startswith("stars is a network for brightest, and classifiers are explained")
        assert client.post("/v1/models/small/explain", content=data, headers=PNG).status_code == 200
    for options, sentence in (
        (
            ("auto", "auto", "auto", ["segmentation"], False),
            "--task segmentation was given, and the checkpoints are for brightest",
        ),
        (("onnxruntime", "auto", "auto", [], False), "--engine onnxruntime is for classifiers"),
    ):
        with pytest.raises(MaxViTError, match=sentence):
            _open(paths, *options)
