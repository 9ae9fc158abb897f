"""The client gets what the predictor gives, and says who is at fault if it does not."""

import io
import time
from types import SimpleNamespace

import numpy as np
import pytest
from pictures import encoded, pixels
from PIL import Image

from listening import listening
from maxvit.errors import MaxViTError
from maxvit.serve import client
from maxvit.serve.app import create_app
from maxvit.serve.client import Client, ServerError
from maxvit.serve.limits import Limits


@pytest.fixture(scope="module")
def app(predictor, brightest):
    return create_app({"small": predictor, "brightest": brightest}, limits=Limits(max_images=4), api_key="k")


@pytest.fixture(scope="module")
def url(app):
    with listening(app) as port:
        yield f"http://127.0.0.1:{port}"


def test_every_kind_of_image_gets_what_the_predictor_says(url, predictor, tmp_path):
    path = tmp_path / 'a "quoted" é.png'
    path.write_bytes(encoded(1))
    images = [path, encoded(2), Image.fromarray(pixels(3)), pixels(4)]
    answers = Client(url, "k").predict(images, top_k=3, model="small")
    assert [a.name for a in answers] == ["a %22quoted%22 é.png", "image 1", "image 2", "image 3"]
    for answer, wanted in zip(answers, predictor(images), strict=True):
        found, expected = answer.prediction["classes"], wanted.to_json()["classes"][:3]
        assert [c["class"] for c in found] == [c["class"] for c in expected]
        np.testing.assert_allclose([c["probability"] for c in found], [c["probability"] for c in expected], rtol=1e-5)


def test_an_opened_photograph_is_sent_as_a_person_sees_it():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    buffer = io.BytesIO()
    Image.fromarray(np.tile(np.uint8([250, 20, 20]), (20, 40, 1))).convert("CMYK").save(buffer, "JPEG", exif=exif)
    with Image.open(buffer) as photograph:
        name, content = client.file_of(photograph, 3)
    with Image.open(io.BytesIO(content)) as sent:
        assert (name, sent.mode, sent.size) == ("image 3", "RGB", (20, 40))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_values_above_8_bits_are_sent_as_they_are(dtype):
    values = (np.arange(20).reshape(4, 5) * 0.05 if dtype is np.float32 else np.arange(20).reshape(4, 5)).astype(dtype)
    for image in (values, Image.fromarray(values)):
        with Image.open(io.BytesIO(client.file_of(image, 0)[1])) as sent:
            assert np.array_equal(np.asarray(sent), values)


def test_one_image_needs_no_list(url):
    asking = Client(url, "k")
    assert asking.predict(pixels(1)) == asking.predict([pixels(1)])


def test_embeddings_are_vectors_and_none_for_what_cannot_be_read(url, predictor):
    good, bad = Client(url, "k").embed([encoded(1), b"bad"])
    (image,) = predictor.prepare(encoded(1)).images
    np.testing.assert_allclose(good, predictor.engine.with_embeddings(image[None])[1][0], rtol=1e-4, atol=1e-6)
    assert bad is None


def test_five_classes_are_named_unless_another_number_is_given(url):
    asking = Client(url, "k")
    assert [len(asking.predict(pixels(1), k)[0].prediction["classes"]) for k in (None, 2)] == [5, 2]


def test_predictions_of_a_user_s_task_and_pictures_where_they_are_wanted(url, brightest):
    images = [pixels(1), b"bad", pixels(2, 84, 21)]
    plain = Client(url, "k").predict(images, model="brightest")
    assert all(answer.picture is None for answer in plain)
    answers = Client(url, "k").predict(images, model="brightest", pictures=True)
    assert [a.name for a in answers] == ["image 0", "image 1", "image 2"]
    assert (answers[1].prediction, answers[1].picture, answers[1].summary) == (None, None, "")
    assert "not an image that can be read" in answers[1].error
    for i in (0, 2):
        (wanted,) = brightest([images[i]])
        assert answers[i].prediction == plain[i].prediction == wanted.to_json()
        assert answers[i].summary == wanted.summary
        picture = wanted.draw(Image.fromarray(images[i]))
        assert np.array_equal(np.asarray(answers[i].picture), np.asarray(picture))


def test_models_and_readiness(url):
    assert [m["name"] for m in Client(url, "k").models()] == ["small", "brightest"]
    assert Client(url).ready()
    assert not Client("http://127.0.0.1:9").ready()


def test_what_the_server_refuses_is_the_caller_s_mistake(url, tmp_path):
    for images, options, sentence in (
        (b"bad", {}, "not an image that can be read"),
        ([pixels()] * 5, {}, "more than 4 images"),
        (pixels(), {"model": "../x"}, "Not Found|there is no model"),
        (pixels(), {"top_k": 0}, "top_k"),
        (pixels(), {"coverage": 0.9}, "task.coverage is 0.9: the network has no thresholds for it"),
        (pixels(), {"top_k": 5, "model": "brightest"}, "unknown setting 'task.top_k'"),
        ([], {}, "there are no images"),
        (tmp_path / "gone.png", {}, "gone.png cannot be read"),
    ):
        with pytest.raises(MaxViTError, match=sentence):
            Client(url, "k").predict(images, **options)
    with pytest.raises(MaxViTError, match="API key is missing or wrong"):
        Client(url, "wrong").models()
    with pytest.raises(MaxViTError, match="the address is 'localhost:8000'"):
        Client("localhost:8000")


def test_a_busy_server_is_no_mistake_and_patience_asks_again(url, app, monkeypatch):
    room, naps = app.state.service.images, []

    def nap(seconds):
        naps.append(seconds)
        room.taken = 0 if len(naps) == 2 else room.taken

    monkeypatch.setattr(client, "time", SimpleNamespace(sleep=nap, monotonic=time.monotonic))  # others sleep too
    room.taken = room.places
    with pytest.raises(ServerError, match="too busy") as caught:
        Client(url, "k").predict(pixels())
    assert (caught.value.status, caught.value.retry_after_s, naps) == (503, 1.0, [])
    assert len(Client(url, "k", patience_s=1000).predict(pixels())) == 1
    assert naps == [1.0, 1.0]


def test_nobody_there_is_told(url):
    with pytest.raises(ServerError, match=r"127\.0\.0\.1:9 does not answer"):
        Client("http://127.0.0.1:9").predict(pixels())
