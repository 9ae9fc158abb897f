"""The fenced blocks of the pages: where each is, in what language, and what it says."""

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})(.*)$")


class Block(NamedTuple):
    """One block.

    Attributes:
        page: Path of the page below the repository.
        line: Of the page, on which its text begins, from 1.
        language: The first word after the fence; empty: there is none.
        text: Without the indentation of its fence.
    """

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def key(self) -> tuple[str, str]:
        """Page and first line, by which tables name a block: other numbers change with every edit."""
        return self.page, self.text.strip().partition("\n")[0].strip()


def read_blocks(text: str, page: str) -> list[Block]:
    """All blocks of a page, also those that are indented, as in lists and tabs."""
    found: list[Block] = []
    begun: tuple[int, str, str] | None = None  # line, fence, language
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        fence = _FENCE.match(line)
        if begun is None and fence:
            words = fence[3].strip().lstrip("{.").split()
            begun = number, fence[2], words[0].rstrip("}") if words else ""
        elif begun and fence and fence[2].startswith(begun[1]) and not fence[3].strip():
            inside = textwrap.dedent("\n".join(lines[begun[0] : number - 1]))
            found.append(Block(page, begun[0] + 1, begun[2], inside))
            begun = None
    assert begun is None, f"{page}:{begun[0]}: the block is not closed"
    return found


BLOCKS = {
    name: blocks
    for path in PAGES
    if (blocks := read_blocks(path.read_text(), name := path.relative_to(ROOT).as_posix()))
}
