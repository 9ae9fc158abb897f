"""Several checkpoints in one argument, mirror images, and the metric that chooses, as a user types them."""

import json

import pytest

import maxvit
from maxvit.cli.options import split_checkpoints
from maxvit.cli.serve import _named
from maxvit.errors import MaxViTError


@pytest.fixture(scope="module")
def pair(trained, tmp_path_factory):
    """The trained checkpoint, and one that says the opposite for most images."""
    network = maxvit.load_model(trained.checkpoint)
    network.head.classifier.weight.data *= -0.5
    network.save(path := tmp_path_factory.mktemp("pair") / "other.safetensors")
    return [str(trained.checkpoint), str(path)]


def test_checkpoints_are_separated_by_commas_unless_a_file_has_one_in_its_name(tmp_path):
    (tmp_path / "a,b").touch()
    assert split_checkpoints("a,b") == ["a", "b"]
    assert split_checkpoints(str(tmp_path / "a,b")) == [str(tmp_path / "a,b")]
    with pytest.raises(MaxViTError, match="'a,,b' names no checkpoint at one of its commas"):
        split_checkpoints("a,,b")


def test_served_networks_that_predict_together_have_one_name():
    assert _named(["both=a,b", "runs/c.onnx,runs/d", "e"]) == {
        "both": ["a", "b"],
        "c-d": ["runs/c.onnx", "runs/d"],
        "e": ["e"],
    }


def test_predict_says_what_several_say_together_of_both_mirror_images(run, pair, images):
    image = images / "red" / "3.png"
    code, said, err = run("predict", ",".join(pair), image, "--tta", "flip", "--json")
    (wanted,) = maxvit.Predictor(pair, tta="flip")(image)
    assert (code, json.loads(said)) == (0, {"image": str(image), **wanted.to_json()})
    assert err.startswith("engine: 2 networks, ")
    alone = [maxvit.Predictor(one, tta="flip")(image)[0].value for one in pair]
    assert (alone[0] - alone[1]).abs().max() > 0.01


def test_evaluate_measures_several_together_on_what_both_have_held_out(run, pair, images, tmp_path):
    code, said, err = run("evaluate", ",".join(pair), "--json", "--out", tmp_path)
    answer = json.loads(said)
    assert (code, answer["part"], answer["images"]) == (0, "val", 5)
    assert "evaluated on the 5 of 24 images that training held out" in err
    record = json.loads((tmp_path / "evaluation.json").read_text())
    assert record["settings"]["checkpoint"] == ",".join(pair)
    assert isinstance(record["settings"]["preprocessing"], dict)  # both expect the same


def test_the_metric_that_is_asked_for_chooses_and_is_told_first(run, images, small, tmp_path):
    settings = [word for pair in zip(small[::2], small[1::2], strict=True) if "metric" not in pair[1] for word in pair]
    words = ["train", images, *settings, "--out", tmp_path / "run"]
    code, _, err = run(*words, "--metric", "mIoU")
    assert code == 2
    assert "optimization.metric is 'mIoU'; validation measures accuracy, balanced_accuracy, f1_macro, auc, loss" in err
    code, said, _ = run(*words, "--metric", "f1_macro")
    assert code == 0
    assert said.startswith("f1 macro ")
