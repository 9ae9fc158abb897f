"""The end points: the answers are the predictor's, and what cannot be answered is refused with a reason."""

import asyncio
import base64
import json
import re

import numpy as np
import pytest
from pictures import bomb, encoded, pixels
from PIL import Image
from served import NAMES, network
from starlette.testclient import TestClient

from maxvit.errors import MaxViTError
from maxvit.inference.predictor import Predictor
from maxvit.serve.limits import Limits
from maxvit.serve.server import create_app

PNG = {"Content-Type": "image/png"}


def app_client(predictor, api_key=None, **limits):
    return TestClient(create_app({"small": predictor}, limits=Limits(**limits), api_key=api_key))


def same(given, prediction):
    assert [c["class"] for c in given["classes"]] == [name for name, _ in prediction.classes]
    np.testing.assert_allclose(
        [c["probability"] for c in given["classes"]], [p for _, p in prediction.classes], rtol=1e-5
    )


def test_the_pictures_of_these_tests_get_different_answers(predictor):
    answers = predictor([encoded(i) for i in range(5)])
    assert len({answer.classes[0] for answer in answers}) == 5


def test_raw_bytes_a_form_and_base64_get_the_predictor_s_answer(shared, predictor):
    data = encoded(3)
    (wanted,) = predictor([data])
    text = base64.b64encode(data).decode()
    answers = [
        shared.post("/predict", content=data, headers=PNG),
        shared.post("/predict", files={"image": ("a.png", data)}),
        shared.post("/predict", json={"image": text}),
        shared.post("/predict", json={"images": [f"data:image/png;base64,{text}"]}),
        shared.post("/v1/models/small/predict", content=data, headers=PNG),
    ]
    for answer, name in zip(answers, ["image 0", "a.png", *["image 0"] * 3], strict=True):
        assert answer.status_code == 200
        (result,) = answer.json()["results"]
        assert (answer.json()["model"], result["image"], result["error"]) == ("small", name, None)
        same(result, wanted)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_what_cameras_and_browsers_make_is_read(shared, predictor, kind):
    data = encoded(2, kind)
    answer = shared.post("/predict", content=data, headers={"Content-Type": "image/x"})
    same(answer.json()["results"][0], predictor([data])[0])


def test_a_picture_is_turned_as_its_camera_says(shared, predictor):
    exif = Image.Exif()
    exif[274] = 6
    data = encoded(2, "PNG", exif=exif)
    turned, plain = predictor([data, encoded(2)])
    assert turned.classes != plain.classes
    same(shared.post("/predict", content=data, headers=PNG).json()["results"][0], turned)


def test_several_are_answered_in_order_and_the_unreadable_says_why(shared, predictor):
    files = [("image", (f"{i}.png", encoded(i))) for i in range(4)]
    files[2] = ("image", ("../2.png", b"no picture"))
    results = shared.post("/predict", files=files).json()["results"]
    assert [r["image"] for r in results] == ["0.png", "1.png", "../2.png", "3.png"]
    assert results[2]["classes"] == []
    assert results[2]["error"].startswith("the data is not an image that can be read")
    for i in (0, 1, 3):
        same(results[i], predictor([encoded(i)])[0])


@pytest.mark.parametrize(("top_k", "given"), [(1, 1), (3, 3), (50, 5)])
def test_top_k_is_at_most_the_number_of_classes(shared, top_k, given):
    answer = shared.post(f"/predict?top_k={top_k}", content=encoded(), headers=PNG)
    assert len(answer.json()["results"][0]["classes"]) == given


def test_an_embedding_is_what_the_classifier_sees(shared, predictor):
    model = predictor.engine.model
    images = predictor.prepare(encoded(4))[None]
    wanted = model.forward_head(model.forward_features(images), pre_logits=True)[0]
    for path in ("/embed", "/v1/models/small/embed"):
        answer = shared.post(path, content=encoded(4), headers=PNG)
        np.testing.assert_allclose(answer.json()["results"][0]["embedding"], wanted.tolist(), rtol=1e-4, atol=1e-6)


def test_models_answer_by_name_and_the_first_without(predictor):
    other = Predictor(network(seed=1))
    with TestClient(create_app({"one": predictor, "two": other})) as client:
        listed = client.get("/v1/models").json()["models"]
        assert [(m["name"], m["classes"], m["image_size"]) for m in listed] == [
            ("one", 5, [32, 41]),
            ("two", 5, [32, 41]),
        ]
        assert client.get("/v1/models/two").json()["class_names"] == NAMES
        for path, wanted in (("/predict", predictor), ("/v1/models/two/predict", other)):
            same(client.post(path, content=encoded(), headers=PNG).json()["results"][0], wanted([encoded()])[0])
        missing = client.post("/v1/models/three/predict", content=encoded(), headers=PNG)
        assert (missing.status_code, missing.json()) == (
            404,
            {"error": "there is no model 'three'; there are one, two"},
        )


