import ast
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer.main
import yaml

import maxvit
from maxvit.cli import app
from maxvit.data.folder import read_classes
from maxvit.data.images import decode
from maxvit.inference.device import choose_device
from maxvit.kernels.optimize import optimize
from small import write_images

HERE = choose_device()
ENGINE = f"engine: {optimize(maxvit.create_model('maxvit_micro').to(HERE)).engine}, optimised on {HERE.type}\n"
COMMANDS = ["train", "check", "evaluate", "predict", "explain", "report", "info", "list", "convert", "export", "shard"]


def test_train_answers_in_json_with_the_names_of_what_it_wrote(trained):
    answer = json.loads(trained.out)
    assert trained.code == 0
    assert answer["checkpoint"] == str(trained.checkpoint)
    assert answer["report"] == str(trained.run / "report.html")
    assert 0 <= answer["metrics"]["accuracy"] <= 1
    assert (answer["images"], answer["skipped"]) == (5, 0)  # a fifth of 24
    assert 0 <= answer["baseline"]["accuracy"] <= 1
    assert answer["suspicious_labels"] is None  # there was no first look
    assert all(Path(answer[name]).is_file() for name in ("checkpoint", "report"))


def test_train_says_each_epoch_on_standard_error(trained):
    first, start, *lines = trained.err.splitlines()
    assert "cannot be had: the hub cannot be reached (" in start  # it is not there, or must not be asked
    assert first == "data: 24 images of 3 classes (19 training, 5 validation)"
    assert [line[:9] for line in lines] == ["starts fr", "training ", "epoch 1/1", "predictio"]


def test_train_without_json_says_accuracy_checkpoint_and_report(run, images, small, tmp_path):
    code, out, _ = run("train", images, *small, "--out", tmp_path / "run")
    assert code == 0
    assert out.startswith("accuracy ")
    assert f"checkpoint: {tmp_path / 'run' / 'best.safetensors'}\n" in out
    assert f"report:     {tmp_path / 'run' / 'report.html'}\n" in out
    assert "without a network, by a histogram of colours and edges: accuracy " in out
    assert out.endswith(f"next:       maxvit predict {tmp_path / 'run'} IMAGE\n")


def test_train_says_which_labels_look_wrong(run, small, tmp_path):
    data = tmp_path / "colours"
    for part in ("train", "val"):
        write_images(data / part, 20)
    (data / "train" / "red" / "7.png").rename(data / "train" / "blue" / "red.png")
    options = [*small, "--set", "model.probe=true", "--set", "optimization.epochs=0"]
    _, out, _ = run("train", data, *options, "--out", tmp_path / "run")
    how = f"maxvit check {data} --out FOLDER"
    assert f"\n1 training label looks wrong: the report shows it; to correct it: {how}\n" in out


def test_show_recipe_prints_what_would_be_done_and_does_nothing(run, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(
        "train", images, "--model", "maxvit_tiny", "--scratch", "--set", "optimization.epochs=7", "--show-recipe"
    )
    recipe = yaml.safe_load(out)
    assert (code, err) == (0, "")
    assert recipe["model"]["name"] == "maxvit_tiny"
    assert recipe["data"]["path"] == str(images)
    assert recipe["optimization"]["epochs"] == 7
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("data", "augmentation"), [([], "characters"), (["photos"], "photos")])
def test_the_recipe_is_digits_without_data_and_folder_with_it(run, data, augmentation):
    code, out, _ = run("train", *data, "--show-recipe")
    assert code == 0
    assert yaml.safe_load(out)["task"]["augmentation"] == augmentation


