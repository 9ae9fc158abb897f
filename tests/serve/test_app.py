"""The end points: the predictions are the predictor's, and what cannot be answered is refused with a reason."""

import base64
import dataclasses
import json
import re

import numpy as np
import pytest
from pictures import encoded, pixels
from PIL import Image
from served import NAMES, network
from starlette.testclient import TestClient

from maxvit.errors import MaxViTError
from maxvit.inference.predictor import Predictor
from maxvit.layers.novelty import Novelty
from maxvit.serve.app import create_app

PNG = {"Content-Type": "image/png"}


def same(given, prediction):
    found, wanted = given["prediction"]["classes"], prediction.to_json()["classes"]
    assert [c["class"] for c in found] == [c["class"] for c in wanted]
    np.testing.assert_allclose([c["probability"] for c in found], [c["probability"] for c in wanted], rtol=1e-5)
    assert given["summary"] == prediction.summary


def test_the_pictures_of_these_tests_get_different_predictions(predictor):
    assert len({prediction.summary for prediction in predictor([encoded(i) for i in range(5)])}) == 5


def test_raw_bytes_a_form_and_base64_get_what_the_predictor_says(shared, predictor):
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
    assert turned.summary != plain.summary
    same(shared.post("/predict", content=data, headers=PNG).json()["results"][0], turned)


def test_several_are_answered_in_order_and_the_unreadable_says_why(shared, predictor):
    files = [("image", (f"{i}.png", encoded(i))) for i in range(4)]
    files[2] = ("image", ("../2.png", b"no picture"))
    results = shared.post("/predict", files=files).json()["results"]
    assert [r["image"] for r in results] == ["0.png", "1.png", "../2.png", "3.png"]
    assert (results[2]["prediction"], results[2]["summary"]) == (None, "")
    assert results[2]["error"].startswith("the data is not an image that can be read")
    for i in (0, 1, 3):
        same(results[i], predictor([encoded(i)])[0])


@pytest.mark.parametrize(("top_k", "given"), [(1, 1), (3, 3), (50, 5)])
def test_top_k_is_at_most_the_number_of_classes(shared, top_k, given):
    answer = shared.post(f"/predict?top_k={top_k}", content=encoded(), headers=PNG)
    assert len(answer.json()["results"][0]["prediction"]["classes"]) == given


def test_a_set_of_classes_has_the_coverage_that_is_asked():
    known = network()
    known.config = dataclasses.replace(known.config, set_thresholds=(0.2,) * 60)
    with TestClient(create_app({"known": Predictor(known)})) as client:
        said = client.post("/predict?coverage=0.75", content=encoded(), headers=PNG).json()["results"][0]
        classes = said["prediction"]["classes"]
        assert said["prediction"]["set"] == [c["class"] for c in classes if c["probability"] >= 0.2] != []
        assert (said["prediction"]["coverage"], said["summary"][:8]) == (0.75, "75% set:")
        answer = client.post("/predict?coverage=0.99", content=encoded(), headers=PNG)
        assert (answer.status_code, "takes 99 validation images" in answer.json()["error"]) == (422, True)


def test_an_image_that_is_none_of_the_classes_is_said_to_be_so():
    known = network()
    known.set_novelty(Novelty(sum(known.config.channels), 2))
    predictor = Predictor(known)
    with TestClient(create_app({"known": predictor})) as client:
        said = client.post("/predict", content=encoded(3), headers=PNG).json()["results"][0]
    (wanted,) = predictor([encoded(3)])
    assert said["prediction"]["novelty"] == pytest.approx(wanted.to_json()["novelty"], rel=1e-4)
    assert said["prediction"]["none_of_these"] == said["summary"].startswith("none of these")


def test_an_embedding_is_what_the_classifier_sees(shared, predictor):
    model = predictor.engine.network
    images = predictor.prepare(encoded(4)).images[0][None]
    wanted = model.forward_head(model.forward_features(images), pre_logits=True)[0]
    for path in ("/embed", "/v1/models/small/embed"):
        answer = shared.post(path, content=encoded(4), headers=PNG)
        np.testing.assert_allclose(answer.json()["results"][0]["embedding"], wanted.tolist(), rtol=1e-4, atol=1e-6)


def test_an_engine_without_embeddings_says_so(client, predictor, monkeypatch):
    def refuse(_):
        raise MaxViTError("gives class scores alone")

    monkeypatch.setitem(client.app.state.service.models["small"].batcher._computes, "embed", refuse)
    answer = client.post("/embed", content=encoded(), headers=PNG)
    assert (answer.status_code, answer.json()) == (422, {"error": "gives class scores alone"})
    assert client.post("/predict", content=encoded(), headers=PNG).status_code == 200


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


def test_several_networks_and_mirror_images_answer_as_their_predictor_does():
    several = Predictor([network(seed=1), network((64, 64), seed=2)], tta="flip")
    with TestClient(create_app({"both": several})) as client:
        results = client.post("/predict", content=encoded(3), headers=PNG).json()["results"]
        same(results[0], several([encoded(3)])[0])
        assert client.get("/v1/models/both").json()["tta"] == "flip"
        refused = client.post("/embed", content=encoded(3), headers=PNG)
        assert (refused.status_code, "are of one network" in refused.json()["error"]) == (422, True)


def test_networks_that_decode_deep_images_in_different_ways_are_not_served_together():
    deep = network(seed=1)
    deep.preprocessing = dataclasses.replace(deep.preprocessing, value_range=(0, 4095))
    with pytest.raises(MaxViTError, match="the networks of both see other values as black and white"):
        create_app({"both": Predictor([network(), deep])})


def test_images_of_many_sizes_are_answered_alike(predictor):
    mixed = Predictor(network((64, 64), "aspect"))
    data = [encoded(1), encoded(2)]
    shapes = {mixed.prepare(pixels(0, h, w)).images[0].shape for h, w in ((37, 43), (20, 90))}
    assert len(shapes) == 2
    with TestClient(create_app({"mixed": mixed})) as client:
        results = client.post("/predict", files=[("image", (str(i), d)) for i, d in enumerate(data)]).json()["results"]
        for result, wanted in zip(results, mixed(data), strict=True):
            same(result, wanted)


def test_a_mistake_of_ours_is_a_500_with_its_id_and_the_next_request_is_answered(predictor, monkeypatch):
    with TestClient(create_app({"small": predictor}), raise_server_exceptions=False) as client:
        with monkeypatch.context() as patch:
            patch.setattr(predictor.task, "to_json", lambda *_: 1 / 0)
            answer = client.post("/predict", content=encoded(), headers=PNG)
        assert answer.status_code == 500
        assert answer.headers["X-Request-ID"] in answer.json()["error"]
        assert client.post("/predict", content=encoded(), headers=PNG).status_code == 200


@pytest.mark.parametrize("header", [{"Authorization": "Bearer s3cret"}, {"X-API-Key": "s3cret"}])
def test_a_key_opens_what_is_closed_without_it(predictor, header):
    with TestClient(create_app({"small": predictor}, api_key="s3cret")) as client:
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
    from maxvit.serve.request_log import JsonLines

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
