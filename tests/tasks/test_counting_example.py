"""A task that is no part of the package goes through the same interface."""

import math
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maxvit import create_model
from maxvit.config import Preprocessing
from maxvit.errors import MaxViTError
from maxvit.tasks import load, make_task

NAME = "examples.counting_task"
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def counting(monkeypatch):
    """Make the task as the library does, from its dotted name."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setitem(sys.modules, NAME, None)
    del sys.modules[NAME]
    return lambda **settings: make_task({"name": NAME, **settings})


@pytest.fixture
def squares(tmp_path):
    """Write images of 0 to 3 white squares, and counts.csv."""
    random, rows = np.random.default_rng(0), ["image,count,split"]
    (tmp_path / "images").mkdir()
    for i in range(12):
        pixels = random.integers(0, 40, (64, 64, 3), np.uint8)
        for k in range(i % 4):
            pixels[8:24, 16 * k + 2 : 16 * k + 14] = 255
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
        rows.append(f"{i}.png,{i % 4},{'test' if i > 9 else 'train'}")
    (tmp_path / "counts.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_a_task_of_a_user_learns_is_saved_and_comes_back(counting, squares, tmp_path):
    task = counting(stride=8)
    data = task.load(squares, 0.3, 0)
    assert (len(data.train), len(data.val), len(data.test)) == (7, 3, 2)
    spec = Preprocessing(image_size=(64, 64), fit="squash", crop_pct=1.0)
    network = task.make_network(create_model("maxvit_micro", image_size=64), data.train.class_names)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    losses = []
    for _ in range(15):
        items = [task.augment(spec, *one) for one in zip(data.train.sources, data.train.labels, strict=True)]
        targets = task.collate([truth for _, truth in items])
        loss = task.losses(network.train(), torch.stack([image for image, _ in items]), targets)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) < 0.6 * sum(losses[:3])
    network.eval().save(tmp_path / "a.safetensors")
    again = load(tmp_path / "a.safetensors")
    held_out = task.load_eval(squares, again.class_names)
    assert list(held_out.names) == ["10.png", "11.png"]
    images = torch.stack([task.prepare(spec, source) for source in held_out.sources])
    with torch.no_grad():
        answers = task.predict(again, images, [(64, 64)] * 2)
        assert torch.equal(torch.stack(answers), network(images))
    picture = task.draw_prediction(Image.new("RGB", (70, 50)), answers[0], again.class_names)
    assert picture.size == (70, 50)
    assert np.asarray(picture).max() > 200
    assert task.row(torch.tensor(2.25), again.class_names) == {"count": 2.25}
    assert task.summary(torch.tensor(1.75), ["object"]) == "2 objects (1.75)"


def test_the_figures_of_a_count_are_those_of_hand_and_merge(counting):
    first, second = counting().metric([]), counting().metric([])
    assert math.isnan(first.compute()["right"])
    first.add([torch.tensor(2.25)], [torch.tensor(2.0)])
    second.add([torch.tensor(0.5), torch.tensor(4.0)], [torch.tensor(2.0), torch.tensor(4.0)])
    first.merge(pickle.loads(pickle.dumps(second.state())))
    assert first.compute() == pytest.approx({"error": 1.75 / 3, "right": 2 / 3})


def test_mistakes_of_a_user_s_data_are_explained(counting, squares):
    task = counting()
    table = (squares / "counts.csv").read_text()
    for line, said in (
        ("0.png,-1,train", "line 14 of .*a count from 0 up"),
        ("0.png,1,training", "a split: train, val or test"),
        ("0.png", "line 14"),
        ("no.png,1,val", "no.png does not exist"),
    ):
        (squares / "counts.csv").write_text(table + line + "\n")
        with pytest.raises(MaxViTError, match=said):
            task.load(squares, 0.3, 0)
    with pytest.raises(MaxViTError, match=r"counts\.csv does not exist"):
        task.load(squares / "images", 0.3, 0)
    with pytest.raises(MaxViTError, match=r"task\.stride is 5; choose from"):
        counting(stride=5).make_network(create_model("maxvit_micro", image_size=64), ["object"])
    with pytest.raises(MaxViTError, match="unknown setting"):
        counting(strides=8)
