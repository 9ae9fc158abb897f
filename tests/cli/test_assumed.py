"""Every command that answers by weights that do not describe their network says what it assumed."""

import pytest
import torch

from maxvit import MaxViT, MaxViTConfig, load_model
from maxvit.cli import main
from maxvit.cli.serve import _open
from maxvit.inference.engines import open_sizes
from small import write_images

CONFIG = MaxViTConfig(
    stem_channels=8, channels=(8, 8, 8, 8), depths=(1, 1, 1, 1), head_dim=4, num_classes=3, image_size=(32, 32),
    window_size=(1, 1), grid_size=(1, 1), bias_table_size=(1, 1),
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("assumed")
    torch.save(MaxViT(CONFIG).state_dict(), folder / "plain.pth")
    load_model(folder / "plain.pth").save(folder / "converted.safetensors")
    MaxViT(CONFIG).save(folder / "ours.safetensors")
    write_images(folder / "images", 1)
    return folder


def said(path, err):
    return err.count(f"{path} does not say everything; assumed: one class of many (softmax), windows as large as")


@pytest.mark.parametrize(("name", "number"), [("plain.pth", 1), ("converted.safetensors", 1), ("ours.safetensors", 0)])
@pytest.mark.parametrize(
    "command",
    [
        lambda checkpoint, images, out: ["predict", checkpoint, images],
        lambda checkpoint, images, out: ["predict", checkpoint, images, "--out", out / "answers.csv"],
        lambda checkpoint, images, out: ["evaluate", checkpoint, images, "--all"],
        lambda checkpoint, images, out: ["explain", checkpoint, images / "red" / "0.png", "--out", out],
    ],
)
def test_commands_say_once_what_was_assumed(command, place, name, number, tmp_path, capsys):
    words = [*map(str, command(place / name, place / "images", tmp_path)), "--device", "cpu"]
    assert main(words) == 0
    assert said(place / name, capsys.readouterr().err) == number


def test_a_server_and_windows_that_are_scaled_say_it_once(place, capsys):
    path = place / "plain.pth"
    _open({"plain": [path]}, "auto", "cpu", "fp32", "none", [], page=True)
    assert said(path, capsys.readouterr().err) == 1
    open_sizes(path, [(32, 32), (64, 64)], scale_windows=True)
    assert said(path, capsys.readouterr().err) == 1