@pytest.mark.parametrize(
    ("option", "given", "section", "name", "value"),
    [
        ("--epochs", "7", "optimization", "epochs", 7),
        ("--lr", "3e-4", "optimization", "learning_rate", 3e-4),
        ("--batch", "16", "data", "batch_size", 16),
        ("--workers", "0", "data", "workers", 0),
        ("--size", "96", "data", "image_size", [96, 96]),
        ("--size", "64x97", "data", "image_size", [64, 97]),
    ],
)
def test_an_option_is_the_setting_of_the_recipe(run, option, given, section, name, value):
    out = run("train", "photos", option, given, "--show-recipe")[1]
    assert yaml.safe_load(out)[section][name] == value


def test_set_has_the_last_word(run):
    out = run("train", "photos", "--epochs", 7, "--set", "optimization.epochs=9", "--show-recipe")[1]
    assert yaml.safe_load(out)["optimization"]["epochs"] == 9


def test_a_recipe_can_be_chosen_by_its_name(run):
    out = run("train", "photos", "--recipe", "digits", "--show-recipe")[1]
    assert yaml.safe_load(out)["task"]["augmentation"] == "characters"


def test_a_recipe_that_was_printed_can_be_given_back(run, tmp_path):
    out = run("train", "photos", "--set", "seed=5", "--show-recipe")[1]
    (tmp_path / "mine.yaml").write_text(out)
    assert run("train", "--recipe", tmp_path / "mine.yaml", "--show-recipe")[1] == out


def test_a_folder_with_a_number_for_a_name_is_a_folder(run):
    out = run("train", "2024", "--show-recipe")[1]
    assert yaml.safe_load(out)["data"]["path"] == "2024"


def test_set_has_the_last_word_over_model(run):
    out = run("train", "--model", "maxvit_tiny", "--set", "model.name=maxvit_small", "--show-recipe")[1]
    assert yaml.safe_load(out)["model"]["name"] == "maxvit_small"


def test_without_out_each_run_gets_a_new_folder(run, images, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "colours").mkdir(parents=True)
    assert run("train", images, *small)[0] == 0
    assert (tmp_path / "runs" / "colours-2" / "best.safetensors").is_file()
    assert list((tmp_path / "runs" / "colours").iterdir()) == []


def test_resume_goes_on_with_the_recipe_of_the_run(run, trained, tmp_path):
    copy = shutil.copytree(trained.run, tmp_path / "copy")
    config = copy / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 1\n", "epochs: 2\n"))
    code, out, err = run("train", "--resume", copy)
    assert code == 0
    assert out.startswith("accuracy ")
    assert [line[:9] for line in err.splitlines()[1:]] == ["training ", "epoch 2/2", "predictio"]


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)])
def test_a_run_that_is_stopped_exits_with_a_code_that_tells_by_whom(
    run, images, small, tmp_path, monkeypatch, number, expected
):
    from maxvit.training.learner import Learner

    original = Learner.update

    def update_then_signal(self):
        norm = original(self)
        os.kill(os.getpid(), number)
        return norm

    monkeypatch.setattr(Learner, "update", update_then_signal)
    code, out, err = run("train", images, *small, "--out", tmp_path / "my run")
    assert (code, out) == (expected, "")
    *_, begun, saved, stopped = err.splitlines()
    assert begun.startswith("training by ")
    assert re.fullmatch(r"saved after update 1, \d+\.\d s after the signal", saved)
    assert stopped == f"stopped; continue with: maxvit train --resume '{tmp_path / 'my run'}'"


def test_evaluate_prints_accuracy_and_a_row_a_class(run, trained, images):
    code, out, err = run("evaluate", trained.checkpoint, images, "--all")
    assert (code, err) == (0, "data: 24 images of 3 classes\n" + ENGINE)
    assert "\non 24 of 24 images (all there are: those of training may be among them)\n" in out
    assert "(95 % interval" in out.splitlines()[0]
    assert [line.split()[:2] for line in out.splitlines()[-3:]] == [["blue", "8"], ["green", "8"], ["red", "8"]]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # how workers start on Linux, from Python 3.12 on
