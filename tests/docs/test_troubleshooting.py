"""The page of messages: those that it explains are printed, and the others are all on it."""

import ast
import re
import sys
from functools import cache

import pytest
from fences import ROOT, read_blocks

sys.path.append(str(ROOT / "docs" / "_site"))
import messages

PAGE = ROOT / "docs" / "troubleshooting.md"
EXPLAINED = [
    line for block in read_blocks(PAGE.read_text(), "") if block.language == "text" for line in block.text.splitlines()
]
FILLED_IN = re.compile(r" ?\.\.\.(?=$|[:,])|\b[A-Z][A-Z_0-9]+\b")
# said by libraries, in part or as a whole
THEIRS = {"No such option: --epoch", "optimization.epochs is 'many': input should be a valid integer"}


@cache
def printed() -> list[list[str]]:
    """What the source may print, its messages and its other sentences: the pieces around what is filled in."""
    said = {message.text for message in messages.messages()}
    for path in messages.SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                said.update(messages._wordings(node, {}))
    return [FILLED_IN.split(text) for text in said if len(re.findall(r"\b[a-z]+\b", text)) >= 2]


def fits(line: str, pieces: list[str]) -> bool:
    """Whether a line has the pieces in this order, from its first to its last character."""
    first, *others, last = [*pieces, ""] if len(pieces) == 1 else pieces
    if not line.startswith(first) or not line.endswith(last):
        return False
    place = len(first)
    for piece in others:
        if (found := line.find(piece, place)) < 0:
            return False
        place = found + len(piece)
    return place <= len(line) - len(last)


@pytest.mark.parametrize("line", EXPLAINED)
def test_an_explained_message_is_still_printed(line):
    if not any(line.startswith(theirs) for theirs in THEIRS):
        assert any(fits(said, pieces) for said in (line, f"error: {line}") for pieces in printed()), line


def test_every_error_of_the_source_is_on_the_page():
    """By the longest piece of each: found here by itself, so that a call that is passed over is seen."""
    assert messages.MARK in PAGE.read_text()
    page, missing = " ".join(messages.as_markdown().split()), []
    for path in sorted(messages.SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                called = ast.unparse(node.exc.func)
                pieces = [part.value for part in ast.walk(node.exc.args[0]) if isinstance(part, ast.Constant)]
                longest = max((piece for piece in pieces if isinstance(piece, str)), key=len, default="")
                if called == "MaxViTError" and len(longest.split()) > 2 and " ".join(longest.split()) not in page:
                    missing.append((path.name, node.lineno, longest))
    assert missing == []


def test_a_message_is_written_with_words_for_what_is_filled_in():
    texts = {message.text for message in messages.messages() if message.file == "training/run.py"}
    assert "RUN exists already: choose another --out, or continue that run with --resume RUN" in texts
