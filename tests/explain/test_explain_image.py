"""One image explained in a folder, by the function and by the command."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from networks import tiny
from PIL import Image

from maxvit.cli import main
from maxvit.errors import MaxViTError
from maxvit.explain.explain_image import explain_image
from maxvit.explain.faithfulness import faithfulness
from maxvit.explain.methods import METHODS
from maxvit.explain.rollout import rollout
from maxvit.explain.token_attention import attention_at
from maxvit.inference.predictor import Predictor, preprocess

NAMES = ["ant", "bee", "cat"]


@pytest.fixture
def model():
    network = tiny().eval()
    network.set_image_size((37, 45))
    network.class_names = NAMES
    return network


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 70, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def command(model, photo, tmp_path, capsys):
    """Run `maxvit explain` on it: code, stdout, stderr = command("--class", "bee")."""
    model.save(tmp_path / "model.safetensors")

    def run(*options, image=photo):
        capsys.readouterr()
        out = str(tmp_path / "out")
        code = main(["explain", str(tmp_path / "model.safetensors"), str(image), "--out", out, *options])
        return code, *capsys.readouterr()

    return run


def test_files_hold_what_the_functions_give(model, photo, tmp_path):
    found = explain_image(model, photo, tmp_path / "out", target=1, point=(44, 36))
    assert [p.name for p in found.files] == [
        "picture.png",
        *(f"{name}.{ending}" for name in ("rollout", "class-rollout", "point") for ending in ("png", "svg")),
        "maps.npz",
    ]
    assert {p.name for p in (tmp_path / "out").iterdir()} == {p.name for p in found.files}
    image = preprocess(model, photo)[0]
    assert found.size == (37, 45)
    with np.load(tmp_path / "out" / "maps.npz") as maps:
        assert (maps["rollout"] == rollout(model, image)[0]).all()
        assert (maps["class-rollout"] == rollout(model, image, 1)[0]).all()
        seen = {name: maps[name] for name in maps.files if name.startswith("stage")}
    assert list(seen) == [f"stage{m.stage}_block{m.block}_{m.axis}" for m in attention_at(model, image, (44, 36))]
    for values, m in zip(seen.values(), attention_at(model, image, (44, 36)), strict=True):
        assert (values == np.array(m.values, np.float32)).all()


def test_the_prediction_is_that_of_the_predictor(model, photo, tmp_path):
    (prediction,) = Predictor(model)(photo)
    last = prediction.to_json()["classes"][-1]
    found = explain_image(model, photo, tmp_path / "out", target=NAMES.index(last["class"]))
    assert found.prediction.summary == prediction.summary
    assert torch.equal(found.prediction.value, prediction.value)
    assert (found.explained, found.explained_probability) == (last["class"], pytest.approx(last["probability"]))


def test_every_method_gives_a_map_that_is_drawn_and_scored(model, photo, tmp_path):
    pytest.importorskip("captum", reason="attribution needs captum: pip install 'maxvit[explain]'")
    found = explain_image(model, photo, tmp_path / "out", methods=list(METHODS), score=True)
    assert list(found.scores) == list(METHODS)
    image = preprocess(model, photo)[0]
    with np.load(tmp_path / "out" / "maps.npz") as maps:
        assert maps.files == list(METHODS)
        target = NAMES.index(found.explained)
        assert found.scores["gradcam"] == faithfulness(model, image, maps["gradcam"], target)
        assert all(maps[name].min() >= 0 for name in METHODS)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"target": 3}, "classes 0 to 2"),
        ({"point": (45, 0)}, "x goes from 0 to 44"),
        ({"methods": ["rolout"]}, "did you mean 'rollout'"),
        ({"methods": []}, "nothing was asked for"),
    ],
)
def test_nothing_is_written_where_something_is_wrong(model, photo, tmp_path, options, sentence):
    with pytest.raises(MaxViTError, match=sentence):
        explain_image(model, photo, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["picture.png", "rollout.png", "point.png"])
def test_the_image_is_not_written_over(model, photo, tmp_path, name):
    image = photo.rename(tmp_path / name)
    before = image.read_bytes()
    with pytest.raises(MaxViTError, match="would be written over"):
        explain_image(model, image, tmp_path, point=(3, 3))
    assert [image.read_bytes()] == [before]
    assert list(tmp_path.iterdir()) == [image]


def test_the_command_says_the_prediction_and_its_files(command, tmp_path):
    code, out, err = command("--method", "rollout", "--class", "bee", "--score")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("prediction: ")
    assert lines[1].startswith("explained: bee (")
    assert lines[2].startswith("rollout: deletion 0.")
    assert lines[3:] == [
        f"wrote {tmp_path / 'out' / n}" for n in ("picture.png", "rollout.png", "rollout.svg", "maps.npz")
    ]


def test_the_command_answers_in_json(command):
    code, out, _ = command("--json", "--point", "3,36", "--method", "", "--class", "2")
    answer = json.loads(out)
    assert code == 0
    assert (answer["explained"], answer["height"], answer["width"], answer["scores"]) == ("cat", 37, 45, {})
    with np.load(answer["files"][-1]) as maps:
        assert len(maps.files) == 10


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--class", "cta"], "did you mean 'cat'"),
        (["--class", "7"], "classes 0 to 2"),
        (["--point", "3"], "it takes X,Y"),
        (["--point", "3,37"], "y from 0 to 36"),
        (["--method", "lime"], "unknown method 'lime'"),
    ],
)
def test_the_command_refuses_in_one_sentence(command, options, sentence):
    code, out, err = command(*options)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_a_class_whose_name_is_a_number_is_meant_by_its_name(model, photo, tmp_path):
    from maxvit.explain.target import find_class

    model.class_names = ["2", "0", "1"]
    assert [find_class(model, name) for name in ("0", "1", "2")] == [1, 2, 0]
    model.class_names = None
    assert find_class(model, "2") == 2
    with pytest.raises(MaxViTError, match="known are 0, 1, 2"):
        find_class(model, "bee")


def test_a_class_is_known_in_either_unicode_form(model):
    from maxvit.explain.target import find_class

    model.class_names = ["tea", "cafe\u0301", "x"]  # as macOS writes it
    assert find_class(model, "caf\u00e9") == 1


def test_a_half_precision_network_is_explained(model, photo, tmp_path):
    found = explain_image(model.to(torch.bfloat16), photo, tmp_path / "out", point=(3, 3))
    assert len(found.files) == 8


@pytest.mark.parametrize(
    ("threshold", "line"), [(0.4, "prediction: bee 75.0%, cat 50.0%"), (0.8, "prediction: none (highest: bee 75.0%)")]
)
def test_the_prediction_of_a_multi_label_network_is_all_that_reaches_its_threshold(
    model, command, threshold, line, tmp_path
):
    model.config = dataclasses.replace(model.config, multi_label=True, threshold=threshold)
    torch.nn.init.zeros_(model.head.classifier.weight)
    model.head.classifier.bias.data = torch.tensor([0.25, 0.75, 0.5]).logit()
    model.save(tmp_path / "model.safetensors")
    code, out, _ = command("--method", "attention")
    assert (code, out.splitlines()[:2]) == (0, [line, "explained: bee (75.0%)"])
