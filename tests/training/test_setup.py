"""Data of which too little can be used is refused before any work, in words that say what to do."""

import pytest
from PIL import Image

from maxvit.errors import MaxViTError
from maxvit.training.progress import ProgressBar
from maxvit.training.recipe import load_recipe
from maxvit.training.setup import load_data, make_network


@pytest.fixture
def listed(tmp_path):
    """A list of eight images, of which some do not exist."""

    def call(missing):
        rows = [f"{i}.png,{'ab'[i % 2]},{'val' if i < 2 else 'train'}" for i in range(8)]
        (tmp_path / "list.csv").write_text("path,label,split\n" + "\n".join(rows))
        for i in range(8 - missing):
            Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
        return f"data.path={tmp_path / 'list.csv'}"

    return call


@pytest.mark.parametrize(("missing", "limit", "enough"), [(2, 0.25, True), (3, 0.25, False), (3, 0.5, True)])
def test_missing_images_count_as_images_that_cannot_be_read(listed, missing, limit, enough):
    recipe = load_recipe("folder", [listed(missing), f"data.max_unreadable_fraction={limit}"])
    if enough:
        assert len(load_data(recipe).train) == 6 - missing
        return
    with pytest.raises(
        MaxViTError, match=r"3 of the 8 images are missing, more than data\.max_unreadable_fraction \(25%\) allows"
    ):
        load_data(recipe)


def test_a_single_training_image_is_said_to_be_too_few(tmp_path):
    scores = ",".join("1" * 10)
    header = "image,split," + ",".join(map(str, range(1, 11)))
    (tmp_path / "scores.csv").write_text(f"{header}\na.png,train,{scores}\nb.png,val,{scores}\n")
    for name in "ab":
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    recipe = load_recipe("aesthetics", [f"data.path={tmp_path}"])
    with pytest.raises(MaxViTError, match=r"^1 training image is too few, at least 2 are needed: add some$"):
        load_data(recipe)


def test_a_line_above_the_bar_keeps_its_brackets(capsys):
    ProgressBar(1, 1, show=True).say("pip install 'maxvit[heif]'")
    assert capsys.readouterr().err == "pip install 'maxvit[heif]'\n"


def test_order_and_depths_of_a_recipe_are_those_of_the_network():
    recipe = load_recipe("ablation", ["model.order=[BG, CBB, CP, GBC]", "model.depths=[1, 2, 1, 1]"])
    network = make_network(recipe, ["a", "b"])
    assert (network.config.order, network.config.depths) == (("BG", "CBB", "CP", "GBC"), (1, 2, 1, 1))
    assert [list(stage[0]._modules) for stage in network.stages][2:] == [
        ["mbconv", "attention"],
        ["downsample", "grid_attention", "block_attention", "mbconv"],
    ]


def test_an_order_that_does_not_exist_is_refused_before_any_data_is_read():
    with pytest.raises(MaxViTError, match=r"order is 'GXC'; it takes letters of C \(MBConv\), B \(block attention\)"):
        load_recipe("ablation", ["model.order=GXC"])
