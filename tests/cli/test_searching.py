"""`maxvit index` and `maxvit search`: what they print, write and refuse."""

import contextlib
import io
import json
import re
import shutil

import pytest

from maxvit.cli import main
from maxvit.training.example import held_out_examples
from small import write_images, write_truncated_jpeg


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three colours of three pictures, one of which comes twice."""
    folder = write_images(tmp_path_factory.mktemp("search") / "photos", 3)
    shutil.copy(folder / "blue" / "2.png", folder / "red" / "copy.png")
    return folder


@pytest.fixture(scope="module")
def index(photos, trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "index"
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main(["index", str(photos), "--model", str(trained.run), "--out", str(path)]) == 0
    assert said.getvalue().startswith(f"{path}: 10 pictures (10 new, 0 changed, 0 removed), by ")
    return path


def same_pictures(lines):
    """Their names; what is compared is kept in 16 bits, so the similarity is 1 but for the last digit printed."""
    names = []
    for line in lines:
        similarity, name = re.fullmatch(r"  ([0-9.]{6})  (\S+)", line).groups()
        assert float(similarity) == pytest.approx(1, abs=2e-4)
        names.append(name)
    return names


def test_what_was_done_is_said_as_json_and_what_cannot_be_read_by_exit_code_2(index, photos, run, tmp_path):
    broken = write_truncated_jpeg(photos / "red" / "broken.jpg")
    code, out, err = run("index", photos, "--out", index, "--json")
    broken.unlink()
    said = json.loads(out)
    assert (code, said["images"], said["new"], said["changed"], said["removed"]) == (2, 10, 0, 0, 0)
    assert [str(broken) in sentence for sentence in said["unreadable"]] == [True]
    assert f"error: {broken} is damaged" in err


def test_what_is_found_is_printed_in_words_as_json_and_on_a_page(index, photos, run, tmp_path):
    (tmp_path / "list.txt").write_text(f"{photos / 'red' / '0.png'}\n\n{photos / 'blue' / '2.png'}\n")
    page = tmp_path / "page.html"
    code, out, err = run("search", index, tmp_path / "list.txt", "--k", 2, "--out", page)
    first, *found = out.splitlines()
    assert (code, first, len(found)) == (0, str(photos / "red" / "0.png"), 5)
    assert same_pictures(found[:1]) == ["red/0.png"]
    assert sorted(same_pictures(found[3:])) == ["blue/2.png", "red/copy.png"]
    assert err == f"wrote {page}\n"
    assert page.read_text().count('src="data:image/png;base64,') == 6
    code, out, err = run("search", index, photos / "green", "--json", "--k", 50)
    answers = [json.loads(line) for line in out.splitlines()]
    assert [len(answer["results"]) for answer in answers] == [10, 10, 10]
    assert answers[1]["results"][0]["image"] == "green/1.png"
    assert err == "k is 50, and the index holds 10 pictures: all of them are given\n"


def test_duplicates_are_printed_with_their_rule(index, run, tmp_path):
    code, out, _ = run("search", index, "--duplicates", "--out", tmp_path / "page.html")
    assert code == 0
    assert out.startswith("red/copy.png: the same file as blue/2.png\n1 of 10 pictures repeat another (near copies: ")
    assert "0.9965" in out
    assert "red/copy.png" in (tmp_path / "page.html").read_text()


def test_clusters_are_printed_with_pictures_of_each(index, run, tmp_path):
    pytest.importorskip("faiss")
    code, out, _ = run("search", index, "--clusters", 2, "--k", 1, "--out", tmp_path / "page.html")
    lines = out.splitlines()
    assert (code, len(lines)) == (0, 4)
    assert sum(int(line.split()[2]) for line in lines[::2]) == 10
    assert "Cluster 2" in (tmp_path / "page.html").read_text()
    _, out, _ = run("search", index, "--clusters", 2, "--json")
    assert sorted(name for line in out.splitlines() for name in json.loads(line)["members"])[0] == "blue/0.png"


def test_what_cannot_be_read_is_named_and_the_exit_code_is_2(index, photos, run, tmp_path):
    broken = write_truncated_jpeg(tmp_path / "broken.jpg")
    code, out, err = run("search", index, broken, photos / "red" / "1.png", "--k", 1)
    assert (code, same_pictures(out.splitlines()[1:2])) == (2, ["red/1.png"])
    assert err.startswith(f"error: {broken} is damaged")
    assert err.endswith("1 of 2 queries could not be read\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "give QUERY, --duplicates or --clusters, one of the three; none is given"),
        (["a.png", "--duplicates"], "QUERY and --duplicates is given"),
        (["--duplicates", "--workers", 2], "--workers is for queries"),
        (["nothing.txt"], "nothing.txt cannot be read"),
    ],
)
def test_a_mistake_in_what_is_asked_is_a_sentence_and_exit_code_2(index, run, words, sentence):
    code, out, err = run("search", index, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert sentence in err


def test_a_run_gives_pictures_that_it_held_out(trained, images):
    found = list(held_out_examples(trained.run))
    assert found
    assert [example.name for example in held_out_examples(trained.checkpoint)] == [example.name for example in found]
    for example in found:
        assert example.part == "validation"
        assert example.source.parent == images / example.truth
    assert list(held_out_examples("maxvit_micro")) == []
