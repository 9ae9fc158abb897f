"""Networks of every task, and of users' tasks: predictions, pictures, embeddings, explanations."""

import base64
import io
import json
import time

import brightest as toy
import numpy as np
import pytest
import torch
from pictures import encoded, pixels
from PIL import Image
from starlette.testclient import TestClient

from every_task import COUNTING, OTHERS, SERVED, TASKS, network_of
from listening import listening
from maxvit.cli.serve import _open
from maxvit.errors import MaxViTError
from maxvit.explain.methods import METHODS
from maxvit.inference.predictor import Predictor
from maxvit.serve.app import create_app
from maxvit.serve.client import Client
from maxvit.serve.limits import Limits
from maxvit.serve.models import ServedModel

PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def predictors():
    return {name: Predictor(network_of(name)) for name in SERVED}


@pytest.fixture(scope="module")
def asked(predictors, brightest):
    models = {**predictors, "brightest": brightest}
    with TestClient(create_app(models, originals={name: p.engine.network for name, p in models.items()})) as client:
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


def near(found, wanted):
    """Equal but for the last digits, which depend on the batch."""
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(near(found[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(near, found, wanted))
    return found == (pytest.approx(wanted, rel=1e-4, abs=1e-4) if isinstance(wanted, float) else wanted)


@pytest.mark.parametrize("name", SERVED)
def test_raw_bytes_a_form_and_base64_get_the_prediction_of_the_task(asked, predictors, name):
    data = encoded(3)
    (wanted,) = predictors[name]([data])
    path = f"/v1/models/{name}/predict"
    for answer, image in (
        (asked.post(path, content=data, headers=PNG), "image 0"),
        (asked.post("/predict", params={"name": name}, files={"image": ("a.png", data)}), "a.png"),
        (asked.post(path, json={"image": base64.b64encode(data).decode()}), "image 0"),
    ):
        assert answer.status_code == 200
        assert (answer.json()["model"], answer.json()["task"]) == (name, wanted.task.name)
        (result,) = answer.json()["results"]
        assert (result["image"], result["error"], result["picture"]) == (image, None, None)
        assert near(result["prediction"], json.loads(json.dumps(wanted.to_json())))
        assert result["summary"] == wanted.summary


@pytest.mark.parametrize("name", SERVED)
def test_a_picture_is_the_task_s_own_prediction_over_the_image(asked, predictors, name):
    data = encoded(1)
    answer = asked.post(f"/v1/models/{name}/predict?picture=true", content=data, headers=PNG)
    (wanted,) = predictors[name]([data])
    picture = np.asarray(wanted.draw(Image.fromarray(pixels(1)))).astype(int)
    found = np.asarray(drawn(answer.json()["results"][0]["picture"])).astype(int)
    assert found.shape == picture.shape
    assert (np.abs(found - picture).max(-1) > 2).mean() < 0.001  # where rounding moves an edge
    assert (found != pixels(1)).any()


@pytest.mark.parametrize("name", SERVED)
def test_an_embedding_is_what_the_network_sees_of_an_image(asked, predictors, name):
    images = [encoded(1), b"bad", encoded(2)]
    results = asked.post(f"/v1/models/{name}/embed", files=forms(images)).json()["results"]
    predictor = predictors[name]
    for i in (0, 2):
        wanted = predictor.engine.with_embeddings(predictor.prepare(images[i]).images[0][None])[1][0]
        torch.testing.assert_close(torch.tensor(results[i]["embedding"]), wanted, rtol=1e-4, atol=1e-5)
    assert results[0]["embedding"] != results[2]["embedding"]
    assert (results[1]["embedding"], bool(results[1]["error"])) == ([], True)


@pytest.mark.parametrize("name", SERVED)
def test_a_client_gets_the_same_of_every_task(asked, predictors, name):
    with listening(create_app({name: predictors[name]})) as port:
        client = Client(f"http://127.0.0.1:{port}")
        (found,) = client.predict(encoded(1), pictures=True)
        (embedding,) = client.embed(encoded(1))
    (wanted,) = predictors[name](encoded(1))
    assert near(found.prediction, json.loads(json.dumps(wanted.to_json())))
    assert (found.name, found.summary, found.error, found.picture.size) == ("image 0", wanted.summary, None, (43, 37))
    assert embedding.shape == (16 if name == COUNTING else 24,)


@pytest.mark.parametrize("name", SERVED)
def test_models_say_their_task_and_classes(asked, predictors, name):
    found, predictor = asked.get(f"/v1/models/{name}").json(), predictors[name]
    assert (found["task"], found["class_names"]) == (predictor.task.name, TASKS[name][1])
    assert (found["classes"], found["image_size"], found["engine"]) == (len(TASKS[name][1]), [64, 64], "PyTorch on cpu")
    (listed,) = [m for m in asked.get("/v1/models").json()["models"] if m["name"] == name]
    assert listed == {key: value for key, value in found.items() if key != "class_names"}


@pytest.mark.parametrize("name", SERVED)
def test_a_prediction_is_explained_by_the_maps_of_the_backbone(asked, predictors, name):
    predictor, data = predictors[name], encoded(2)
    found = asked.post(f"/v1/models/{name}/explain?x=20&y=40", content=data, headers=PNG).json()
    (image,) = predictor.prepare(data).images
    (wanted,) = predictor([data])
    assert (found["task"], found["summary"], found["height"], found["width"]) == (
        wanted.task.name,
        wanted.summary,
        *image.shape[1:],
    )
    assert near(found["prediction"], json.loads(json.dumps(wanted.to_json())))
    assert np.allclose(found["map"], METHODS["rollout"](predictor.engine.network, image, None), atol=1e-6)
    assert len(found["layers"]) == (6 if name == COUNTING else 8)  # whose head sees the third stage at most
    assert (found["explained"] is None) == (name != "classification")


@pytest.mark.parametrize("name", [name for name in OTHERS if name in SERVED])
def test_a_map_that_needs_a_class_is_refused_where_there_is_none(asked, name):
    for query in ("method=gradcam", "of=cat"):
        answer = asked.post(f"/v1/models/{name}/explain?{query}", content=encoded(), headers=PNG)
        assert answer.status_code == 422
        assert "no class to explain or score: use attention or rollout, or a point" in answer.json()["error"]


@pytest.mark.parametrize("name", [name for name in OTHERS if name in SERVED])
def test_a_task_without_top_k_says_so(asked, name):
    answer = asked.post(f"/v1/models/{name}/predict?top_k=3", content=encoded(), headers=PNG)
    assert answer.status_code == 422
    assert "unknown setting 'task.top_k'" in answer.json()["error"]


def test_a_picture_that_is_neither_wanted_nor_not_is_refused(asked):
    answer = asked.post("/predict?picture=perhaps", content=encoded(), headers=PNG)
    assert (answer.status_code, "picture" in answer.json()["error"]) == (422, True)


def test_predictions_are_in_pixels_of_each_image_and_those_of_one_prepared_size_are_computed_together(brightest):
    places = [(41, 41, 30, 9), (84, 21, 5, 70), (75, 75, 12, 60), (23, 92, 8, 20), (399, 399, 350, 33)]
    images = [night(*place) for place in places]
    shapes = [tuple(brightest.prepare(image).images[0].shape) for image in images]
    assert [shapes.count(shape) for shape in shapes] == [3, 1, 3, 1, 3]
    with TestClient(create_app({"brightest": brightest})) as client:
        results = client.post("/predict", files=forms(images)).json()["results"]
        for result, (height, width, x, y), shape in zip(results, places, shapes, strict=True):
            assert (result["prediction"]["height"], result["prediction"]["width"]) == (height, width)
            found = result["prediction"]["points"][0]["at"]
            assert abs(found[0] - x) <= width / 20 + width / shape[2] + 1
            assert abs(found[1] - y) <= height / 20 + height / shape[1] + 1
        metrics = client.get("/metrics").text.splitlines()
    assert 'maxvit_batch_images_count{model="brightest"} 4.0' in metrics  # the first, of black, before any client
    assert 'maxvit_batch_images_sum{model="brightest"} 6.0' in metrics
    assert 'maxvit_images_total{model="brightest",outcome="answered"} 5.0' in metrics


def test_no_thread_but_those_that_decode_draws_and_tells(asked, brightest):
    data = night(37, 43, 30, 9)
    toy.threads.clear()
    (result,) = asked.post("/v1/models/brightest/predict?picture=true", content=data, headers=PNG).json()["results"]
    assert [name.partition("_")[0] for name in toy.threads] == ["compute", "decode", "decode"]
    (wanted,) = brightest([data])
    picture = wanted.draw(Image.open(io.BytesIO(data)))
    assert np.array_equal(np.asarray(drawn(result["picture"])), np.asarray(picture))
    x, y = (int(word) for word in result["summary"].removeprefix("star at ").split(", "))
    assert (x, y) == pytest.approx((30, 9), abs=1)  # pixels of the prepared image are others


def test_a_picture_is_drawn_over_the_image_as_a_person_sees_it(asked):
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned
    data = encoded(2, "PNG", exif=exif)
    (result,) = asked.post("/v1/models/brightest/predict?picture=true", content=data, headers=PNG).json()["results"]
    picture = drawn(result["picture"])
    assert (
        (result["prediction"]["height"], result["prediction"]["width"]) == (picture.height, picture.width) == (43, 37)
    )
    unpainted = (np.asarray(picture) == np.rot90(pixels(2), -1)).all(-1)
    assert 0 < (~unpainted).sum() < 100


def test_the_picture_of_a_photograph_is_smaller(asked):
    data = night(375, 1500, 1200, 300)
    (result,) = asked.post("/v1/models/brightest/predict?picture=true", content=data, headers=PNG).json()["results"]
    picture = np.asarray(drawn(result["picture"])).astype(int)
    assert picture.shape == (256, 1024, 3)
    assert result["prediction"]["width"] == 1500
    red = (picture[..., 0] > 200) & (picture[..., 1] < 60)
    assert np.argwhere(red).mean(0) == pytest.approx([300 * 256 / 375, 1200 * 1024 / 1500], abs=60)


def test_what_cannot_be_read_says_why_and_the_others_are_answered(asked, brightest):
    images = [night(37, 43, 30, 9), b"no picture", night(90, 21, 5, 70)]
    results = asked.post("/v1/models/brightest/predict?picture=true", files=forms(images)).json()["results"]
    assert [r["image"] for r in results] == ["0.png", "1.png", "2.png"]
    assert (results[1]["prediction"], results[1]["picture"], results[1]["summary"]) == (None, None, "")
    assert results[1]["error"].startswith("the data is not an image that can be read")
    assert [drawn(results[i]["picture"]).size for i in (0, 2)] == [(43, 37), (21, 90)]


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


def test_an_image_that_a_task_cannot_prepare_does_not_keep_the_others_from_their_predictions(brightest, monkeypatch):
    def refuse(_, size):
        if size == (2, 400):
            raise MaxViTError("that is a strip")
        return 64, 64

    monkeypatch.setattr(brightest.task, "prepared_size", refuse)
    with TestClient(create_app({"brightest": brightest})) as client:
        images = [night(37, 43, 30, 9), night(2, 400, 9, 1)]
        results = client.post("/v1/models/brightest/predict", files=forms(images)).json()["results"]
    assert results[0]["prediction"] is not None
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
            for method in ("predict", "to_json"):
                with monkeypatch.context() as patch:
                    patch.setattr(brightest.task, method, lambda *_, error=error: (_ for _ in ()).throw(error))
                    assert client.post("/predict", content=encoded(), headers=PNG).status_code == status
        assert client.post("/predict", content=encoded(), headers=PNG).status_code == 200


def test_what_is_no_number_is_null(brightest, monkeypatch):
    monkeypatch.setattr(brightest.task, "to_json", lambda *_: {"a": float("nan"), "b": [float("inf"), 1.5]})
    with TestClient(create_app({"brightest": brightest})) as client:
        text = client.post("/predict", content=encoded(), headers=PNG).text
    answer = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert answer["results"][0]["prediction"] == {"a": None, "b": [None, 1.5]}


def test_checkpoints_of_every_task_are_opened_and_kept_as_they_are_for_a_page(tmp_path, predictors):
    paths = {name: [tmp_path / f"{place}.safetensors"] for place, name in enumerate(SERVED)}
    for name, (path,) in paths.items():
        network_of(name).save(path)
    models, originals = _open(paths, "auto", "cpu", "fp32", "none", [COUNTING, "detection"], True)
    assert list(models) == list(originals) == SERVED
    data = encoded(1)
    for name, model in models.items():
        assert near(model([data])[0].to_json(), predictors[name]([data])[0].to_json())
    assert _open(paths, "torch", "cpu", "fp32", "none", [], False)[1] == {}
    with pytest.raises(MaxViTError, match="the originals of detection are missing"):
        create_app(models, originals={name: network for name, network in originals.items() if name != "detection"})


def test_a_task_that_no_checkpoint_is_for_is_told(tmp_path):
    network_of("aesthetics").save(tmp_path / "a.safetensors")
    sentence = "--task segmentation was given, and the checkpoints are for aesthetics"
    with pytest.raises(MaxViTError, match=sentence):
        _open({"a": [tmp_path / "a.safetensors"]}, "auto", "cpu", "fp32", "none", ["segmentation"], False)


def test_a_task_that_answers_no_question_is_no_answer():
    with pytest.raises(MaxViTError, match="masked is not served: it paints what is hidden of an image"):
        ServedModel("a", Predictor(network_of("masked")), Limits(), None, None)
