"""The server keeps to its own description, whatever fits or does not fit into it."""

import pytest

from listening import listening
from maxvit.serve.app import create_app
from maxvit.serve.limits import Limits


def test_each_end_point_describes_its_body_its_answer_and_its_refusals(predictor):
    paths = create_app({"small": predictor}, api_key="k").openapi()["paths"]
    posts = [p for p in paths if "post" in paths[p]]
    assert sorted(posts) == ["/embed", "/predict", "/v1/models/{name}/embed", "/v1/models/{name}/predict"]
    for path in posts:
        described = paths[path]["post"]
        assert {"application/json", "multipart/form-data", "image/jpeg"} <= set(described["requestBody"]["content"])
        assert {"200", "401", "404", "408", "413", "415", "422", "503"} <= set(described["responses"])
        assert described["security"]


@pytest.mark.parametrize("what", ["predict", "embed"])
def test_a_model_is_named_in_the_path_or_in_the_query(predictor, what):
    paths = create_app({"small": predictor}).openapi()["paths"]
    for path, place in ((f"/{what}", "query"), (f"/v1/models/{{name}}/{what}", "path")):
        (name,) = [p for p in paths[path]["post"]["parameters"] if p["name"] == "name"]
        assert (name["in"], name["required"]) == (place, place == "path")


def test_predictions_have_one_form_for_every_task(predictor, brightest):
    described = create_app({"small": predictor, "stars": brightest}).openapi()
    for path in ("/predict", "/v1/models/{name}/predict"):
        schema = described["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert schema["$ref"].rpartition("/")[2] == "Predictions"


@pytest.mark.full
@pytest.mark.parametrize("first", ["small", "stars"])
@pytest.mark.filterwarnings("ignore")  # of schemathesis and of Pillow's readers
def test_schemathesis_finds_no_answer_that_is_not_described(predictor, brightest, first):
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_headers_conformance,
        response_schema_conformance,
        status_code_conformance,
        unsupported_method,
    )

    checks = [not_a_server_error, status_code_conformance, content_type_conformance]
    checks += [response_headers_conformance, response_schema_conformance, unsupported_method]
    models = {"small": predictor, "stars": brightest}
    app = create_app({first: models[first], **models}, limits=Limits(max_pixels=1_000_000))
    tried = 0
    with listening(app) as port:
        schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")
        for operation in (result.ok() for result in schema.get_all_operations()):

            @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), database=None)
            @given(case=operation.as_strategy())
            def conforms(case):
                nonlocal tried
                tried += 1
                case.call_and_validate(checks=checks)

            conforms()
    assert tried > 400
