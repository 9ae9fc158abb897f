"""`torch.hub` finds the networks in the root of the repository."""

import importlib.util
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from maxvit import create_model, list_models

ROOT = Path(__file__).parents[2]


def test_every_variant_is_listed_and_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "owner_maxvit_main").symlink_to(ROOT)  # as if it had been downloaded
    asked = {"skip_validation": True, "trust_repo": True, "verbose": False}
    assert sorted(torch.hub.list("owner/maxvit:main", **asked)) == sorted(list_models())
    said = torch.hub.help("owner/maxvit:main", "maxvit_tiny", skip_validation=True, trust_repo=True)
    assert "Make maxvit_tiny: freshly initialised" in said


def test_network_is_the_one_that_the_package_makes(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    options = {"pretrained": True, "in_chans": 1}
    theirs = torch.hub.load(str(ROOT), "maxvit_micro", source="local", **options)
    ours = create_model("maxvit_micro", **options)
    images = torch.randn(2, 1, 37, 50)
    assert torch.equal(theirs(images), ours(images))


def test_dependencies_are_those_of_the_package_by_the_names_of_their_modules():
    said = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {one.partition(">")[0].replace("-", "_") for one in said} - {"rich", "typer"}  # of the command line
    names = {{"pillow": "PIL", "pyyaml": "yaml"}.get(name, name) for name in names}
    wanted = runpy.run_path(str(ROOT / "hubconf.py"))["dependencies"]
    assert set(wanted) == names
    assert all(importlib.util.find_spec(name) for name in wanted)


@pytest.mark.full
def test_package_in_the_folder_is_found_where_none_is_installed():
    code = f"""
import sys, torch
sys.path = [place for place in sys.path if not place.endswith("src")]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
network = torch.hub.load({str(ROOT)!r}, "maxvit_micro", source="local", num_classes=3)
import maxvit
print(maxvit.__file__, network.num_classes)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PATH": ""})
    assert done.stdout.split() == [str(ROOT / "src" / "maxvit" / "__init__.py"), "3"], done.stderr