@pytest.mark.parametrize("options", [[], ["--batch-size", "5", "--workers", "1"]])
def test_evaluate_answers_in_json_what_the_library_measures(run, trained, images, options):
    model = maxvit.load_model(trained.checkpoint)
    right = 0
    for path in sorted(images.rglob("*.png")):  # one by one
        with torch.inference_mode():
            right += model.class_names[model(maxvit.preprocess(model, path)).argmax()] == path.parent.name
    code, out, _ = run("evaluate", trained.checkpoint, images, "--all", "--json", *options)
    answer = json.loads(out)
    assert code == 0
    accuracy, (low, high) = answer["metrics"]["accuracy"], answer["intervals_95"]["accuracy"]
    assert accuracy == pytest.approx(right / 24)
    assert (answer["images"], answer["skipped"]) == (24, 0)
    assert low <= accuracy <= high
    assert [row["class"] for row in answer["classes"]] == ["blue", "green", "red"]


def test_evaluate_judges_by_what_training_held_out(run, trained, images):
    """For a folder that is not split: the metric of the training's own report."""
    code, out, err = run("evaluate", trained.checkpoint, images, "--json")
    trained_on, answer = json.loads(trained.out), json.loads(out)
    assert code == 0
    assert (answer["images"], answer["metrics"]["accuracy"]) == (5, trained_on["metrics"]["accuracy"])
    held_out = (
        "evaluated on the 5 of 24 images that training held out: they chose the best epoch; --all evaluates on all"
    )
    assert err.splitlines()[:2] == ["data: 24 images of 3 classes", held_out]


def test_evaluate_judges_by_the_test_folder_of_data_that_is_split(run, trained, images, tmp_path):
    shutil.copytree(images, tmp_path / "train")
    shutil.copytree(images / "red", tmp_path / "test" / "red")
    assert json.loads(run("evaluate", trained.checkpoint, tmp_path, "--json")[1])["images"] == 8


def test_evaluate_says_shares_in_percent_with_their_intervals_and_other_metrics_as_numbers(run, trained, images):
    answer = json.loads(run("evaluate", trained.checkpoint, images, "--all", "--json")[1])
    low, high = answer["intervals_95"]["calibration_error"]
    line = f"calibration error {answer['metrics']['calibration_error']:.2%} (95 % interval {low:.2%} to {high:.2%})"
    out = run("evaluate", trained.checkpoint, images, "--all")[1]
    assert line in out.splitlines()
    assert f"loss {answer['metrics']['loss']:.4f}" in out.splitlines()


def test_evaluate_names_the_weakest_class(run, trained, images, tmp_path):
    shutil.copytree(images, tmp_path / "images")
    shutil.copy(next((images / "red").iterdir()), tmp_path / "images" / "blue" / "not blue.png")
    out = run("evaluate", trained.checkpoint, tmp_path / "images", "--all")[1]
    assert "weakest class: blue, recognised in 88.89% of its 9 images" in out.splitlines()


def test_evaluate_without_data_takes_that_of_the_training(run, trained, images, monkeypatch):
    assert run("evaluate", trained.checkpoint, "--json") == run("evaluate", trained.checkpoint, images, "--json")
    monkeypatch.setattr(Path, "exists", lambda path: path != images)
    code, out, err = run("evaluate", trained.checkpoint)
    gone = f"error: {trained.checkpoint} was trained on {images}, which does not exist here: add DATA after it\n"
    assert (code, out, err) == (2, "", gone)


def test_evaluate_without_data_needs_a_network_that_says_what_it_learned(run, tmp_path):
    maxvit.create_model("maxvit_micro", num_classes=3).save(tmp_path / "a.safetensors")
    code, _, err = run("evaluate", tmp_path / "a.safetensors")
    assert code == 2
    path = tmp_path / "a.safetensors"
    assert err.endswith(f"{path} does not say what it was trained on: maxvit evaluate {path} DATA\n")


