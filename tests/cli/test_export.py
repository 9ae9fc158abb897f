"""maxvit export, and the engines that predict and evaluate run in."""

import dataclasses
import json

import pytest

from maxvit.cli import main
from maxvit.create import create_model
from maxvit.inference.engines import FileEngine
from maxvit.tasks import make_task

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run a command in this process, with an empty cache: code, stdout, stderr = run("export", checkpoint)."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def call(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def test_an_exported_file_answers_as_its_checkpoint(run, trained, images, tmp_path):
    file = tmp_path / "model.onnx"
    code, out, err = run("export", trained.checkpoint, "--out", file)
    assert (code, err) == (0, "")
    difference, wrote = out.splitlines()
    assert difference.startswith("largest difference from PyTorch ")
    assert difference.endswith(" on 2 random and 2 real images, in ONNX Runtime")
    assert wrote == f"wrote {file}"
    wanted = [json.loads(line) for line in run("predict", trained.checkpoint, images, "--json")[1].splitlines()]
    code, out, err = run("predict", file, images, "--json", "--batch-size", "5")
    assert (code, err) == (0, "data: 24 images\nengine: ONNX Runtime\n")
    for answer, right in zip(map(json.loads, out.splitlines()), wanted, strict=True):
        assert answer["image"] == right["image"]
        assert [c["class"] for c in answer["classes"]] == [c["class"] for c in right["classes"]]
        probabilities = [c["probability"] for c in right["classes"]]
        assert [c["probability"] for c in answer["classes"]] == pytest.approx(probabilities, rel=1e-4)
    asked = (images, "--coverage", 0.75)
    assert run("predict", file, *asked)[1] == run("predict", trained.checkpoint, *asked)[1]


def test_export_replaces_a_file_only_when_it_is_told_to(run, trained, tmp_path):
    file = tmp_path / "model.onnx"
    file.write_text("mine")
    code, _, err = run("export", trained.checkpoint, "--out", file)
    assert (code, file.read_text()) == (2, "mine")
    assert err == f"error: {file} exists already: choose another name with --out, or replace it with --force\n"
    assert run("export", trained.checkpoint, "--out", file, "--force")[0] == 0


def test_a_checkpoint_that_is_not_there_is_named_also_where_the_file_is(run, tmp_path):
    (tmp_path / "m.onnx").write_text("mine")
    code, _, err = run("export", tmp_path / "missing.safetensors", "--out", tmp_path / "m.onnx", "--force")
    assert (code, err) == (2, f"error: {tmp_path / 'missing.safetensors'} does not exist: check the path\n")


def test_weights_file_an_openvino_file_are_replaced_only_where_it_is_told_to_and_never_the_checkpoint(
    run, trained, tmp_path
):
    (tmp_path / "m.bin").write_text("mine")
    code, _, err = run("export", trained.checkpoint, "--to", "openvino", "--out", tmp_path / "m.xml")
    assert (code, (tmp_path / "m.bin").read_text()) == (2, "mine")
    assert err.startswith(f"error: {tmp_path / 'm.bin'} exists already")
    checkpoint = tmp_path / "pytorch_model.bin"
    checkpoint.write_bytes(trained.checkpoint.read_bytes())
    code, _, err = run("export", checkpoint, "--to", "openvino", "--force")
    assert (code, checkpoint.read_bytes()) == (2, trained.checkpoint.read_bytes())
    assert err.startswith(f"error: {checkpoint} is the checkpoint")


def test_evaluate_says_its_engine_and_exports_for_it_once(run, trained, images):
    code, out, err = run("evaluate", trained.checkpoint, images, "--engine", "onnxruntime", "--json")
    assert (code, json.loads(out)["engine"]) == (0, "ONNX Runtime")
    assert [line.split()[0] for line in err.splitlines()] == ["exporting", "data:", "evaluated", "engine:"]
    again = run("evaluate", trained.checkpoint, images, "--engine", "onnxruntime", "--json")
    assert again == (0, out, err.partition("\n")[2])


def test_an_engine_or_format_that_is_unknown_is_a_mistake(run, trained, images):
    assert run("predict", trained.checkpoint, images, "--engine", "onnx") == (
        2,
        "",
        "error: unknown engine 'onnx': did you mean 'onnxruntime'?\n",
    )
    assert run("export", trained.checkpoint, "--to", "onxn")[::2] == (
        2,
        "error: unknown format 'onxn': did you mean 'onnx'?\n",
    )


