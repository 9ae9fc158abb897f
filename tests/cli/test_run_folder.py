"""The folder of a run stands for its best checkpoint, in every command that takes one and in Python."""

import json
import shutil

import pytest
import torch

from maxvit import Predictor, create_model, load, load_model
from maxvit.cli import main
from maxvit.cli.serve import _named, _open
from maxvit.inference.bulk.predict import predict_to_file


@pytest.fixture(scope="module")
def picture(images):
    return str(images / "blue" / "0.png")


def answered(capsys, *words):
    """What a command says with --json."""
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[0])


@pytest.mark.parametrize(
    "command",
    [
        lambda checkpoint, images, picture, out: ["predict", checkpoint, picture],
        lambda checkpoint, images, picture, out: ["evaluate", checkpoint, images],
        lambda checkpoint, images, picture, out: ["explain", checkpoint, picture, "--out", out],
    ],
)
def test_commands_answer_as_with_its_best_checkpoint(command, trained, images, picture, tmp_path, capsys):
    of_run, of_file = (
        answered(capsys, *command(p, images, picture, tmp_path)) for p in (trained.run, trained.checkpoint)
    )
    assert of_run == of_file


def test_info_and_convert_read_it(trained, tmp_path, capsys):
    found = answered(capsys, "info", trained.run)
    assert found == {**answered(capsys, "info", trained.checkpoint), "model": str(trained.run)}
    assert main(["convert", str(trained.run), str(tmp_path / "new.safetensors")]) == 0
    assert load_model(tmp_path / "new.safetensors").metadata() == load_model(trained.checkpoint).metadata()


def test_an_exported_file_of_it_lies_in_it(trained, tmp_path, capsys):
    run = shutil.copytree(trained.run, tmp_path / "run")
    assert answered(capsys, "export", run)["file"] == str(run / "best.onnx")


def test_a_served_one_has_the_name_of_the_run(trained):
    named = _named([str(trained.run)])
    models, originals = _open(named, "auto", "cpu", "fp32", "none", [], page=True)
    assert list(models) == list(originals) == ["run"]


def test_it_can_be_loaded_started_from_and_predicted_with(trained, picture):
    wanted = load_model(trained.checkpoint).state_dict()
    for network in (
        load_model(trained.run),
        load(trained.run),
        create_model("maxvit_micro", pretrained=trained.run),
    ):
        assert all(torch.equal(t, wanted[name]) for name, t in network.state_dict().items())
    one, other = Predictor(trained.run)(picture)[0], Predictor(trained.checkpoint)(picture)[0]
    assert torch.equal(one.value, other.value)


def test_a_file_of_predictions_goes_on_when_something_else_in_the_folder_has_changed(trained, images, tmp_path):
    pytest.importorskip("pyarrow")
    run = shutil.copytree(trained.run, tmp_path / "run")
    plans = []
    for name in ("a.csv", "b.csv"):
        predict_to_file(run, images / "blue", tmp_path / name)
        plans.append(json.loads((tmp_path / f"{name}.plan.json").read_text())["checkpoint (sha256)"])
        (run / "report.html").write_text("another")
    assert plans[0] == plans[1]