def test_evaluate_has_a_row_a_size_and_one_for_all_together(run, trained, images):
    sizes = ["--size", "32", "--size", "48x64"]
    code, out, _ = run("evaluate", trained.checkpoint, images, "--all", *sizes)
    table = out.split("\n\n")[0].splitlines()
    assert code == 0
    assert [line.split("  ")[0].strip() for line in table[2:]] == ["32 x 32", "48 x 64", "together"]
    answer = json.loads(run("evaluate", trained.checkpoint, images, "--all", *sizes, "--json")[1])
    assert [row["size"] for row in answer["sizes"]] == ["32 x 32", "48 x 64"]
    for line, row in zip(table[2:], [*answer["sizes"], answer], strict=True):
        assert f"{row['metrics']['accuracy']:.2%}" in line
        assert f"{row['metrics']['loss']:.4f}" in line
    assert f"\naccuracy {answer['metrics']['accuracy']:.2%} (95 % interval" in out
    assert "\non 24 of 24 images (all there are: those of training may be among them), all sizes together\n" in out


def test_evaluate_at_one_size_answers_as_that_size_of_several(run, trained, images):
    several = json.loads(
        run("evaluate", trained.checkpoint, images, "--all", "--size", "32", "--size", "64", "--json")[1]
    )
    for row, size in zip(several["sizes"], ["32", "64"], strict=True):
        alone = json.loads(run("evaluate", trained.checkpoint, images, "--all", "--size", size, "--json")[1])
        assert {key: alone[key] for key in row} == row == alone["sizes"][0]


def test_evaluate_scales_windows_where_it_is_told_to(run, trained, images):
    given = ["evaluate", trained.checkpoint, images, "--all", "--size", "96", "--json"]
    model = maxvit.load_model(trained.checkpoint)
    assert model.config.window_size != (3, 3)
    kept = json.loads(run(*given)[1])["metrics"]["loss"]
    scaled = json.loads(run(*given, "--scale-windows")[1])["metrics"]["loss"]
    model.set_image_size(96)
    assert scaled == pytest.approx(maxvit.evaluate(model, read_classes(images)).metrics["loss"], rel=1e-4)
    assert scaled != kept


def test_evaluate_with_mirror_images_answers_what_the_library_does(run, trained, images):
    answer = json.loads(run("evaluate", trained.checkpoint, images, "--all", "--tta", "flip", "--json")[1])
    wanted = maxvit.evaluate(maxvit.load_model(trained.checkpoint), read_classes(images), tta="flip")
    alone = json.loads(run("evaluate", trained.checkpoint, images, "--all", "--json")[1])
    assert answer["tta"] == "flip"
    assert answer["metrics"]["loss"] == pytest.approx(wanted.metrics["loss"], rel=1e-4)
    assert answer["metrics"]["loss"] != alone["metrics"]["loss"]


def test_evaluate_writes_what_it_prints_and_every_prediction(run, trained, images, tmp_path):
    given = ["evaluate", trained.checkpoint, images, "--all", "--size", "32", "--size", "64", "--json"]
    code, out, err = run(*given, "--out", tmp_path / "out")
    printed, record = json.loads(out), json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert code == 0
    files = [tmp_path / "out" / name for name in ("evaluation.json", "evaluation.csv", "predictions.csv")]
    assert f"wrote {', '.join(map(str, files))}\n" in err
    settings = record["settings"]
    assert {key: record[key] for key in printed} == printed
    assert (settings["checkpoint"], settings["data"]) == (str(trained.checkpoint), str(images))
    assert (settings["sizes"], settings["scale_windows"], record["tta"]) == (["32 x 32", "64 x 64"], False, "none")
    assert settings["task"]["name"] == "classification"
    assert settings["preprocessing"]["fit"] == maxvit.load_model(trained.checkpoint).preprocessing.fit
    rows = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert len(rows) == 1 + 3 * 24
    assert rows[1].startswith("blue/0.png,32 x 32,blue,")


