"""A small data set, one run of the command line on it, and a checkpoint: shared by the tests, which only read them."""

import contextlib
import io
from pathlib import Path
from typing import NamedTuple

import pytest

from maxvit.cli import main
from small import SETTINGS, write_images

SMALL = [word for setting in [*SETTINGS, "optimization.epochs=1"] for word in ("--set", setting)]


class Trained(NamedTuple):
    """What `maxvit train --json` left and said."""

    code: int
    run: Path
    out: str
    err: str

    @property
    def checkpoint(self) -> Path:
        return self.run / "best.safetensors"


@pytest.fixture(scope="package")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="package")
def small():
    """The options of a training that takes a second."""
    return SMALL


@pytest.fixture(scope="package")
def trained(images, tmp_path_factory):
    run = tmp_path_factory.mktemp("trained") / "run"
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = main(["train", str(images), *SMALL, "--out", str(run), "--json"])
    return Trained(code, run, out.getvalue(), err.getvalue())


@pytest.fixture
def run(capsys):
    """Run a command in this process: code, stdout, stderr = run("predict", checkpoint, image)."""

    def call(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call
