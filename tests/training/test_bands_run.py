"""Images of five bands, from `maxvit train` to every later command."""

import json

import numpy as np
import pytest
import tifffile
from sklearn.datasets import load_digits
from starlette.testclient import TestClient

from maxvit import load_model
from maxvit.cli import main
from maxvit.errors import MaxViTError
from maxvit.inference.predictor import Predictor
from maxvit.serve.app import create_app
from maxvit.training.setup import make_network
from small import SETTINGS


def write_digits(folder, number, classes=range(10)):
    """FOLDER/DIGIT/*.tif: the digit is in 220 values of the fourth band, and the others are noise in 20,000."""
    digits, random = load_digits(), np.random.default_rng(0)
    for i in [i for i, digit in enumerate(digits.target) if digit in classes][:number]:
        bands = random.integers(0, 20_000, (32, 32, 5)).astype(np.uint16)
        bands[..., 3] = 300 + 200 * np.kron(digits.images[i] / 16, np.ones((4, 4))) + random.integers(0, 20, (32, 32))
        path = folder / str(digits.target[i]) / f"{i}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, bands, photometric="minisblack", planarconfig="contig")
    return folder


def settings(*given):
    return [word for setting in (*SETTINGS, *given) for word in ("--set", setting)]


def call(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out, err


def test_every_command_takes_five_bands(tmp_path, capsys):
    data, run = write_digits(tmp_path / "data", 16, (0, 1)), tmp_path / "run"
    chosen = settings(
        "optimization.epochs=1", "task.augmentation=photos", "task.rand_augment=[2,9]", "data.shown_bands=[4,3,2]"
    )
    _, err = call(capsys, "train", data, *chosen, "--out", run)
    (said,) = (line for line in err.splitlines() if line.startswith("images of 5 bands"))
    assert said == (
        "images of 5 bands, as the files say (model.in_channels sets another number); mean and std are 0.5 (data.mean "
        "and data.std set others); left out, as it is for photographs: RandAugment's operations on colours; pictures "
        "show bands 4, 3 and 2 of 5 as red, green and blue"
    )
    network = load_model(run / "best.safetensors")
    assert network.config.in_channels == len(network.preprocessing.value_range) == 5
    assert "show bands 4, 3 and 2 of 5" in (run / "report.html").read_text()

    first = sorted(data.rglob("*.tif"))[0]
    call(capsys, "predict", run, data, "--pictures", tmp_path / "drawn", "--out", tmp_path / "out.csv")
    assert len(list((tmp_path / "drawn").iterdir())) == 16
    out, _ = call(capsys, "explain", run, first, "--out", tmp_path / "maps", "--method", "class-rollout")
    assert "pictures show bands 4, 3 and 2 of 5 as red, green and blue" in out
    out, _ = call(capsys, "info", run)
    assert "above 8 bits: from black to white, " in out
    call(capsys, "shard", data, tmp_path / "shards")
    out, _ = call(capsys, "evaluate", run, tmp_path / "shards", "--json")
    assert json.loads(out)["images"] == 3

    predictor = Predictor(network)
    array = tifffile.imread(first)
    np.save(tmp_path / "a.npy", array)
    wanted = predictor(first)[0].value
    for source in (tmp_path / "a.npy", array):
        assert np.array_equal(predictor(source)[0].value, wanted)
    with TestClient(create_app({"bands": predictor})) as client:
        for content in (first.read_bytes(), (tmp_path / "a.npy").read_bytes()):
            (answer,) = client.post("/predict?picture=true", files=[("image", ("a", content))]).json()["results"]
            assert answer["error"] is None
            assert answer["picture"].startswith("data:image/png")


def test_each_channel_needs_its_mean(small_recipe):
    made = make_network(small_recipe("model.in_channels=2", "data.mean=[0.1,0.2]", "data.std=[0.3,0.4]"), ["a", "b"])
    assert (made.preprocessing.mean, made.preprocessing.std) == ((0.1, 0.2), (0.3, 0.4))
    with pytest.raises(MaxViTError, match=r"data\.mean has 2 values, and the network 5 channels"):
        make_network(small_recipe("model.in_channels=5", "data.mean=[0.1,0.2]"), ["a", "b"])


def test_bands_that_differ_are_refused_before_anything_is_computed(tmp_path, capsys):
    data = write_digits(tmp_path / "data", 16, (0, 1))
    other = sorted(data.rglob("*.tif"))[3]
    tifffile.imwrite(other, tifffile.imread(other)[..., :4], photometric="minisblack", planarconfig="contig")
    assert main(["train", str(data), *settings(), "--out", str(tmp_path / "run")]) == 2
    assert f"{other.name} has 4" in capsys.readouterr().err
    assert main(["train", str(data), *settings("model.in_channels=3"), "--out", str(tmp_path / "run")]) == 2
    assert "has 5 bands, and the network takes 3" in capsys.readouterr().err


def test_check_says_which_bands_it_judges_by(tmp_path, capsys):
    data = write_digits(tmp_path / "data", 6, (0, 1))
    copied = sorted(data.rglob("*.tif"))[0]
    same = tifffile.imread(copied)
    tifffile.imwrite(
        copied.with_name("again.tif"), same, photometric="minisblack", planarconfig="contig", compression="zlib"
    )
    out, _ = call(capsys, "check", data, "--json")
    found = json.loads(out)
    assert any("judged by bands 1, 2 and 3 of 5" in sentence for sentence in found["left_out"])
    assert [pair["kind"] for pair in found["duplicates"]] == ["same pixels"]


@pytest.mark.full
def test_what_is_visible_in_one_dim_band_is_learned(tmp_path, capsys):
    data = write_digits(tmp_path / "data", 600)
    learned = settings("optimization.epochs=8", "optimization.warmup_epochs=1", "data.batch_size=32")
    accuracy = {}
    for name, given in {"own": (), "shared": ("--set", "data.value_range=[0,20000]")}.items():
        out, _ = call(capsys, "train", data, *learned, *given, "--out", tmp_path / name, "--json")
        accuracy[name] = json.loads(out)["metrics"]["accuracy"]
    assert accuracy["own"] > 0.85
    assert accuracy["shared"] < 0.3