def test_predict_names_the_classes_of_each_image_of_files_and_folders(run, trained, images):
    code, out, err = run("predict", trained.checkpoint, images / "red" / "3.png", images / "blue")
    lines = out.splitlines()
    assert (code, err) == (0, "data: 9 images\n" + ENGINE)
    assert [line.split(": ")[0] for line in lines] == [
        str(images / "red" / "3.png"),
        *(str(images / "blue" / f"{i}.png") for i in range(8)),
    ]
    assert all(line.count("%") == 3 for line in lines)


def test_predict_answers_in_a_line_of_json_an_image(run, trained, images):
    code, out, _ = run("predict", trained.checkpoint, images, "--json", "--top-k", "2", "--batch-size", "5")
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [answer["image"] for answer in answers] == [str(path) for path in sorted(images.rglob("*.png"))]
    predictor = maxvit.Predictor(trained.checkpoint, settings={"top_k": 2})
    for answer in answers:
        expected = predictor(answer["image"])[0].to_json()["classes"]
        assert len(expected) == 2
        assert [c["class"] for c in answer["classes"]] == [c["class"] for c in expected]
        given = [c["probability"] for c in answer["classes"]]
        assert given == pytest.approx([c["probability"] for c in expected], rel=1e-4)
    assert run("predict", trained.checkpoint, images, "--json", "--set", "top_k=2", "--batch-size", "5")[1] == out


def test_predict_draws_what_a_classifier_says_of_each_image(run, trained, images, tmp_path):
    code, _, _ = run("predict", trained.checkpoint, images / "red", images / "blue", "--pictures", tmp_path / "drawn")
    drawn = {path.name: decode(path) for path in (tmp_path / "drawn").iterdir()}
    assert code == 0
    assert len(drawn) == 16
    plain = decode(images / "blue" / "3.png")
    assert drawn["3-2.png"].size == plain.size
    assert drawn["3-2.png"].tobytes() != plain.tobytes()


def test_report_writes_the_page_again(run, trained, tmp_path):
    copy = shutil.copytree(trained.run, tmp_path / "copy")
    (copy / "report.html").unlink()
    code, out, err = run("report", copy)
    assert (code, err) == (0, "data: 24 images of 3 classes (19 training, 5 validation)\n")
    assert out.endswith(f"report: {copy / 'report.html'}\n")
    assert (copy / "report.html").is_file()


def test_predict_says_of_each_class_whether_a_multi_label_network_answers_it(run, images, tmp_path):
    model, image = maxvit.create_model("maxvit_micro", num_classes=2), images / "red" / "0.png"
    model.config = dataclasses.replace(model.config, multi_label=True, threshold=0.3)
    torch.nn.init.zeros_(model.head.classifier.weight)
    model.head.classifier.bias.data = torch.tensor([0.04, 0.5]).logit()
    model.class_names = ["blue", "red"]
    model.save(tmp_path / "several.safetensors")
    assert run("predict", tmp_path / "several.safetensors", image)[1] == f"{image}: red 50.0%\n"
    found = json.loads(run("predict", tmp_path / "several.safetensors", image, "--json")[1])["classes"]
    assert [(c["class"], c["predicted"]) for c in found] == [("red", True), ("blue", False)]
    assert [c["probability"] for c in found] == pytest.approx([0.5, 0.04])


