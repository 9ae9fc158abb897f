"""What is too much, too slow or no image is refused with a reason, and leaves nothing behind."""

import asyncio
import base64
import re

import pytest
from pictures import bomb, encoded
from starlette.testclient import TestClient

from maxvit.errors import MaxViTError
from maxvit.serve.app import create_app
from maxvit.serve.limits import Limits

PNG = {"Content-Type": "image/png"}


def app_client(predictor, **limits):
    return TestClient(create_app({"small": predictor}, limits=Limits(**limits)))


@pytest.mark.parametrize(
    ("body", "kind", "status", "sentence"),
    [
        (b"", "image/png", 422, "there is no image in the body"),
        (b"no picture", "image/png", 422, "not an image that can be read"),
        (encoded()[:500], "image/png", 422, "damaged"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image/eps", 422, "not an image that can be read"),
        (bomb(8000, 8000), "image/png", 413, "8000 x 8000 pixels"),
        (bomb(60000, 60000), "image/png", 413, "60000 x 60000 pixels"),
        (b"\xff\xd8" + b"\xff\xda" * 101, "image/jpeg", 422, "more than 100 scans"),
        (encoded(), "text/plain", 415, "the content type is text/plain"),
        (encoded(), "", 415, "the content type is not given"),
        (b"{", "application/json", 422, "Invalid JSON"),
        (b"[" * 100_000, "application/json", 422, "JSON"),
        (b"{}", "application/json", 422, "either image or images"),
        (b'{"image": "a", "images": ["a"]}', "application/json", 422, "either image or images"),
        (b'{"image": "?"}', "application/json", 422, "not in base64"),
        (b'{"image": "\xc3\xa9"}', "application/json", 422, "not in base64"),
        (b'{"picture": "a"}', "application/json", 422, "picture"),
        (b"x", "multipart/form-data", 422, "form cannot be read"),
        (b"x", "multipart/form-data; boundary=x", 422, "form cannot be read|no image"),
    ],
)
def test_what_is_no_image_is_refused_with_a_reason(shared, body, kind, status, sentence):
    answer = shared.post("/predict", content=body, headers={"Content-Type": kind} if kind else {})
    assert answer.status_code == status
    assert re.search(sentence, answer.json()["error"])


def test_a_body_in_another_encoding_is_refused(shared):
    answer = shared.post("/predict", content=b"x", headers=PNG | {"Content-Encoding": "gzip"})
    assert answer.status_code == 415


def test_a_body_is_read_no_further_than_allowed(predictor):
    read = []

    def chunks():
        for i in range(1000):
            read.append(i)
            yield b"x" * 100

    async def post(app):  # a server would hand on one chunk at a time
        sent, source = [], chunks()

        async def receive():
            return {"type": "http.request", "body": next(source), "more_body": True}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "client": ("1.2.3.4", 5)}
        await app(scope | {"headers": [(b"content-type", b"image/png")]}, receive, send)
        return sent[0]["status"]

    app = create_app({"small": predictor}, limits=Limits(max_bytes=1000))
    assert asyncio.run(post(app)) == 413
    assert len(read) == 11
    assert app.state.service.memory.taken == 0


def test_the_length_that_is_announced_is_enough_to_refuse(predictor):
    with app_client(predictor, max_bytes=1000) as client:
        answer = client.post("/predict", content=b"x" * 1001, headers=PNG)
    assert answer.status_code == 413
    assert "more than 1000 bytes" in answer.json()["error"]


@pytest.mark.parametrize("form", [True, False])
def test_more_images_than_allowed_are_refused(predictor, form):
    with app_client(predictor, max_images=2) as client:
        if form:
            answer = client.post("/predict", files=[("image", ("a", encoded()))] * 3)
        else:
            answer = client.post("/predict", json={"images": [base64.b64encode(encoded()).decode()] * 3})
    assert answer.status_code == 413
    assert "more than 2 images" in answer.json()["error"]


def test_unknown_paths_methods_and_parameters_are_refused_in_the_same_shape(shared):
    for answer, status in (
        (shared.get("/nothing"), 404),
        (shared.get("/predict"), 405),
        (shared.post("/predict?top_k=0", content=encoded(), headers=PNG), 422),
        (shared.post("/predict?top_k=many", content=encoded(), headers=PNG), 422),
    ):
        assert answer.status_code == status
        assert list(answer.json()) == ["error"]


def test_with_no_place_left_requests_are_refused_and_told_when_to_come_again(client):
    service = client.app.state.service
    service.images.taken, service.images.seconds_each = 64, 0.1
    answer = client.post("/predict", content=encoded(), headers=PNG)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
    service.images.taken = 63  # one is left, and two are wanted
    assert client.post("/predict", files=[("image", ("a", encoded()))] * 2).status_code == 503
    assert client.post("/predict", content=encoded(), headers=PNG).status_code == 200
    assert service.images.taken == 63


def test_with_no_memory_left_for_bodies_requests_are_refused(client):
    service = client.app.state.service
    service.memory.taken = service.memory.places
    assert client.post("/predict", content=encoded(), headers=PNG).status_code == 503
    assert service.memory.taken == service.memory.places


def test_what_takes_too_long_is_given_up_and_its_place_is_free_again(predictor, monkeypatch):
    app = create_app({"small": predictor}, limits=Limits(timeout_s=1))
    with TestClient(app) as client:

        async def never(*_):
            await asyncio.sleep(1000)

        monkeypatch.setattr(app.state.service.models["small"].batcher, "compute", never)
        answer = client.post("/predict", content=encoded(), headers=PNG)
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    assert "no answer within 1 s" in answer.json()["error"]
    assert (app.state.service.images.taken, app.state.service.memory.taken) == (0, 0)


@pytest.mark.parametrize(
    "name", ["max_bytes", "max_pixels", "max_images", "queue", "max_batch", "timeout_s", "decoders"]
)
def test_limits_below_one_are_refused(name):
    with pytest.raises(MaxViTError, match=f"{name} is 0; it takes a finite number from 1 up"):
        Limits(**{name: 0})


def test_a_request_that_could_never_be_taken_is_refused_at_the_start():
    with pytest.raises(MaxViTError, match="max_images is 32 and queue 8"):
        Limits(queue=8)
    with pytest.raises(MaxViTError, match="no network"):
        create_app({})
