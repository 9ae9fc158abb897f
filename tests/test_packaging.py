"""What the package says of itself, and what is in the files that are published."""

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import yaml

import maxvit

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY = PROJECT["urls"]["Repository"]


def hatchling(*arguments: str) -> str:
    call = [sys.executable, "-m", "hatchling", *arguments]
    environment = os.environ | {"MAXVIT_KERNELS": "none"}  # compiling them is tested elsewhere
    return subprocess.run(call, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout


def test_every_place_names_the_same_version():
    assert maxvit.__version__ == PROJECT["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == PROJECT["version"]
    newest = re.search(r"^## ([0-9.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == PROJECT["version"]


def test_every_place_names_the_same_repository():
    files = [ROOT / name for name in ("pyproject.toml", "CITATION.cff", "SECURITY.md", "CONTRIBUTING.md")]
    files += sorted((ROOT / ".github").rglob("*.*"))
    found = {
        (file.name, link)
        for file in files
        for link in re.findall(r"https://(?:raw\.githubusercontent|github)\.com/[\w.-]+/[\w.-]+", file.read_text())
    }
    owner_and_name = REPOSITORY.removeprefix("https://github.com/")
    assert {entry for entry in found if not entry[1].endswith(f".com/{owner_and_name}")} == set()


def test_a_package_index_gets_no_link_or_picture_that_needs_the_files_beside_the_readme():
    text = json.loads(hatchling("metadata"))["readme"]["text"]
    targets = re.findall(r"\]\(([^)\s]+)|(?:src|srcset|href)=\"([^\"]+)", text)
    relative = [link for pair in targets for link in pair if link and not link.startswith(("https://", "#"))]
    assert targets
    assert relative == []


def test_extras_that_stand_for_others_leave_none_out():
    extras = PROJECT["optional-dependencies"]
    each = sorted(extras.keys() - {"all", "dev", "executorch"})  # it brings too much
    assert extras["all"] == [f"maxvit[{','.join(name for name in each if name != 'docs')}]"]
    assert f"maxvit[{','.join(each)}]" in extras["dev"]


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path):
    hatchling("build", "-t", "wheel", "-d", str(tmp_path))
    (wheel,) = tmp_path.iterdir()
    assert wheel.name == f"maxvit-{PROJECT['version']}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as file:
        held = {name for name in file.namelist() if ".dist-info/" not in name}
    source = ROOT / "src"
    files = {str(p.relative_to(source).as_posix()) for p in source.rglob("*") if p.is_file()}
    assert held == {name for name in files if "__pycache__" not in name}


def test_the_source_distribution_is_small_and_holds_what_builds_the_wheel(tmp_path):
    hatchling("build", "-t", "sdist", "-d", str(tmp_path))
    (sdist,) = tmp_path.iterdir()
    with tarfile.open(sdist) as file:
        held = {name.partition("/")[2] for name in file.getnames()}
    wanted = {"pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "src/maxvit/__init__.pyi"}
    assert wanted <= held
    assert {name.partition("/")[0] for name in held if "/" in name} == {"src"}
    assert sdist.stat().st_size < 3_000_000