def test_info_of_a_name_counts_its_parameters(run):
    code, out, _ = run("info", "maxvit_micro", "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["parameters"] == sum(p.numel() for p in maxvit.create_model("maxvit_micro").parameters())
    assert answer["image_size"] == [32, 32]
    assert f"{answer['parameters']:,}" in run("info", "maxvit_micro")[1]


def test_info_of_a_size_scales_the_windows(run):
    small, large = (json.loads(run("info", "maxvit_micro", "--json", "--image-size", s)[1]) for s in (64, 96))
    assert (small["image_size"], large["image_size"]) == ([64, 64], [96, 96])
    assert small["parameters"] == large["parameters"]
    assert small["multiply_adds"] < large["multiply_adds"]


def test_info_says_how_a_multi_label_network_answers(run, tmp_path):
    model = maxvit.create_model("maxvit_micro")
    model.config = dataclasses.replace(model.config, multi_label=True, threshold=0.35)
    model.save(tmp_path / "several.safetensors")
    assert "answers: each class by itself (sigmoid), from 0.35 up" in run("info", tmp_path / "several.safetensors")[1]


def test_info_says_what_is_black_and_white_above_8_bits(run, tmp_path):
    network = maxvit.create_model("maxvit_micro")
    network.preprocessing = dataclasses.replace(network.preprocessing, value_range=(0, 4095))
    network.save(tmp_path / "deep.safetensors")
    assert "above 8 bits: 0 is black and 4095 white" in run("info", tmp_path / "deep.safetensors")[1]


def test_info_of_a_checkpoint_says_where_it_comes_from(run, trained, images):
    answer = json.loads(run("info", trained.checkpoint, "--json")[1])
    assert answer["classes"] == ["blue", "green", "red"]
    assert (answer["epoch"], answer["data"]) == (1, str(images))
    assert f"data: {images}" in run("info", trained.checkpoint)[1]


def test_list_names_the_variants_smallest_first(run):
    assert json.loads(run("list", "--json")[1]) == maxvit.list_models()
    code, out, err = run("list")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[2:]] == maxvit.list_models()