def test_int8_is_calibrated_on_a_folder_and_says_how_many_answers_agree(run, trained, images, tmp_path):
    file = tmp_path / "model.onnx"
    code, out, err = run("export", trained.checkpoint, "--precision", "int8", "--images", images, "--out", file)
    assert (code, err) == (0, "data: 24 images\n")
    said, difference, wrote = out.splitlines()
    assert difference.endswith(" on 2 random and 4 real images, in ONNX Runtime")
    assert said.startswith("the prediction is that of fp32 for ")
    assert "% of 12 images" in said  # half of 24
    assert wrote == f"wrote {file}"
    code, _, err = run("predict", file, images)
    assert (code, err) == (0, "data: 24 images\nengine: ONNX Runtime, int8\n")


def test_int8_needs_images_of_the_networks_kind(run, trained, tmp_path):
    options = ["export", trained.checkpoint, "--precision", "int8", "--out", tmp_path / "model.onnx"]
    code, _, err = run(*options)
    assert (code, "knows other classes than digits: give images of its kind with --images" in err) == (2, True)
    code, _, err = run(*options, "--images", tmp_path / "nowhere")
    assert (code, err) == (2, f"error: {tmp_path / 'nowhere'} is not a folder: check the path\n")
    assert list(tmp_path.iterdir()) == []


def test_a_form_is_read_from_the_options_and_the_answer_is_json(run, trained, images, tmp_path):
    file = tmp_path / "model.xml"
    options = ["--to", "openvino", "--pixels", "--size", "45x64", "--batch", "2", "--precision", "fp16"]
    code, out, err = run("export", trained.checkpoint, *options, "--images", images, "--out", file, "--json")
    assert (code, err) == (0, "data: 24 images\n")
    answer = json.loads(out)
    assert (answer["file"], answer["weights"], answer["quantization"]) == (str(file), str(tmp_path / "model.bin"), None)
    assert (answer["verification"]["real"], answer["verification"]["engine"]) == (4, "OpenVINO")
    code, out, err = run("predict", file, images, "--json")
    assert (code, err) == (0, "data: 24 images\nengine: OpenVINO, fp16\n")
    assert len(out.splitlines()) == 24
    code, out, err = run("evaluate", file, images, "--json")
    assert (code, json.loads(out)["engine"]) == (0, "OpenVINO, fp16")


def test_windows_are_scaled_to_a_size_where_that_is_asked_for(run, trained, tmp_path):
    windows = {}
    for name, options in (("same", []), ("scaled", ["--scale-windows"])):
        assert run("export", trained.checkpoint, "--size", "96", *options, "--out", tmp_path / f"{name}.onnx")[0] == 0
        windows[name] = FileEngine(tmp_path / f"{name}.onnx").config.window_size
    assert windows == {"same": (4, 4), "scaled": (3, 3)}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--task", "detection"], "best.safetensors is for classification, and --task detection was given"),
        (["--set", "top_k=3"], "top_k is not part of an exported file: give --set to the command that runs it"),
        (["--scale-windows"], "--scale-windows is for --size, which was not given"),
        (["--size", "big"], "size 'big' cannot be read"),
        (["--opset", "9"], "opset is 9; it takes 17 to 23"),
        (["--precision", "fp8"], "unknown precision 'fp8'"),
        (["--any-size", "--size", "64"], "has no size of its own"),
        (["--to", "torch", "--precision", "int8", "--out", "model.pt2"], "slower than fp32"),
    ],
)
def test_options_that_do_not_fit_are_a_mistake(run, trained, images, tmp_path, monkeypatch, options, sentence):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("export", trained.checkpoint, "--out", "model.onnx", "--images", images, *options)
    assert (code, sentence in err, list(tmp_path.glob("model*"))) == (2, True, [])


@pytest.mark.filterwarnings("ignore:::torch.export", "ignore:::copyreg")
def test_a_checkpoint_of_another_task_is_exported_by_the_same_command(run, tmp_path):
    network = make_task({"name": "aesthetics"}).make_network(create_model("maxvit_micro"), ["1", "2"], new_head=True)
    backbone = network.backbone
    backbone.preprocessing = dataclasses.replace(backbone.preprocessing, image_size=(64, 64), fit="aspect")
    network.save(tmp_path / "a.safetensors")
    options = ["--to", "torch", "--pixels", "--batch", "1", "--task", "aesthetics"]
    code, out, err = run("export", tmp_path / "a.safetensors", *options)
    assert (code, err) == (0, "")
    difference, squeezed, wrote = out.splitlines()
    assert difference.endswith(" on 2 random and 2 real images, in PyTorch, exported")
    assert squeezed.startswith("its images are squeezed to one size, and keep their shapes in PyTorch")
    assert wrote == f"wrote {tmp_path / 'a.pt2'}"
    engine = FileEngine(tmp_path / "a.pt2")
    assert (engine.task.name, engine.preprocessing.fit) == ("aesthetics", "squash")
