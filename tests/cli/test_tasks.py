"""Every task through the same commands, from a folder of data to a report; and what is refused."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from maxvit import MaxViTError, load_model, tasks
from maxvit.cli import main
from maxvit.data.images import decode
from maxvit.model import MaxViT

pytest.importorskip("segmentation_models_pytorch")
pytest.importorskip("pycocotools")
pytest.importorskip("sklearn")

ROOT = Path(__file__).parent.parent.parent
NAMES = ["aesthetics", "detection", "examples.counting_task", "regression", "segmentation"]
SETTINGS = [
    "data.image_size=64",
    "data.batch_size=8",
    "optimization.epochs=1",
    "optimization.warmup_epochs=0",
    "optimization.ema_decay=0.5",
]
OWN = {
    "detection": ["task.detector=mask-rcnn", "task.samples=[16,8]", "task.proposals=[32,8]", "task.score_threshold=0"],
    "segmentation": ["task.decoder_channels=64"],
}
CHANGES = {"aesthetics": "flip=false", "segmentation": "slide_stride=0.5", "detection": "nms_threshold=0.9"}
WRITTEN = {"segmentation": "predictions", "detection": "predictions.json"}  # else a table


class Done(NamedTuple):
    """A data set, what `maxvit train --json` said of it, and the run."""

    task: str
    data: Path
    run: Path
    said: dict

    @property
    def checkpoint(self) -> Path:
        return self.run / "best.safetensors"

    @property
    def images(self) -> list[Path]:
        """Three that were held out."""
        data = self.data if self.data.is_dir() else self.data.parent
        folder = data / ("images" if (data / "images").is_dir() else "test")
        return sorted(p for p in folder.rglob("*.jpg"))[-3:]


def call(*words) -> tuple[int, str, str]:
    """Run a command in this process."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = main([str(word) for word in words])
    return code, out.getvalue(), err.getvalue()


def train(task: str, data: Path, run: Path, *settings: str) -> tuple[int, str, str]:
    words = [w for s in [*SETTINGS, *OWN.get(task, []), *settings] for w in ("--set", s)]
    return call("train", data, "--task", task, *words, "--out", run, "--json")


@pytest.fixture(scope="module", params=NAMES)
def done(request, tmp_path_factory):
    folder, task = tmp_path_factory.mktemp("task"), request.param
    sys.path.insert(0, str(ROOT))
    kind = "counting" if task == "regression" else task.split(".")[-1].removesuffix("_task")
    scenes = [sys.executable, str(ROOT / "examples" / "scenes.py"), kind, str(folder / "data")]
    subprocess.run([*scenes, "--images", "20", "--size", "64"], check=True, timeout=120)
    data = folder / "data" / "counts.csv" if task == "regression" else folder / "data"
    code, out, err = train(task, data, folder / "run")
    assert code == 0, err
    yield Done(task, data, folder / "run", json.loads(out, parse_constant=pytest.fail))
    sys.path.remove(str(ROOT))


def asked(done: Done, *words) -> tuple[int, str, str]:
    """A command about the checkpoint; of one's own module its name is given."""
    return call(*words, *(["--task", done.task] if "." in done.task else []))


