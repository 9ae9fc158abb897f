"""Similar pictures over HTTP, and the picture that the page begins with."""

import base64
import io

import numpy as np
import pytest
from pictures import bomb, encoded
from PIL import Image
from served import network
from starlette.testclient import TestClient

from copied_index import copy_index
from every_task import network_of
from listening import listening
from maxvit.cli import main
from maxvit.errors import MaxViTError
from maxvit.search.build import build_index
from maxvit.search.embedder import maker_among
from maxvit.search.index import ImageIndex
from maxvit.serve.app import create_app
from maxvit.serve.client import Client
from maxvit.serve.limits import Limits

PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with photos, a network, and the index."""
    folder = tmp_path_factory.mktemp("similar")
    network().save(folder / "small.safetensors")
    (folder / "photos").mkdir()
    for seed in range(4):
        (folder / "photos" / f"{seed}.png").write_bytes(encoded(seed))
    build_index(folder / "photos", folder / "index", folder / "small.safetensors")
    return folder


@pytest.fixture
def index(built, tmp_path):
    return ImageIndex(copy_index(built / "photos", built / "index", tmp_path)[1])


@pytest.fixture
def app(predictor, brightest, index):
    return create_app(
        {"stars": brightest, "small": predictor}, indexes={"small": index}, limits=Limits(max_pixels=9999)
    )


def test_what_is_similar_is_what_the_index_finds(app, index):
    with TestClient(app) as client:
        answer = client.post("/similar?k=3", content=encoded(2), headers=PNG).json()
        named = client.post("/v1/models/small/similar?k=3", content=encoded(2), headers=PNG).json()
        assert client.get("/v1/models/small").json()["searched"] == 4
        assert client.get("/v1/models/stars").json()["searched"] is None
    (expected,) = index.search(encoded(2), 3)
    (found,) = answer["results"]
    assert named == answer
    assert answer["model"] == "small"
    assert [picture["image"] for picture in found["pictures"]] == [match.name for match in expected.matches]
    same = pytest.approx(1.0, abs=1e-3)
    assert found["pictures"][0] == {"image": "2.png", "similarity": same, "note": "", "thumbnail": None}


def test_thumbnails_are_of_pictures_that_are_as_they_were_and_not_too_large(app, index, predictor):
    (index.photos / "1.png").write_bytes(encoded(3))
    (index.photos / "3.png").unlink()
    with TestClient(app) as client:
        (found,) = client.post("/similar?thumbnails=true", content=encoded(2), headers=PNG).json()["results"]
    shown = {picture["image"]: (picture["note"], picture["thumbnail"]) for picture in found["pictures"]}
    assert {name: note for name, (note, _) in shown.items() if note} == {"1.png": "changed", "3.png": "gone"}
    assert {name for name, (_, thumbnail) in shown.items() if thumbnail} == {"0.png", "2.png"}
    content = base64.b64decode(shown["2.png"][1].removeprefix("data:image/png;base64,"))
    assert np.array_equal(Image.open(io.BytesIO(content)), Image.open(index.photos / "2.png"))
    small = io.BytesIO()
    Image.new("RGB", (9, 9)).save(small, "PNG")
    app = create_app({"small": predictor}, indexes={"small": index}, limits=Limits(max_pixels=100))
    with TestClient(app) as client:
        (found,) = client.post("/similar?thumbnails=true", content=small.getvalue(), headers=PNG).json()["results"]
    assert all(picture["thumbnail"] is None for picture in found["pictures"])


def test_an_index_that_is_brought_up_to_date_is_served_as_it_is_then(app, index):
    with TestClient(app) as client:
        client.post("/similar", content=encoded(2), headers=PNG)
        (index.photos / "9.png").write_bytes(encoded(9))
        build_index(index.photos, index.path)
        answer = client.post("/similar?k=1", content=encoded(9), headers=PNG).json()
        assert answer["results"][0]["pictures"][0]["image"] == "9.png"
        (index.path / "index.json").unlink()
        answer = client.post("/similar", content=encoded(2), headers=PNG)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/v1/models/stars/similar", encoded(), 404),
        ("/similar?k=0", encoded(), 422),
        ("/similar?k=101", encoded(), 422),
        ("/similar", b"words", 422),
        ("/similar", bomb(20_000, 20_000), 413),
        ("/similar?name=nobody", encoded(), 404),
    ],
)
def test_what_cannot_be_answered_is_refused(app, path, content, status):
    with TestClient(app) as client:
        answer = client.post(path, content=content, headers=PNG)
    assert answer.status_code == status
    assert answer.json()["error"]


def test_it_is_described_as_its_neighbours_are_and_wants_the_key(predictor, index):
    app = create_app({"small": predictor}, indexes={"small": index}, api_key="k")
    paths = app.openapi()["paths"]
    for path in ("/similar", "/v1/models/{name}/similar"):
        described, neighbour = paths[path]["post"], paths["/predict"]["post"]
        assert described["requestBody"] == neighbour["requestBody"]
        assert described["responses"].keys() == neighbour["responses"].keys()
    with TestClient(app) as client:
        assert client.post("/similar", content=encoded(), headers=PNG).status_code == 401


def test_the_client_asks_for_names_and_similarities(app):
    with listening(app) as port:
        found = Client(f"http://127.0.0.1:{port}").similar([encoded(1), b"words"], k=2)
    assert found[0][0] == ("1.png", pytest.approx(1.0, abs=1e-3))
    assert found[1] is None


def test_an_index_of_another_network_is_refused(index, built, tmp_path, capsys):
    assert maker_among(index.manifest, {"a": [str(built / "small.safetensors")]}, index.path) == "a"
    network_of("regression").save(tmp_path / "other.safetensors")
    code = main(["serve", str(tmp_path / "other.safetensors"), "--index", str(index.path), "--port", "0"])
    assert code == 2
    assert "which is not served: give maxvit index one of" in capsys.readouterr().err


def test_the_page_begins_with_the_first_picture_that_can_be_taken(predictor):
    tried = []

    def examples():
        for name, source in (("broken", b"words"), ("large", bomb(5000, 5000)), ("good", Image.new("RGB", (50, 40)))):
            tried.append(name)
            yield name, source, "cat", "validation"
        raise AssertionError("it looks no further")

    def gone():
        raise MaxViTError("the data has gone")

    app = create_app(
        {"small": predictor, "other": predictor, "third": predictor},
        originals=dict.fromkeys(("small", "other", "third"), network()),
        examples={"small": examples, "other": gone},
        limits=Limits(max_pixels=1_000_000),
    )
    with TestClient(app) as client:
        found = [client.get("/v1/models/small/example").json() for _ in range(2)]
        others = [client.get(f"/v1/models/{name}/example").json() for name in ("other", "third")]
        assert client.get("/v1/models/fourth/example").status_code == 404
    assert found[0] == found[1]
    assert tried == ["broken", "large", "good"]
    assert (found[0]["name"], found[0]["truth"], found[0]["part"]) == ("good", "cat", "validation")
    assert Image.open(io.BytesIO(base64.b64decode(found[0]["image"]))).size == (50, 40)
    assert [other["image"] for other in others] == [None, None]
