"""`maxvit check`: what it says, writes and refuses."""

import contextlib
import html
import io
import json
import re
import shlex
import sys

import pytest

from maxvit.cli import main
from small import write_images, write_truncated_jpeg


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three classes, an image that comes twice, and one that cannot be read."""
    folder = write_images(tmp_path_factory.mktemp("check") / "<photos>", 5)
    (folder / "red" / "9.png").write_bytes((folder / "blue" / "2.png").read_bytes())
    write_truncated_jpeg(folder / "green" / "broken.jpg")
    return folder


@pytest.fixture(scope="module")
def outcome(photos, tmp_path_factory):
    """Standard output, and the folder that was written."""
    out = tmp_path_factory.mktemp("checked") / "out"
    said, progress = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(progress):
        assert main(["check", str(photos), "--out", str(out)]) == 0
    assert progress.getvalue().startswith(f"reading 17 images of {photos}\n")
    return said.getvalue(), out


def test_problems_are_named_and_the_exit_code_is_0(outcome, photos):
    said, _ = outcome
    for line in (
        "data: 17 images of 3 classes",
        "sizes, height x width: smallest 37 x 29, median 37 x 29, largest 37 x 29",
        "1 image cannot be read",
        f"{photos / 'green' / 'broken.jpg'} is damaged",
        "red/9.png: the same file as blue/2.png (red, and blue)",
        "training sets some photographs aside as a test",
        "1 image repeats one of another class",
    ):
        assert line in said


def test_the_page_loads_nothing_and_shows_pairs_side_by_side(outcome):
    page = (outcome[1] / "check.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert page.count('<img class="pixels" src="data:image/png;base64,') >= 2
    assert "&lt;photos&gt;" in page
    assert "<photos>" not in page
    assert 'id="classes"' in page


def test_the_page_ends_with_the_command_that_applies_the_decisions(outcome, photos):
    (command,) = re.findall(r'<pre class="wrap">(maxvit .*)</pre>', (outcome[1] / "check.html").read_text())
    assert shlex.split(html.unescape(command)) == [
        *("maxvit", "check", str(photos)),
        *("--apply", str(outcome[1] / "decisions.csv")),
    ]


def test_what_stays_is_written_next_to_the_decisions(outcome, photos, capsys):
    _, out = outcome
    assert main(["check", str(photos), "--apply", str(out / "decisions.csv")]) == 0
    assert capsys.readouterr().out == f"16 images stay, 1 do not: maxvit train {shlex.quote(str(out / 'kept.csv'))}\n"
    assert len((out / "kept.csv").read_text().splitlines()) == 17


def test_json_holds_everything(photos, capsys):
    assert main(["check", str(photos), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 17
    assert found["classes"] == {"blue": 5, "green": 6, "red": 6}
    assert [(d["image"], d["of"], d["kind"], d["classes"]) for d in found["duplicates"]] == [
        ("red/9.png", "blue/2.png", "same file", ["red", "blue"])
    ]
    assert [one["image"] for one in found["unreadable"]] == ["green/broken.jpg"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere"], "error: nowhere does not exist: check the path\n"),
        (["{photos}", "--task", "segmentation"], "error: {photos} "),
        (["{photos}", "--apply", "d.csv", "--json"], "error: --apply writes a list next to its own and looks at no"),
        (["{photos}", "--apply", "nowhere.csv"], "error: nowhere.csv is not a file: give the decisions.csv"),
    ],
)
def test_a_mistake_is_a_sentence_and_exit_code_2(photos, capsys, words, sentence):
    assert main(["check", *(word.format(photos=photos) for word in words)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(sentence.format(photos=photos))
    assert err.count("\n") == 1


def test_a_page_that_cannot_be_made_is_refused_before_anything_is_looked_at(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setattr("maxvit.checking.check.check", None)
    assert main(["check", str(photos), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.endswith("pip install 'maxvit[train]'\n")
    assert not (tmp_path / "out").exists()
