"""What is not installed is said in one sentence, with the extra that brings it."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import maxvit
from maxvit.errors import EXTRAS, MaxViTError, require, say_missing

ROOT = Path(maxvit.__file__).parent
PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
# benchmarks draw and compare with what is there; the others come with PyTorch, torchvision and FastAPI
WITHOUT_EXTRA = {"matplotlib", "starlette", "timm", "triton"}


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements} - {"maxvit"}


def modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def imported() -> set[str]:
    """Libraries that the package imports anywhere, by the names that they are imported by."""
    found = {name.partition(".")[0] for file in ROOT.rglob("*.py") for name in modules(ast.parse(file.read_text()))}
    return found - sys.stdlib_module_names - {"maxvit"}


def test_every_library_that_is_imported_comes_with_the_package_or_an_extra():
    provided = packages_distributions()
    base = names(PROJECT["dependencies"])
    known = WITHOUT_EXTRA | {library for libraries in EXTRAS.values() for library in libraries}
    always = {name for name in imported() if base & {canonicalize_name(d) for d in provided.get(name, [])}}
    assert imported() - always - known == set()


def test_libraries_of_extras_are_those_of_the_project_file():
    provided = packages_distributions()
    for extra, libraries in EXTRAS.items():
        wanted = names(PROJECT["optional-dependencies"][extra])
        found = {canonicalize_name(provided.get(library, [library.replace("_", "-")])[0]) for library in libraries}
        assert found == wanted, extra
    assert EXTRAS.keys() == PROJECT["optional-dependencies"].keys() - {"all", "dev", "docs"}


def test_no_other_sentence_says_what_to_install():
    told = {str(file.relative_to(ROOT)) for file in ROOT.rglob("*.py") if "pip install" in file.read_text()}
    assert told == {"errors.py", "versions.py", "benchmark/files.py", "cli/explain.py"}


def test_what_is_missing_is_told_with_every_extra_that_is_needed(monkeypatch):
    for name in ("sklearn", "pycocotools"):
        monkeypatch.setitem(sys.modules, name, None)
    sentence = "training needs sklearn, pycocotools, which are not installed: pip install 'maxvit[detection,train]'"
    with pytest.raises(MaxViTError, match=re.escape(sentence)):
        require("training", "torch", "sklearn", "pycocotools")
    require("training", "torch")


def test_a_library_of_no_extra_is_told_by_its_own_name():
    assert say_missing("s3fs.core") == "s3fs, which is not installed: pip install s3fs"
