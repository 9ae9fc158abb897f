import importlib.util
import os
import runpy
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from starlette.testclient import TestClient

import maxvit
from every_task import network_of
from maxvit.cli import main
from maxvit.data.builtin import load_digits
from maxvit.data.dataset import Splits
from small import CLASSES, write_images

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name):
    """An example, imported by its path."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_parameter_of_the_resnet_with_maxsa_learns():
    network = example("maxsa_in_resnet").resnet_with_maxsa(num_classes=10)
    F.cross_entropy(network(torch.randn(7, 3, 32, 32)), torch.arange(7)).backward()
    names = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert names == []
    assert any("bias.table" in name for name, _ in network.named_parameters())  # MaxSA is in it


@pytest.mark.full
def test_the_loss_of_the_resnet_with_maxsa_falls(monkeypatch, capsys):
    module = example("maxsa_in_resnet")
    data = load_digits()
    few = Splits(data.train.subset(range(192)), data.val)  # three batches an epoch
    monkeypatch.setattr(module, "load_digits", lambda: few)
    losses = module.train(module.resnet_with_maxsa(10), epochs=4)
    assert len(losses) == 12
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])
    assert capsys.readouterr().out.count("epoch ") == 4


def unseen(network, x, *parts):
    """The parameters that a loss on some outputs does not reach."""
    network(x)[parts].square().sum().backward()
    return [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]


@pytest.mark.parametrize("attention", [True, False])
def test_one_end_of_a_volume_sees_the_other_where_maxsa_is_in_the_unet_and_not_where_it_is_not(attention):
    module = example("maxsa_in_unet3d")
    network = module.UNet3D(attention)
    x, classes = module.volumes(4, torch.Generator().manual_seed(0))
    kinds = [of_one.unique().tolist() for of_one in classes[:, -module.SLICES :]]
    assert all(kind in ([module.IGNORED, 0], [module.IGNORED, 1]) for kind in kinds)
    assert (classes[:, : -module.SLICES] == module.IGNORED).all()
    assert unseen(network, x.requires_grad_(), slice(None), slice(None), slice(-module.SLICES, None)) == []
    assert bool((x.grad[:, :, : module.SLICES] != 0).any()) == attention


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_unet_with_maxsa_learns_what_it_cannot_without():
    module, found = example("maxsa_in_unet3d"), []
    for attention in (True, False):
        torch.manual_seed(0)
        found.append(module.train(module.UNet3D(attention), steps=200, seed=0))
    assert found[0] >= 0.95
    assert found[1] < 0.7


def test_every_parameter_of_the_recurrent_network_with_maxsa_learns_from_frames_of_any_size():
    module = example("maxsa_in_convlstm")
    frames = module.rain(2, torch.Generator().manual_seed(0))
    assert frames.shape == (2, module.FRAMES, 1, module.SIDE, module.SIDE)
    assert unseen(module.Forecast(), frames[..., :24, :20], slice(None), -1) == []


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_recurrent_network_with_maxsa_foretells_rain_better_than_standing_still():
    module = example("maxsa_in_convlstm")
    torch.manual_seed(0)
    assert module.train(module.Forecast(), steps=150) < 0.75


@pytest.mark.full  # lightning takes seconds to import
@pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="needs lightning: pip install lightning")
@pytest.mark.filterwarnings("ignore")  # Lightning's own, about a logger, workers and so few batches
def test_lightning_changes_every_parameter_and_leaves_a_checkpoint_that_predicts(tmp_path):
    data = write_images(tmp_path / "colours", 4)
    few = {"max_epochs": 1, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    network = example("lightning_module").train(str(data), accelerator="cpu", enable_model_summary=False, **few)
    before = maxvit.create_model("maxvit_micro", num_classes=3, pretrained="formulas-32").state_dict()
    kept = [name for name, p in network.named_parameters() if torch.equal(p, before[name])]
    assert [name for name in kept if "stages.3." not in name or ".bias." not in name] == []  # a map of one token there
    network.save(tmp_path / "trained.safetensors")
    (found,) = maxvit.Predictor(tmp_path / "trained.safetensors")(data / "red" / "0.png")
    assert {one["class"] for one in found.to_json()["classes"]} == set(CLASSES)


CHOICES = """<View><Image name="photo" value="$picture"/><Choices name="kind" toName="photo">
<Choice value="cat"/></Choices></View>"""
BOXES = CHOICES.replace("Choices", "RectangleLabels").replace("Choice ", "Label ")


@pytest.fixture
def studio(tmp_path, monkeypatch):
    """Ask the backend with a network of a task about a picture of 40 x 20 pixels; it has no other place to ask."""
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://studio:8080")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "secret")
    picture = tmp_path / "picture.png"
    Image.new("RGB", (40, 20), "red").save(picture)
    asked = []

    def get(url, headers, timeout):
        asked.append((url, headers.get("Authorization")))
        return httpx.Response(200, content=picture.read_bytes(), request=httpx.Request("GET", url))

    def ask(task, label_config, place="/data/upload/1/picture.png"):
        module, path = example("label_studio_backend"), tmp_path / f"{task}.safetensors"
        monkeypatch.setattr(module.httpx, "get", get)
        network_of(task).save(path)
        with TestClient(module.make_app(str(path))) as client:
            assert client.get("/health").json() == {"status": "UP", "model_class": task}
            assert client.post("/setup", json={"project": "1.2"}).json() == {"model_version": str(path)}
            tasks = [{"id": 7, "data": {"picture": place}}]
            answer = client.post("/predict", json={"tasks": tasks, "label_config": label_config, "project": "1.2"})
        return answer, maxvit.Predictor(path)(picture)[0].to_json(), asked

    return ask


def test_label_studio_gets_the_most_probable_class_as_a_choice(studio):
    answer, said, asked = studio("classification", CHOICES)
    ((mark,),) = [one["result"] for one in answer.json()["results"]]
    best = said["classes"][0]
    assert mark == {
        "from_name": "kind",
        "to_name": "photo",
        "type": "choices",
        "value": {"choices": [best["class"]]},
        "score": pytest.approx(best["probability"]),
    }
    assert asked == [("http://studio:8080/data/upload/1/picture.png", "Token secret")]


def test_label_studio_gets_boxes_in_percent_of_the_image(studio):
    answer, said, asked = studio("detection", BOXES, "https://elsewhere/picture.png")
    (result,) = answer.json()["results"]
    assert len(result["result"]) == len(said["objects"]) > 0
    for mark, one in zip(result["result"], said["objects"], strict=True):
        value, (left, top, right, bottom) = mark["value"], one["box"]
        assert (mark["type"], mark["original_width"], mark["original_height"]) == ("rectanglelabels", 40, 20)
        assert value["rectanglelabels"] == [one["class"]]
        ends = [value["x"], value["y"], value["x"] + value["width"], value["y"] + value["height"]]
        assert ends == pytest.approx([left / 0.4, top / 0.2, right / 0.4, bottom / 0.2])
    assert result["score"] == pytest.approx(max(one["score"] for one in said["objects"]))
    assert asked == [("https://elsewhere/picture.png", None)]  # the key is for Label Studio alone


def test_label_studio_is_told_which_labels_the_network_fills_in(studio):
    answer, _, _ = studio("detection", CHOICES)
    assert (answer.status_code, "RectangleLabels" in answer.json()["detail"]) == (422, True)


def test_save_digits_writes_ten_held_out_digits_with_their_names(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["save_digits.py", str(tmp_path / "digits")])
    runpy.run_path(str(EXAMPLES / "save_digits.py"), run_name="__main__")
    assert sorted(p.name for p in (tmp_path / "digits").iterdir()) == [f"a_{digit}.png" for digit in range(10)]
    test = load_digits().test
    for digit in range(10):
        pixels = np.asarray(Image.open(tmp_path / "digits" / f"a_{digit}.png"))
        same = [label for label, source in zip(test.labels, test.sources, strict=True) if (source == pixels).all()]
        assert same == [digit]


def test_sample_photos_cuts_what_is_learned_and_what_is_asked_from_different_places(tmp_path, monkeypatch):
    module = example("sample_photos")
    width, height = 600, 400
    columns = np.broadcast_to(np.linspace(0, 255, width)[None, :, None], (height, width, 3)).astype(np.uint8)
    monkeypatch.setattr(module, "load_pictures", lambda: {"ramp": Image.fromarray(columns)})
    module.save_crops(tmp_path, crops=50)
    learned = [np.asarray(Image.open(path)) for path in (tmp_path / "train" / "ramp").iterdir()]
    asked = np.asarray(Image.open(tmp_path / "fresh" / "ramp.jpg"))
    assert len(learned) == 50
    assert {crop.shape for crop in (*learned, asked)} == {(96, 96, 3)}
    assert max(int(crop.max()) for crop in learned) < int(asked.min())  # the picture is brighter to the right


@pytest.fixture
def photos(tmp_path, capsys):
    """What the example says to do: the exit code of predict and its first answers by class."""

    def go(crops, *settings):
        example("sample_photos").save_crops(tmp_path / "photos", crops)
        options = [word for setting in settings for word in ("--set", setting)]
        run = tmp_path / "run"
        assert main(["train", str(tmp_path / "photos"), *options, "--out", str(run)]) == 0
        capsys.readouterr()
        code = main(["predict", str(run / "best.safetensors"), str(tmp_path / "photos" / "fresh"), "--top-k", "1"])
        lines = capsys.readouterr().out.splitlines()
        return code, {Path(line.split(": ")[0]).stem: line.split(": ")[1].rsplit(" ", 1)[0] for line in lines}

    return go


def test_the_walk_through_with_photographs_works(photos):
    code, answers = photos(6, "data.image_size=32", "optimization.epochs=2", "optimization.warmup_epochs=0")
    assert code == 0
    assert {"china", "flower"} <= set(answers)  # these two never need a download
    assert set(answers.values()) <= set(answers)  # a class for each


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_the_walk_through_with_photographs_gets_more_than_half_of_the_fresh_crops_right(photos):
    code, answers = photos(40)
    assert code == 0
    if len(answers) < 10:
        pytest.skip("scikit-image has no network to download the other pictures")
    assert sum(answer == truth for truth, answer in answers.items()) > 5  # 7 were measured; by chance it is 1


@pytest.fixture
def classified(tmp_path):
    """A checkpoint, a folder of two images and one that is none, and what the predictor says."""
    path, folder = tmp_path / "micro.safetensors", tmp_path / "images"
    maxvit.create_model("maxvit_micro", num_classes=3, image_size=32).save(path)
    folder.mkdir()
    for i, colour in enumerate(((200, 30, 30), (30, 200, 90))):
        Image.new("RGB", (32, 37), colour).save(folder / f"{i}.png")
    (folder / "2.png").write_text("no image")
    return path, folder, maxvit.Predictor(path, settings={"top_k": 2})([folder / "0.png", folder / "1.png"])


def assert_same(rows, answers):
    for row, answer in zip(rows, answers, strict=True):
        classes = answer.to_json()["classes"]
        assert [row["class_1"], row["class_2"]] == [one["class"] for one in classes]
        given = [row["probability_1"], row["probability_2"]]
        np.testing.assert_allclose(given, [one["probability"] for one in classes], rtol=1e-5)


def test_what_ray_calls_answers_as_the_predictor_and_says_what_is_no_image(classified):
    path, folder, answers = classified
    classify = example("ray_predict").Classify(str(path), top_k=2)
    files = [folder / f"{i}.png" for i in range(3)]
    batch = {
        "bytes": np.array([file.read_bytes() for file in files], dtype=object),
        "path": np.array(list(map(str, files))),
    }
    found = classify(batch)
    rows = [{name: column[i] for name, column in found.items()} for i in range(3)]
    assert_same(rows[:2], answers)
    assert [row["path"] for row in rows] == list(map(str, files))
    assert [row["error"] is None for row in rows] == [True, True, False]
    assert (rows[2]["class_1"], np.isnan(rows[2]["probability_1"])) == (None, True)
    pixels = classify({"image": np.stack([np.asarray(Image.open(file)) for file in files[:2]])})
    assert_same([{name: column[i] for name, column in pixels.items()} for i in range(2)], answers)
    assert "image" not in pixels


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray: pip install 'ray[data]'")
def test_ray_predicts_a_folder_and_the_images_that_it_reads_itself(classified, tmp_path):
    import pyarrow.parquet

    path, folder, answers = classified
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(EXAMPLES), *sys.path])
    script, out = EXAMPLES / "ray_predict.py", tmp_path / "out"
    subprocess.run([sys.executable, script, path, folder, out], env=environment, check=True, timeout=400)
    rows = sorted(pyarrow.parquet.read_table(out).to_pylist(), key=lambda row: row["path"])
    assert_same(rows[:2], answers)
    assert [Path(row["path"]).name for row in rows] == ["0.png", "1.png", "2.png"]
    assert "not an image" in rows[2]["error"]
    (folder / "2.png").unlink()
    code = f"""
import ray
from ray_predict import Classify
found = ray.data.read_images({str(folder)!r}, include_paths=True, mode="RGB").map_batches(
    Classify, fn_constructor_args=[{str(path)!r}, 2], compute=ray.data.ActorPoolStrategy(size=1))
found.write_parquet({str(tmp_path / "images_out")!r})
"""
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=400)
    rows = pyarrow.parquet.read_table(tmp_path / "images_out").to_pylist()
    assert_same(sorted(rows, key=lambda row: row["path"]), answers)
