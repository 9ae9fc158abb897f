"""What an index answers: compared with the definition, and sentences for what it cannot."""

import shutil

import numpy as np
import pytest
import torch
from drawn import draw
from PIL import Image

from copied_index import copy_index, edit
from every_task import TASKS, network_of
from maxvit import MaxViTError, Predictor
from maxvit.checking.fingerprints import Fingerprints
from maxvit.search import approximate
from maxvit.search.approximate import make_approximate
from maxvit.search.build import build_index
from maxvit.search.index import ImageIndex
from maxvit.search.manifest import Manifest, Origin, Part, read_manifest
from maxvit.search.nearest import exact, nearest
from maxvit.search.rows import Rows, make_looks
from maxvit.tasks.network import with_embeddings


@pytest.fixture
def copied(indexed, tmp_path):
    """An index that may be changed, and its photos."""
    return copy_index(*indexed, tmp_path)


@pytest.mark.parametrize(
    "task",
    [pytest.param(name, marks=[] if name in ("classification", "masked") else pytest.mark.full) for name in TASKS],
)
def test_similarities_are_cosines_of_what_the_network_of_any_task_sees(task, indexed, tmp_path):
    network = network_of(task)
    network.save(tmp_path / "network.safetensors")
    build_index(indexed[0], tmp_path / "index", str(tmp_path / "network.safetensors"))
    predictor, paths = Predictor(network), sorted(indexed[0].iterdir())
    seen = [_seen(network, predictor.prepare(path).images[0][None], task) for path in paths]
    expected = {
        path.name: float(features @ seen[2] / np.linalg.norm(features) / np.linalg.norm(seen[2]))
        for path, features in zip(paths, seen, strict=True)
    }
    (answer,) = ImageIndex(tmp_path / "index").search(paths[2], 50)
    assert {match.name for match in answer.matches} == expected.keys()
    for match in answer.matches:
        assert match.similarity == pytest.approx(expected[match.name], abs=2e-3)
    assert [m.similarity for m in answer.matches] == sorted((m.similarity for m in answer.matches), reverse=True)


@torch.no_grad()
def _seen(network, image, task):
    """What is compared, of one picture."""
    outputs, seen = (found[0] for found in with_embeddings(network, image))
    if task != "classification":
        return seen.numpy()
    said = outputs.numpy() - outputs.numpy().mean()
    return np.concatenate([seen.numpy() / np.linalg.norm(seen), said / np.linalg.norm(said)])


def test_each_query_gets_its_own_answer_in_order_whatever_its_size(indexed, tmp_path):
    photos, index = indexed
    (tmp_path / "words.png").write_text("words")
    queries = [photos / "3.png", tmp_path / "words.png", photos / "2.png", Image.open(photos / "5.png")]
    answers = ImageIndex(index).search(queries, 1)
    assert [[match.name for match in answer.matches] for answer in answers] == [["3.png"], [], ["2.png"], ["5.png"]]
    assert [answer.name for answer in answers] == [*map(str, queries[:3]), "image 3"]
    assert [bool(answer.error) for answer in answers] == [False, True, False, False]


def test_of_any_parts_the_exact_nearest_are_found():
    random = np.random.default_rng(0)
    values = random.integers(-2, 3, (23, 5)).astype(np.float16)  # with ties: the earlier goes first
    queries = random.integers(-2, 3, (3, 5)).astype(np.float32)
    rows, cosines = exact([values[:7], values[7:8], values[8:]], queries, 11)
    whole = queries @ values.astype(np.float32).T
    assert (rows == np.argsort(-whole, axis=1, kind="stable")[:, :11]).all()
    assert (cosines == np.take_along_axis(whole, rows, 1)).all()


def test_a_large_index_is_searched_by_candidates_that_are_compared_exactly(tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(approximate, "LARGE", 400)
    random = np.random.default_rng(0)
    values = random.normal(size=(400, 16)).astype(np.float32)
    values = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float16)
    parts = []
    for number, rows in enumerate(np.split(np.arange(400), [150])):
        n = len(rows)
        looks = make_looks(np.ones((n, 2), np.int32), np.zeros(n, "S32"), np.zeros(n, "S32"), Fingerprints.empty(n))
        part = Part(file=f"part-{number:06d}.safetensors", images=n)
        Rows([str(i) for i in rows], np.zeros((n, 2), np.int64), values[rows], looks).write(tmp_path / part.file)
        parts.append(part)
    origin = Origin(model="small", sha256="0", features="embedding")
    manifest = Manifest(photos="/", origin=origin, preprocessing={}, width=16, parts=tuple(parts))
    name = make_approximate(tmp_path, manifest)
    fast = manifest.model_copy(update={"approximate": name})
    queries = values[[3, 160, 399]].astype(np.float32)
    slow_rows, slow = nearest(tmp_path, manifest, queries, 5)
    rows, cosines = nearest(tmp_path, fast, queries, 5)
    assert (rows == slow_rows).mean() >= 0.9
    np.testing.assert_allclose(cosines[:, 0], slow[:, 0], rtol=1e-5)
    assert make_approximate(tmp_path, fast) == name


