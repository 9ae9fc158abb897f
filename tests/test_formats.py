"""Files say the number of their format; every 1.x reads every earlier one, and refuses what it would misread."""

from pathlib import Path

import pytest
import torch
import yaml

import maxvit
from maxvit import storage
from maxvit.errors import MaxViTError
from maxvit.training.checkpoints import read_state, write_state
from maxvit.versions import FORMAT_VERSION, check_version

FORMATS = Path(__file__).parent / "formats"  # as 1.0 wrote them: they are never written anew
UPDATE = r"update maxvit \(pip install -U maxvit\)"


@pytest.fixture
def files(tmp_path):
    """Writes a checkpoint, a recipe and a state that say so of their format; None: they say nothing."""

    def write(said):
        tensors, metadata = storage.load(FORMATS / "checkpoint_1.0.safetensors")
        recipe = yaml.safe_load((FORMATS / "recipe_1.0.yaml").read_text())
        write_state(tmp_path, 1, {"learner": {}}, 1)
        state = torch.load(tmp_path / "states" / "000000001.state")
        for values, key in ((metadata, "format_version"), (recipe, "format"), (state, "format")):
            assert values.pop(key) == "1.0"
            if said is not None:
                values[key] = said
        storage.save(tmp_path / "m.safetensors", tensors, metadata)
        (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
        torch.save(state, tmp_path / "s.state")
        return {
            maxvit.load: tmp_path / "m.safetensors",
            maxvit.load_recipe: str(tmp_path / "r.yaml"),
            read_state: tmp_path / "s.state",
        }

    return write


def test_a_checkpoint_of_format_1_0_answers_as_it_did():
    network = maxvit.load(FORMATS / "checkpoint_1.0.safetensors")
    assert (network.class_names, network.preprocessing.image_size) == (["ant", "bee"], (32, 32))
    images = torch.linspace(-1, 1, 3 * 32 * 35).reshape(1, 3, 32, 35)
    torch.testing.assert_close(network(images), torch.tensor([[0.04235047, 0.33346024]]))


def test_a_recipe_of_format_1_0_says_what_it_did():
    recipe = maxvit.load_recipe(str(FORMATS / "recipe_1.0.yaml"))
    assert (recipe.task["name"], recipe.data.image_size, recipe.optimization.epochs) == ("segmentation", (48, 64), 60)


@pytest.mark.parametrize("said", [None, "1.0", "1.999"])
def test_files_of_the_same_major_format_are_read(files, said):
    for read, file in files(said).items():
        read(file)


def test_a_file_of_a_later_major_format_is_refused_before_it_is_read(files):
    for read, file in files("2.0").items():
        with pytest.raises(MaxViTError, match=rf"has format 2\.0, and this version reads 1\.x: {UPDATE}"):
            read(file)


def test_an_unknown_setting_of_a_later_minor_format_is_refused_with_the_reason(tmp_path):
    tensors, metadata = storage.load(FORMATS / "checkpoint_1.0.safetensors")
    metadata |= {"format_version": "1.7", "config": {**metadata["config"], "newer": 1}}
    storage.save(tmp_path / "m.safetensors", tensors, metadata)
    (tmp_path / "r.yaml").write_text("format: '1.7'\ndata: {newer: 1}\n")
    why = rf"newer.*has format 1\.7, and this version knows {FORMAT_VERSION}: {UPDATE}"
    with pytest.raises(MaxViTError, match=why):
        maxvit.load(tmp_path / "m.safetensors")
    with pytest.raises(MaxViTError, match=why):
        maxvit.load_recipe(str(tmp_path / "r.yaml"))


def test_what_is_no_number_of_a_format_is_named():
    with pytest.raises(MaxViTError, match=r"x has format 'new', and formats are such as"):
        check_version("new", "x")
