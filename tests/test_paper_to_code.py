"""The references of docs/paper-to-code.md are true."""

import ast
import re
from pathlib import Path

import pytest

import maxvit

ROOT = Path(maxvit.__file__).parent
PAGE = (Path(__file__).parents[1] / "docs" / "paper-to-code.md").read_text(encoding="utf-8")
REFERENCES = re.findall(r"\| `([\w/]+\.py)` `([\w.]+)` \|$", PAGE, re.MULTILINE)


def names(body, prefix=""):
    """Everything that a module or a class defines, with the class in front."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield f"{prefix}{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from names(node.body, f"{node.name}.")
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (f"{prefix}{target.id}" for target in targets if isinstance(target, ast.Name))


@pytest.mark.parametrize(("file", "name"), sorted(set(REFERENCES)))
def test_the_file_defines_the_name(file, name):
    assert name in set(names(ast.parse((ROOT / file).read_text(encoding="utf-8")).body))


def test_every_row_has_a_reference_or_says_that_there_is_none():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| the paper says")]
    assert len(rows) == len(REFERENCES) + sum(line.endswith("| not implemented |") for line in rows)
