"""The built site: no warning, nothing from another host, and a search and a picture that work as plain files."""

import html.parser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

import maxvit
from maxvit.cli import app

pytest.importorskip("material", reason="the site needs mkdocs-material: pip install 'maxvit[docs]'")

ROOT = Path(maxvit.__file__).parents[2]
LOADED = dict.fromkeys(["script", "img", "iframe", "source", "video", "audio", "embed"], "src")
FOREIGN = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')]+)")  # of a style sheet
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built as `make docs` builds it: any warning ends it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    return folder


class Loads(html.parser.HTMLParser):
    """What a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "link" and values.get("rel") not in ("canonical", "prev", "next"):
            self.found.append(values["href"])
        if values.get(LOADED.get(tag, "")):
            self.found.append(values[LOADED[tag]])


def test_pages_and_styles_name_no_other_host(site):
    foreign = []
    for path in site.rglob("*.html"):
        loads = Loads()
        loads.feed(path.read_text(encoding="utf-8"))
        foreign += [(path.name, url) for url in loads.found if re.match(r"(https?:)?//", url)]
    for path in site.rglob("*.css"):
        foreign += [(path.name, url) for url in FOREIGN.findall(path.read_text(encoding="utf-8"))]
    assert len(list(site.rglob("*.html"))) > 80
    assert not foreign


def test_the_page_of_commands_has_their_options(site):
    page = (site / "commands.html").read_text(encoding="utf-8")
    assert all(
        f'id="maxvit-{command.name or command.callback.__name__}"' in page for command in app.registered_commands
    )
    assert page.count("--show-recipe") == 1


def opened(page: str, folder: Path) -> tuple[str, list[str]]:
    """A page of the site as Chromium has it after its scripts, without a network; and what it asked other hosts for."""
    log = folder / "net.json"
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}"]
    command += ["--virtual-time-budget=10000", "--dump-dom", page]  # it waits for the search's worker, and no longer
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    requests = [event.get("params", {}) for event in json.loads(log.read_text(encoding="utf-8"))["events"]]
    asked = [one["url"] for one in requests if one.get("initiator", "not an origin") != "not an origin"]
    return done.stdout, [url for url in asked if url.startswith("http")]  # the browser's own have no origin


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_the_search_finds_pages_without_a_network(site, tmp_path):
    page, foreign = opened(f"{(site / 'index.html').as_uri()}?q={quote('divisible by window')}", tmp_path)
    found = re.findall(r'class="md-search-result__item"><a href="[^"]*/([\w-]+\.html)', page)
    assert "faq.html" in found[:3]
    assert not foreign


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_the_picture_says_what_attends_together(site, tmp_path):
    page, foreign = opened((site / "how-it-works.html").as_uri(), tmp_path)
    captions = re.findall(r"<figcaption>([^<]*)</figcaption>", page)
    # stage 2 at 224: 28 x 28 tokens, in windows of 7 x 7, or in grids with a token in each 4 x 4
    assert captions == [
        "its window: neighbours; 49 tokens",
        "its grid: spread over the whole image; 49 tokens, 4 and 4 apart",
        "whose information reaches it: 784 of 784 tokens, 100 %",
    ]
    assert not foreign