def test_images_of_many_sizes_are_answered_alike(predictor):
    mixed = Predictor(network((64, 64), "aspect"))
    data = [encoded(1), encoded(2)]
    shapes = {mixed.prepare(pixels(0, h, w)).shape for h, w in ((37, 43), (20, 90))}
    assert len(shapes) == 2
    with TestClient(create_app({"mixed": mixed})) as client:
        results = client.post("/predict", files=[("image", (str(i), d)) for i, d in enumerate(data)]).json()["results"]
        for result, wanted in zip(results, mixed(data), strict=True):
            same(result, wanted)


@pytest.mark.parametrize(
    ("body", "kind", "status", "sentence"),
    [
        (b"", "image/png", 422, "there is no image in the body"),
        (b"no picture", "image/png", 422, "not an image that can be read"),
        (encoded()[:500], "image/png", 422, "damaged"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image/eps", 422, "not an image that can be read"),
        (bomb(8000, 8000), "image/png", 413, "8000 x 8000 pixels"),
        (bomb(60000, 60000), "image/png", 413, "far more pixels"),
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


def test_a_mistake_of_ours_is_a_500_with_its_id_and_the_next_request_is_answered(predictor, monkeypatch):
    with TestClient(create_app({"small": predictor}), raise_server_exceptions=False) as client:
        with monkeypatch.context() as patch:
            patch.setattr(Predictor, "name", lambda *_: 1 / 0)
            answer = client.post("/predict", content=encoded(), headers=PNG)
        assert answer.status_code == 500
        assert answer.headers["X-Request-ID"] in answer.json()["error"]
        assert client.post("/predict", content=encoded(), headers=PNG).status_code == 200


@pytest.mark.parametrize("header", [{"Authorization": "Bearer s3cret"}, {"X-API-Key": "s3cret"}])
def test_a_key_opens_what_is_closed_without_it(predictor, header):
    with app_client(predictor, api_key="s3cret") as client:
        for method, path in (("POST", "/predict"), ("POST", "/embed"), ("GET", "/v1/models"), ("GET", "/metrics")):
            for wrong in (
                {},
                {"Authorization": "Bearer s3cre"},
                {"X-API-Key": "é".encode()},
                {"Authorization": "Basic x"},
            ):
                answer = client.request(method, path, headers=wrong)
                assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert client.request(method, path, headers=header).status_code != 401
        for path in ("/health", "/ready", "/openapi.json", "/docs"):
            assert client.get(path).status_code == 200


def test_a_request_keeps_its_id_if_that_is_harmless(shared):
    assert shared.get("/health", headers={"X-Request-ID": "a-1.b_2"}).headers["X-Request-ID"] == "a-1.b_2"
    for bad in ("a b", "x" * 65, '{"a'):
        given = shared.get("/health", headers={"X-Request-ID": bad}).headers["X-Request-ID"]
        assert re.fullmatch("[0-9a-f]{16}", given)


def test_each_request_is_one_line_of_json_in_the_log(shared, caplog):
    from maxvit.serve.logs import JsonLines

    caplog.set_level("INFO", "maxvit.serve")
    shared.post("/predict", content=encoded(), headers=PNG | {"X-Request-ID": "seven"})
    (record,) = [r for r in caplog.records if r.name == "maxvit.serve"]
    line = JsonLines().format(record)
    assert "\n" not in line
    fields = json.loads(line)
    assert (fields["request_id"], fields["method"], fields["path"], fields["status"]) == (
        "seven",
        "POST",
        "/predict",
        200,
    )


def test_metrics_count_requests_images_and_batches_under_names_that_do_not_grow(client):
    client.post("/predict", files=[("image", ("a", encoded())), ("image", ("b", b"bad"))])
    for i in range(3):
        client.get(f"/nothing/{i}")
    text = client.get("/metrics").text
    for line in (
        'maxvit_requests_total{method="POST",route="/predict",status="200"} 1.0',
        'maxvit_requests_total{method="GET",route="other",status="404"} 3.0',
        'maxvit_images_total{model="small",outcome="answered"} 1.0',
        'maxvit_images_total{model="small",outcome="refused"} 1.0',
        "maxvit_images_in_hand 0.0",
        "maxvit_body_bytes 0.0",
    ):
        assert line in text.splitlines()


def test_it_is_ready_while_it_runs_and_alive_always(predictor):
    app = create_app({"small": predictor})
    client = TestClient(app)  # nothing has been started
    assert (client.get("/health").status_code, client.get("/ready").status_code) == (200, 503)
    with client:
        assert client.get("/ready").json() == {"status": "ready"}
        app.state.service.ready = False
        assert client.get("/ready").headers["Retry-After"] == "1"
        assert client.post("/predict", content=encoded(), headers=PNG).status_code == 200


def test_the_page_of_documentation_needs_no_other_host(shared):
    page = shared.get("/docs").text
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(links) == 3
    for link in links:
        assert link.startswith("/")
        assert shared.get(link).status_code == 200
    assert "http:" not in page
    assert "https:" not in page


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
