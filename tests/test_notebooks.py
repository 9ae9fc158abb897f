"""The notebooks: what is committed, and all of them executed as a reader would."""

import ast
import json
import os
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

import maxvit

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells(path, kind):
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def each(function):
    return pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)(function)


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == ["export_and_serve", "own_photos", "what_does_it_look_at"]


@each
def test_a_notebook_is_committed_small_and_without_outputs(path):
    content = json.loads(path.read_text())
    assert path.stat().st_size < 200_000
    assert all(
        not cell["outputs"] and cell["execution_count"] is None for cell in content["cells"] if "outputs" in cell
    )


@each
def test_a_notebook_begins_by_installing_what_is_not_there(path, monkeypatch):
    import subprocess
    from importlib import util

    first, asked = cells(path, "code")[0], []
    monkeypatch.setattr(subprocess, "run", lambda command: asked.append(command) or subprocess.CompletedProcess("", 1))
    exec(first, {})
    assert asked == []  # it is there
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    exec(first, {})
    index, repository = [command[command.index("-q") + 1] for command in asked]
    assert re.fullmatch(r"maxvit\[train[a-z,]*\]", index)
    assert repository == f"{index} @ git+https://github.com/maxvit/maxvit"


@each
def test_links_of_a_notebook_lead_somewhere(path):
    links = [link for text in cells(path, "markdown") for link in re.findall(r"\]\(([^)#]+)", text)]
    assert [link for link in links if not (path.parent / link).exists()] == []


@each
def test_what_a_notebook_takes_from_the_package_is_there(path):
    tree = ast.parse("\n".join(cells(path, "code")))
    used = {
        (n.value.id, n.attr) for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)
    }
    assert {name for module, name in used if module == "maxvit"} <= set(maxvit.__all__)
    taken = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module.startswith("maxvit")]
    assert [n.module for n in taken for one in n.names if not hasattr(import_module(n.module), one.name)] == []


@pytest.mark.full
@pytest.mark.timeout(900)
@each
def test_a_notebook_runs_from_top_to_bottom_and_shows_pictures(path, tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), *sys.path]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    book = nbformat.read(path, 4)
    nbformat.validate(book)
    nbclient.NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output.get("data", {}) for cell in book.cells for output in cell.get("outputs", [])]
    assert any("data:image/png" in data.get("text/html", "") for data in shown)