def test_pictures_that_changed_or_vanished_since_are_marked(copied):
    photos, index = copied
    draw(photos / "1.png", 50)
    (photos / "4.png").unlink()
    (answer,) = ImageIndex(index).search(photos / "2.png", 10)
    assert {match.name: match.note for match in answer.matches if match.note} == {"1.png": "changed", "4.png": "gone"}


def test_duplicates_are_those_of_check_without_what_changed_since(copied):
    photos, index = copied
    shutil.copy(photos / "2.png", photos / "again.png")
    picture = Image.open(photos / "3.png")
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photos / "mirrored.png")
    picture.save(photos / "near.jpg", quality=80)
    shutil.copy(photos / "5.png", photos / "later.png")
    build_index(photos, index)
    draw(photos / "later.png", 60)
    found, stale = ImageIndex(index).duplicates()
    assert {(one.name, one.of, one.kind) for one in found} == {
        ("again.png", "2.png", "same file"),
        ("mirrored.png", "3.png", "mirrored"),
        ("near.jpg", "3.png", "near copy"),
    }
    assert stale == ["later.png"]


def test_clusters_hold_each_picture_once_and_what_is_alike_together(tmp_path, checkpoint):
    pytest.importorskip("faiss")
    for i in range(9):
        level = 20 + 3 * i if i < 6 else 220 + 3 * i
        place = tmp_path / "photos" / f"{i}.png"
        place.parent.mkdir(exist_ok=True)
        pixels = np.full((64, 64, 3), level, np.uint8)
        pixels[::2, :: 2 if i < 6 else 1] //= 2
        Image.fromarray(pixels).save(place)
    build_index(tmp_path / "photos", tmp_path / "index", checkpoint)
    index = ImageIndex(tmp_path / "index")
    clusters = index.clusters(2)
    assert [sorted(cluster.members) for cluster in clusters] == [
        [f"{i}.png" for i in range(6)],
        [f"{i}.png" for i in range(6, 9)],
    ]
    assert list(clusters[0].similarities) == sorted(clusters[0].similarities, reverse=True)
    with pytest.raises(MaxViTError, match="clusters is 10, and the index holds 9"):
        index.clusters(10)


def test_the_network_may_move_and_another_is_refused(copied, checkpoint, tmp_path):
    photos, index = copied
    moved = str(shutil.copy(checkpoint, tmp_path / "moved.safetensors"))
    edit(index, origin=read_manifest(index).origin.model_dump() | {"model": str(tmp_path / "was_here.safetensors")})
    opened = ImageIndex(index)
    with pytest.raises(MaxViTError, match=r"was_here.safetensors, which made .* is not there: say where"):
        opened.search(photos / "1.png")
    assert opened.search(photos / "1.png", 1, model=moved)[0].matches[0].name == "1.png"
    network_of("regression").save(tmp_path / "other.safetensors")
    with pytest.raises(MaxViTError, match="is another network, whose embeddings cannot be compared"):
        opened.search(photos / "1.png", model=str(tmp_path / "other.safetensors"))
    with pytest.raises(MaxViTError, match="have 3 features"):
        opened.nearest(np.ones((1, 3), np.float32), 1)


def test_a_name_that_leads_out_of_the_photos_is_refused(copied):
    opened = ImageIndex(copied[1])
    for name in ("../secret.png", "/etc/passwd", "a/../../x.png", "a\\..\\x.png", "C:x.png"):
        with pytest.raises(MaxViTError, match="is not in the folder of its photos"):
            opened.thumbnail(name)
    assert max(opened.thumbnail("1.png", side=20).size) == 20
    with pytest.raises(MaxViTError, match="pixels"):
        opened.thumbnail("1.png", max_pixels=100)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda index: shutil.rmtree(index), "does not exist"),
        (lambda index: (index / "index.json").unlink(), "is not an index"),
        (lambda index: (index / "index.json").write_text("{"), "is damaged or of another version"),
        (lambda index: (index / "index.json").write_text('{"format": 2}'), "is damaged or of another version"),
        (lambda index: edit(index, parts=[{"file": "../x.safetensors", "images": 1}]), "is damaged"),
        (lambda index: edit(index, parts=[]), "holds no pictures"),
        (lambda index: next(index.glob("part-*")).write_bytes(b"x"), "not a file of weights"),
    ],
)
def test_what_is_not_an_index_is_said(copied, change, sentence):
    photos, index = copied
    change(index)
    with pytest.raises(MaxViTError, match=sentence):
        ImageIndex(index).search(photos / "1.png")


def test_a_page_is_one_file_and_escapes_names(copied, tmp_path):
    from maxvit.search.page import write_answers

    photos, index = copied
    shutil.copy(photos / "2.png", photos / "<b>.png")
    build_index(photos, index)
    opened = ImageIndex(index)
    write_answers(tmp_path / "page.html", opened, opened.search([photos / "2.png"], 2))
    page = (tmp_path / "page.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert page.count('src="data:image/png;base64,') == 3
    assert "&lt;b&gt;.png" in page
    assert "<b>.png" not in page
    assert "Not shown" not in page
    (photos / "5.png").unlink()
    write_answers(tmp_path / "page.html", opened, opened.search([photos / "2.png"], 9))
    assert "have gone or cannot be read any more: 5.png" in (tmp_path / "page.html").read_text()
