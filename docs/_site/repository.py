"""Pages of the site that lie elsewhere in the repository: records, the changelog, code that pages link to.

A hook of mkdocs. Pages link to files by their place in the repository, so that the links also work where the
repository is browsed. Here each file that is linked outside docs/ gets a page, and its links are those of the site.
"""

import json
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
RECORDS = "benchmarks/results/"
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
LANGUAGES = {".py": "python", ".yaml": "yaml", ".sh": "sh", ".toml": "toml", ".json": "json", ".cff": "yaml"}
PICTURES = (".png", ".jpg", ".svg")
LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?(\))")  # of this repository: no scheme


def site_path(repository_path: str) -> str:
    """Where a file of the repository is in the site."""
    if repository_path in PAGES:
        return PAGES[repository_path]
    if repository_path.startswith("docs/"):
        return repository_path.removeprefix("docs/")
    if repository_path.startswith(RECORDS):
        return "records/" + repository_path.removeprefix(RECORDS)
    return f"files/{repository_path}" + ("" if repository_path.endswith(PICTURES) else ".md")


def repository_path(site: str) -> str:
    """Where a page of the site comes from: the inverse of `site_path`."""
    for repository, page in PAGES.items():
        if site == page and not (ROOT / "docs" / page).exists():
            return repository
    if site.startswith("records/"):
        return RECORDS + site.removeprefix("records/")
    if site.startswith("files/"):
        return site.removeprefix("files/").removesuffix(".md")
    return f"docs/{site}"


def linked(markdown: str, page: str) -> set[str]:
    """The files of the repository outside docs/ that a page links to; `page` is its place in the repository."""
    folder = posixpath.dirname(page)
    targets = {posixpath.normpath(posixpath.join(folder, match[2])) for match in LINK.finditer(markdown)}
    return {target for target in targets if not target.startswith("docs/") and (ROOT / target).is_file()}


def as_page(path: str) -> str:
    """The text of a file as a page: Markdown as it is, code in a block."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        if path == "CONTRIBUTING.md":
            return text
        title, back = text.split("\n", 1)[0].removeprefix("# "), ""
        if path.startswith(RECORDS):
            back = "[Records](../../docs/records.md)\n\n"
        # guides are found before records and the changelog
        return f"---\ntitle: {json.dumps(title)}\nsearch:\n  boost: 0.1\n---\n\n{back}{text}"
    language = LANGUAGES.get(posixpath.splitext(path)[1], "text")
    return f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n````{language}\n{text}\n````\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file outside docs/ that is a page of its own or that some page links to."""
    records = sorted((ROOT / RECORDS).glob("*.md"))
    wanted = ["CHANGELOG.md", "CONTRIBUTING.md", *(RECORDS + record.name for record in records)]
    for file in files.documentation_pages():
        wanted += sorted(linked(file.content_string, f"docs/{file.src_uri}"))
    added = {"README.md"}
    while wanted:
        path = wanted.pop()
        if path in added:
            continue
        added.add(path)
        if path.endswith(PICTURES):
            files.append(File.generated(config, site_path(path), abs_src_path=str(ROOT / path)))
            continue
        files.append(File.generated(config, site_path(path), content=as_page(path)))
        if path.endswith(".md"):
            wanted += sorted(linked((ROOT / path).read_text(encoding="utf-8"), path))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links to their pages."""
    here = repository_path(page.file.src_uri)

    def moved(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(here), match[2]))
        if not (ROOT / target).is_file():
            return match[0]  # mkdocs says so
        new = posixpath.relpath(site_path(target), posixpath.dirname(page.file.src_uri))
        return f"{match[1]}{new}{match[3] or ''}{match[4]}"

    return LINK.sub(moved, markdown)
