"""A small data set and one finished run of it, shared by the tests of this folder, which only read them."""

import contextlib
import io
from pathlib import Path
from typing import NamedTuple

import pytest

from maxvit.training.recipe import Recipe, load_recipe
from maxvit.training.run import train
from small import SETTINGS, write_images


class Finished(NamedTuple):
    """A run of two epochs, its recipe, and what it said on standard error."""

    run: Path
    recipe: Recipe
    stderr: str


@pytest.fixture(scope="package")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture
def small_recipe(images):
    """A recipe for these images, with settings of one's own: small_recipe("optimization.epochs=1")."""
    return lambda *settings: load_recipe("folder", [f"data.path={images}", *SETTINGS, *settings])


@pytest.fixture(scope="package")
def finished(images, tmp_path_factory):
    run = tmp_path_factory.mktemp("finished")  # an empty folder is taken as a new one
    recipe = load_recipe("folder", [f"data.path={images}", *SETTINGS])
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        train(recipe, run, show_progress=True, command="maxvit train colours")
    return Finished(run, recipe, stderr.getvalue())
