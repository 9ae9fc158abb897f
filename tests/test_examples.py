import importlib.util
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from maxvit.cli import main
from maxvit.data.digits import load_digits
from maxvit.data.labelled import Splits

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


def test_the_loss_of_the_resnet_with_maxsa_falls(monkeypatch, capsys):
    module = example("maxsa_in_resnet")
    data = load_digits()
    few = Splits(data.train.subset(range(192)), data.val)  # three batches an epoch
    monkeypatch.setattr(module, "load_digits", lambda: few)
    losses = module.train(module.resnet_with_maxsa(10), epochs=4)
    assert len(losses) == 12
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])
    assert capsys.readouterr().out.count("epoch ") == 4


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