def test_convert_writes_a_file_that_holds_the_same_network(run, trained, tmp_path):
    code, out, err = run("convert", trained.checkpoint, tmp_path / "b.safetensors")
    assert (code, err) == (0, "")
    read, wrote = out.splitlines()
    assert read == "read maxvit best.safetensors: maxvit_micro, 3 classes, 32 x 32 pixels"
    assert wrote.startswith(f"wrote {tmp_path / 'b.safetensors'}: ")
    assert wrote.endswith(f"load it with: maxvit.load_model({str(tmp_path / 'b.safetensors')!r})")
    ours, theirs = (maxvit.load_model(p).state_dict() for p in (trained.checkpoint, tmp_path / "b.safetensors"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_convert_replaces_a_file_only_when_it_is_told_to(run, trained, tmp_path):
    target = tmp_path / "b.safetensors"
    target.write_text("mine")
    assert run("convert", trained.checkpoint, target)[0] == 2
    assert target.read_text() == "mine"
    assert run("convert", trained.checkpoint, target, "--force")[0] == 0
    assert maxvit.load_model(target).class_names == ["blue", "green", "red"]


def test_the_version_is_the_package_s(run):
    assert run("--version") == (0, f"maxvit {maxvit.__version__}\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run, command):
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert f"maxvit {command}" in out
    described = typer.main.get_command(app).commands[command]
    texts = [described.help, *(parameter.help or "" for parameter in described.params)]  # an argument may have none
    assert [text for text in texts if "".join(text.split()) not in "".join(out.split())] == []  # [brackets] too


def test_without_a_command_the_help_is_shown(run):
    code, out, err = run()
    assert (code, err) == (2, "")
    assert all(command in out for command in COMMANDS)


def test_a_mistake_of_ours_keeps_its_traceback_and_exits_with_1(run, monkeypatch):
    def broken(*_):
        raise RuntimeError("our mistake")

    monkeypatch.setattr("maxvit.cli.list.print_table", broken)
    code, out, err = run("list")
    assert (code, out) == (1, "")
    assert "Traceback" in err
    assert err.splitlines()[-1] == "error: this is a bug in maxvit; please report it with the lines above"


def test_a_missing_package_is_named_with_how_to_install_it(run, images, small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.model_selection", None)
    code, _, err = run("train", images, *small, "--out", tmp_path / "run")
    assert code == 2
    assert err.endswith("error: this command needs sklearn, which is not installed: pip install 'maxvit[train]'\n")


def python(*arguments, cwd=None):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=120, cwd=cwd, env=environment
    )


def test_train_as_a_program(images, small, tmp_path):
    result = python("-m", "maxvit", "train", images, *small, "--out", tmp_path / "run", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["checkpoint"] == str(tmp_path / "run" / "best.safetensors")
    assert [line[:9] for line in result.stderr.splitlines()] == [
        "data: 24 ",
        "the publi",
        "starts fr",
        "training ",
        "epoch 1/1",
        "predictio",
    ]  # no warning of anybody


OTHERS = [
    pytest.param(name, marks=pytest.mark.full) for name in ("evaluate", "explain", "report", "info", "list", "convert")
]


@pytest.mark.parametrize("command", ["predict", "--help", *OTHERS])
def test_a_command_as_a_program(command, trained, images, tmp_path):
    run = shutil.copytree(trained.run, tmp_path / "run")
    arguments, said = {
        "evaluate": ([run / "best.safetensors", images, "--all"], "accuracy "),
        "predict": ([run / "best.safetensors", images / "red"], str(images / "red" / "0.png")),
        "explain": ([run / "best.safetensors", images / "red" / "0.png", "--out", run / "seen"], "prediction: "),
        "report": ([run], "accuracy "),
        "info": ([run / "best.safetensors"], f"{run / 'best.safetensors'}, for one image of 32 x 32 pixels"),
        "list": ([], "name"),
        "convert": ([run / "best.safetensors", run / "b.safetensors"], "read maxvit best.safetensors: maxvit_micro"),
        "--help": ([], ""),
    }[command]
    result = python("-m", "maxvit", command, *arguments)
    heard = {
        "evaluate": f"data: 24 images of 3 classes\n{ENGINE}",
        "predict": f"data: 8 images\n{ENGINE}",
        "report": "data: 24 images of 3 classes (19 training, 5 validation)\n",
    }
    assert (result.returncode, result.stderr) == (0, heard.get(command, ""))
    assert result.stdout.strip()
    assert result.stdout.startswith(said)


def test_a_mistake_as_a_program_exits_with_2(tmp_path):
    result = python("-m", "maxvit", "convert", "a", tmp_path / "b.pt")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        f"error: {tmp_path / 'b.pt'} does not end in .safetensors: name it {tmp_path / 'b.safetensors'}\n"
    )


@pytest.mark.parametrize(
    "code",
    [
        "import maxvit; dir(maxvit)",
        "from maxvit.cli import main; main(['--help'])",
        "from maxvit.cli import main; main(['train', '--help'])",
        "from maxvit.cli import main; main(['list'])",
    ],
)
def test_no_torch_is_imported_where_none_is_needed(code):
    check = "import sys; print([m for m in ('torch', 'torchvision') if m in sys.modules], file=sys.stderr)"
    assert python("-c", f"{code}; {check}").stderr == "[]\n"


def test_predicting_imports_no_symbolic_algebra(trained, images):
    """PyTorch does where a network without memory is initialised, which took a second and 150 MB of every load."""
    own = "import sys, torch; torch.nn.Linear(1, 1, device='meta'); 'sympy' in sys.modules and sys.exit(3)"
    code = f"from maxvit.cli import main; main(['predict', {str(trained.checkpoint)!r}, {str(images)!r}])"
    done = python("-c", f"{own}; {code}; sys.exit('sympy' in sys.modules)")
    if done.returncode == 3:
        pytest.skip(f"PyTorch {torch.__version__} does so for layers of its own")
    assert (done.returncode, done.stdout.count("\n")) == (0, 24)


def test_the_public_names_are_those_of_the_stub_and_each_resolves():
    stub = ast.parse(Path(maxvit.__file__).with_name("__init__.pyi").read_text())
    names = {alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert len(names) > 15
    assert set(dir(maxvit)) == names
    assert [name for name in names if getattr(maxvit, name).__name__ != name] == []
