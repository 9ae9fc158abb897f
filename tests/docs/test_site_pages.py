"""The pages of docs/: in the navigation, with a purpose and links to what exists; nothing public is missing."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

import maxvit
from maxvit.training.recipe import list_recipes

ROOT = Path(maxvit.__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in DOCS.rglob("*.md"))
LINKING = [*PAGES, "README.md", "CONTRIBUTING.md"]


@cache
def text_outside_code(path: Path) -> str:
    """A page without its code, in which `[x](y)` is no link."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"^( *)(`{3,})[^`\n]*\n.*?^ *\2`*$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"(`+).+?\1", lambda code: code[0].replace("[", "(").replace("]", ")"), text)


@cache
def anchors(path: Path) -> set[str]:
    """The anchors that code hosts, and this site, make of a page's headings."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#+ +(.+?)\s*$", text_outside_code(path), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if name in found else name)
        found[name] = found.get(name, 0) + 1
    return names


def in_navigation(entries: list) -> set[str]:
    """Every page that the navigation names."""
    found = set()
    for entry in entries:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        found |= in_navigation(value) if isinstance(value, list) else {value}
    return found


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page():
    # tags such as !!python/... are left unread
    navigation = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), yaml.BaseLoader)["nav"]
    elsewhere = {"changelog.md", "contributing.md"}  # pages that docs/_site/repository.py adds
    missing = "give each page a line in nav of mkdocs.yml"
    assert in_navigation(navigation) == {page.removeprefix("docs/") for page in PAGES} | elsewhere, missing


@pytest.mark.parametrize("page", LINKING)
def test_every_link_goes_somewhere(page):
    path, broken = ROOT / page, []
    for target in re.findall(r"\]\(([^)\s]+)\)", text_outside_code(path)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES)
def test_a_page_begins_with_a_title_and_a_sentence(page):
    body = re.sub(r"\A---\n.*?\n---\n", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL).lstrip()
    title, sentence = body.split("\n", 1)
    assert title.startswith("# ")
    assert re.match(r"\n[A-Z`*\[][^\n]*\w", sentence), "say first what the page is for"


def test_the_reference_has_every_public_name():
    stub = ast.parse((Path(maxvit.__file__).parent / "__init__.pyi").read_text(encoding="utf-8"))
    public = {alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    pages = "\n".join(path.read_text(encoding="utf-8") for path in (DOCS / "api").glob("*.md"))
    assert sorted(re.findall(r"^::: maxvit\.(\w+)$", pages, re.MULTILINE)) == sorted(public)


def test_every_recipe_has_a_row():
    rows = re.findall(r"^\| `([\w-]+)` \|", (DOCS / "recipes.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(list_recipes()) <= set(rows)


def test_every_record_is_listed():
    listed = set(
        re.findall(r"\(\.\./benchmarks/results/([^)]+\.md)\)", (DOCS / "records.md").read_text(encoding="utf-8"))
    )
    assert listed == {path.name for path in (ROOT / "benchmarks" / "results").glob("*.md")}