def test_training_leaves_a_checkpoint_metrics_and_a_report(done):
    header, row = (done.run / "metrics.csv").read_text().splitlines()
    assert {"train_loss", f"val_{next(iter(done.said['metrics']))}"} <= set(header.split(","))
    assert len(row.split(",")) == len(header.split(","))
    assert done.said["skipped"] == 0
    page = (done.run / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 6  # image, target and prediction, or attention
    assert 'src="http' not in page
    assert all(f'id="{name}"' in page for name in done.said["metrics"])
    assert done.said["report"] == str(done.run / "report.html")


def test_evaluation_says_what_the_report_says(done, tmp_path):
    code, out, err = asked(done, "evaluate", done.checkpoint, done.data, "--json", "--out", tmp_path)
    assert code == 0, err
    said = json.loads(out, parse_constant=pytest.fail)
    assert said["metrics"].keys() == done.said["metrics"].keys()
    for name, value in said["metrics"].items():
        reported = done.said["metrics"][name]  # by plain layers, and not by fast ones: three images feel the rounding
        assert value == (None if reported is None else pytest.approx(reported, abs=1e-3))
    record = json.loads((tmp_path / "evaluation.json").read_text())
    assert {name: record[name] for name in said} == said
    assert (tmp_path / "predictions.csv").is_file() == (done.task not in WRITTEN)
    assert (said["task"], said["part"], said["tta"]) == (tasks.find_task(done.task).name, "test", "none")
    people = asked(done, "evaluate", done.checkpoint)[1]  # without DATA: that of the training
    assert next(iter(said["metrics"])).replace("_", " ") in people
    assert f"on {said['images']} of {said['images']} images (test)" in people.splitlines()


def test_evaluation_at_two_sizes_and_with_mirror_images(done):
    words = ["evaluate", done.checkpoint, "--size", "64", "--size", "96", "--tta", "flip"]
    code, out, err = asked(done, *words, "--json")
    if done.task in ("detection", "examples.counting_task"):
        name = done.task.split(".")[-1].removesuffix("_task")
        assert (code, out) == (2, "")
        assert f"error: {name} has no mean of predictions for an image and its mirror image: use tta none" in err
        return
    said = json.loads(out, parse_constant=pytest.fail)
    assert (code, said["tta"], [row["size"] for row in said["sizes"]]) == (0, "flip", ["64 x 64", "96 x 96"])
    assert said["size"] == ("64 x 64" if done.task == "segmentation" else "together")  # masks have no mean
    table = asked(done, *words)[1].split("\n\n")[0].splitlines()
    sizes = ["64 x 64", "96 x 96", *["together"] * (done.task != "segmentation")]
    assert [line.split("  ")[0] for line in table[2:]] == sizes


def test_sizes_and_windows_reach_the_network(done, monkeypatch):
    seen, maps = [], MaxViT.forward_pyramid
    monkeypatch.setattr(
        MaxViT, "forward_pyramid", lambda self, x, s: seen.append((self, x.shape[2:])) or maps(self, x, s)
    )
    words = ["evaluate", done.checkpoint, "--size", "64", "--size", "128", "--scale-windows", "--json"]
    code, _, err = asked(done, *words)
    assert code == 0, err
    assert {tuple(size) for _, size in seen} >= {(64, 64), (128, 128)}
    assert {network.config.window_size for network, _ in seen} == {(2, 2), (4, 4)}


def test_predictions_are_printed_and_drawn(done, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(done.images[0].read_bytes()[:100])
    words = ["predict", done.checkpoint, *done.images, broken, "--json", "--pictures", tmp_path / "drawn"]
    code, said, err = asked(done, *words)
    assert code == 2  # one of them cannot be read
    assert "broken.jpg" in err
    predictions = [json.loads(line) for line in said.splitlines()]
    assert [p["image"] for p in predictions] == [str(image) for image in done.images]
    assert all(len(p) > 1 for p in predictions)
    for image in done.images:
        drawn = decode(tmp_path / "drawn" / f"{image.stem}.png")
        assert drawn.size == decode(image).size
        assert np.asarray(drawn).std() > 0


def test_predictions_are_written_and_what_cannot_be_read_is_listed(done, tmp_path):
    out = tmp_path / WRITTEN.get(done.task, "predictions.csv")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(done.images[0].read_bytes()[:100])
    words = ["predict", done.checkpoint, *done.images, broken, "--out", out, "--pictures", tmp_path / "drawn"]
    code, said, err = asked(done, *words)
    assert (code, said) == (0, f"wrote {out}: 3 images\n"), err
    assert f"1 of 4 images could not be read: see {tmp_path / 'predictions.errors.csv'}" in err
    assert str(broken) in (tmp_path / "predictions.errors.csv").read_text()
    assert len(list((tmp_path / "drawn").iterdir())) == 3
    assert len(list(out.rglob("*.png"))) == 3 if out.is_dir() else out.stat().st_size > 3
    assert not list(tmp_path.glob(".*"))  # nothing temporary is left
    assert asked(done, *words)[:2] == (0, f"{out}: 3 images\n")  # it is there already
    if done.task in CHANGES:
        code, _, err = asked(done, *words, "--set", CHANGES[done.task])
        assert (code, "was begun with task." in err) == (2, True), err


@pytest.mark.full
def test_a_run_that_was_stopped_goes_on_to_be_the_run_that_was_not(done, tmp_path, monkeypatch):
    from maxvit.training.loop import Loop

    whole, part = tmp_path / "whole", tmp_path / "part"
    assert train(done.task, done.data, whole, "optimization.epochs=2")[0] == 0
    ending = Loop._end_epoch

    def stop(self, val):
        ending(self, val)
        raise RuntimeError("stopped")

    monkeypatch.setattr(Loop, "_end_epoch", stop)
    assert train(done.task, done.data, part, "optimization.epochs=2")[0] == 1
    monkeypatch.undo()
    code, _, err = call("train", "--resume", part)
    assert code == 0, err
    weights = [tasks.load(run / "last.safetensors").state_dict() for run in (whole, part)]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


def test_the_checkpoint_says_what_it_is_and_is_no_classifier(done):
    said = json.loads(call("info", done.checkpoint, "--json")[1])
    assert said["task"] == done.task
    with pytest.raises(MaxViTError, match=rf"holds a network for {done.task}"):
        load_model(done.checkpoint)


@pytest.mark.full
def test_files_of_all_kinds_predict_and_are_evaluated(done, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    kinds = (("onnx", "onnx"), ("torch", "pt2"), ("openvino", "xml"))
    for to, ending in kinds[:1] if done.task == "detection" else kinds:  # for the rest see test_detection_graph.py
        path = tmp_path / f"a.{ending}"
        code, out, err = asked(done, "export", done.checkpoint, "--to", to, "--out", path, "--json")
        assert code == 0, err
        assert 0 <= json.loads(out)["verification"]["relative"] < 1e-4
        plain, of_file = (asked(done, "evaluate", place, "--json") for place in (done.checkpoint, path))
        assert of_file[0] == 0, of_file[2]
        metrics = [json.loads(said)["metrics"] for _, said, _ in (plain, of_file)]
        for name, value in metrics[0].items():
            if "cc_" in name or name.endswith("cc"):
                continue  # ranks of three images feel the rounding
            assert metrics[1][name] == (None if value is None else pytest.approx(value, abs=1e-3))
        assert asked(done, "predict", path, done.images[0])[0] == 0


def test_settings_of_the_predictions_can_be_changed_and_unknown_ones_are_named(done, tmp_path):
    wide = tmp_path / "wide.png"
    decode(done.images[0]).resize((150, 64)).save(wide)
    changed = {"detection": "score_threshold=0.999", "segmentation": "inference=slide"}.get(done.task)
    if changed:
        plain, other = (
            asked(done, "predict", done.checkpoint, wide, "--json", *words)[1] for words in ([], ["--set", changed])
        )
        assert plain != other
    for setting, said in (
        ("colour=red", "unknown setting 'task.colour'"),
        ("name=aesthetics", "--set cannot change"),
        ("colour=[1", "value that cannot be read"),
    ):
        code, _, err = asked(done, "predict", done.checkpoint, done.images[0], "--set", setting)
        assert (code, said in err) == (2, True), err


def test_a_setting_of_another_task_is_refused(done):
    code, _, err = asked(done, "predict", done.checkpoint, done.images[0], "--top-k", "3")
    assert (code, "unknown setting 'task.top_k'" in err) == (2, True), err


def test_one_name_in_several_folders_is_drawn_for_each(done, tmp_path):
    files = [tmp_path / name for name in ("x/a.jpg", "y/a.jpg", "z/a-2.jpg")]
    for file in files:
        file.parent.mkdir()
        file.write_bytes(done.images[0].read_bytes())
    assert asked(done, "predict", done.checkpoint, *files, "--pictures", tmp_path / "drawn")[0] == 0
    assert len(list((tmp_path / "drawn").iterdir())) == 3


def test_what_is_there_is_not_written_over(done, tmp_path):
    out = tmp_path / WRITTEN.get(done.task, "predictions.csv")
    for words, said in (
        (["--out", out], "exists already" if out.suffix else "is a file"),
        (
            ["--out", tmp_path / f"new{out.suffix}", "--pictures", tmp_path / f"new{out.suffix}"],
            "give each a place of its own",
        ),
    ):
        out.write_text("mine")
        code, _, err = asked(done, "predict", done.checkpoint, done.images[0], *words)
        assert (code, said in err or "exists already" in err, out.read_text()) == (2, True, "mine"), err
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name]


def test_pictures_are_not_drawn_over_the_images(done, tmp_path):
    image = tmp_path / "x.png"
    decode(done.images[0]).save(image)
    before = image.read_bytes()
    code, _, err = asked(done, "predict", done.checkpoint, image, "--pictures", tmp_path / "." / "")
    assert (code, "would write over images to predict" in err, image.read_bytes()) == (2, True, before), err
    decode(done.images[0]).save(tmp_path / "y.jpg")
    assert asked(done, "predict", done.checkpoint, tmp_path / "y.jpg", "--pictures", tmp_path)[0] == 0
    assert (tmp_path / "y.png").is_file()


def test_a_folder_that_cannot_be_written_to_is_refused_before_the_evaluation(done, tmp_path, monkeypatch):
    (tmp_path / "busy").write_text("mine")
    monkeypatch.setattr("maxvit.inference.evaluate.evaluate", None)
    code, _, err = asked(done, "evaluate", done.checkpoint, done.data, "--out", tmp_path / "busy")
    assert (code, "busy is a file" in err) == (2, True), err


@pytest.mark.full
def test_two_processes_learn_a_task_together_and_agree_on_its_figures(done, tmp_path):
    words = [w for s in [*SETTINGS, *OWN.get(done.task, [])] for w in ("--set", s)]
    command = [sys.executable, "-m", "maxvit", "train", str(done.data), "--task", done.task, *words, "--devices", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        [*command, "--out", str(tmp_path / "run")], capture_output=True, text=True, timeout=300, env=environment
    )
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--task", "segmentatoin"],
            "unknown task 'segmentatoin': choose aesthetics, classification, detection, masked",
        ),
        (["--task", "json"], "module json has no TASK"),
        (["--task", "aesthetics", "--set", "task.dropuot=1"], "did you mean 'task.dropout'"),
        (["--task", "aesthetics", "--set", "task.dropout=2"], "task.dropout is 2"),
        (["--task", "aesthetics", "--set", "task.mixup=0.5"], "unknown setting 'task.mixup'"),
        (["--task", "aesthetics", "--set", "data.fit=crop"], "data.fit is crop"),
        (["--task", "aesthetics", "--set", "data.crop_pct=0.5"], "data.crop_pct is 0.5"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(words, said, tmp_path):
    code, out, err = call("train", tmp_path, *words, "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert said in err
    assert not (tmp_path / "run").exists()


def test_masks_in_black_and_white_are_refused_where_three_classes_have_names(tmp_path):
    for name in "ab":
        for folder, mode in (("images", "RGB"), ("masks", "L")):
            (tmp_path / folder).mkdir(exist_ok=True)
            image = Image.new(mode, (40, 40))
            if mode == "L":
                image.paste(255, (10, 10, 20, 20))
            image.save(tmp_path / folder / f"{name}.png")
    (tmp_path / "classes.txt").write_text("background\nobject\nother\n")
    code, _, err = call("train", tmp_path, "--task", "segmentation", "--out", tmp_path / "run")
    assert (code, "hold 0 and 255 alone" in err) == (2, True)


def test_annotations_that_do_not_fit_are_named_before_any_work(tmp_path):
    for name, side in (("a", 40), ("b", 40), ("c", 40)):
        for folder, mode, size in (("images", "RGB", side), ("masks", "L", side + 1)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.new(mode, (size, size), 1).save(tmp_path / folder / f"{name}.png")
    (tmp_path / "classes.txt").write_text("background\nobject\n")
    code, _, err = call("train", tmp_path, "--task", "segmentation", "--out", tmp_path / "run")
    assert (code, ".png" in err and "0 of the" in err) == (2, True), err
    assert not (tmp_path / "run").exists()


def test_data_that_does_not_exist_is_named(tmp_path):
    for name in ("segmentation", "detection", "aesthetics"):
        code, _, err = call("train", tmp_path / "nothing", "--task", name, "--out", tmp_path / "run")
        assert (code, "nothing does not exist" in err) == (2, True)
        assert "no data is given" in call("train", "--task", name, "--out", tmp_path / "run")[2]
