"""An index after any history is the one that would be made now, and only what is new was embedded."""

import shutil

import numpy as np
import pytest
from drawn import draw
from filelock import FileLock

from every_task import network_of
from maxvit import MaxViTError
from maxvit.search import build
from maxvit.search.build import build_index
from maxvit.search.embedder import Embedder
from maxvit.search.index import ImageIndex
from maxvit.search.manifest import read_manifest
from maxvit.search.rows import Rows
from small import write_truncated_jpeg


def contents(index):
    """Everything that is known of each picture, by name."""
    found = {}
    for part in read_manifest(index).parts:
        rows = Rows.read(index / part.file)
        assert len(rows) == part.images
        for i, name in enumerate(rows.names):
            looks = rows.looks
            found[name] = (
                tuple(rows.states[i]),
                rows.embeddings[i].tobytes(),
                tuple(looks.sizes[i]),
                looks.files[i],
                looks.pixels[i],
                looks.fingerprints.spectra[i].tobytes(),
                looks.fingerprints.colours[i].tobytes(),
            )
    return found


def counts(built):
    return built.images, built.new, built.changed, built.removed


@pytest.fixture
def same_as_fresh(tmp_path, photos, checkpoint):
    def check(index):
        shutil.rmtree(tmp_path / "fresh", ignore_errors=True)
        build_index(photos, tmp_path / "fresh", checkpoint, batch_size=1)
        assert contents(index).keys() == contents(tmp_path / "fresh").keys()
        for name, row in contents(tmp_path / "fresh").items():
            assert contents(index)[name][:1] + contents(index)[name][2:] == row[:1] + row[2:]
            ours, fresh = (np.frombuffer(found[1], np.float16) for found in (contents(index)[name], row))
            np.testing.assert_allclose(ours, fresh, atol=2e-3)  # of another batch, in half precision
        named = {part.file for part in read_manifest(index).parts}
        assert {path.name for path in index.glob("part-*")} == named

    return check


@pytest.mark.parametrize("part", [3, 1024])
def test_only_what_is_new_or_changed_is_embedded(tmp_path, photos, checkpoint, same_as_fresh, monkeypatch, part):
    monkeypatch.setattr(build, "PART", part)
    out = tmp_path / "index"
    assert counts(build_index(photos, out, checkpoint)) == (7, 7, 0, 0)
    assert counts(build_index(photos, out)) == (7, 0, 0, 0)
    before = contents(out)
    draw(photos / "c" / "new.png", 20)
    draw(photos / "a" / "1.png", 21)
    (photos / "b" / "5.png").unlink()
    assert counts(build_index(photos, out)) == (7, 1, 1, 1)
    same_as_fresh(out)
    after = contents(out)
    assert all(after[name] == before[name] for name in before if name not in ("a/1.png", "b/5.png"))


def test_what_was_done_before_an_interruption_stays(tmp_path, photos, checkpoint, same_as_fresh, monkeypatch):
    monkeypatch.setattr(build, "PART", 2)
    whole = Embedder.rows

    def rows(self, *arguments):
        for i, found in enumerate(whole(self, *arguments[:-1], 1)):
            if i == 3:
                raise KeyboardInterrupt
            yield found

    out = tmp_path / "index"
    with monkeypatch.context() as patch:
        patch.setattr(Embedder, "rows", rows)
        with pytest.raises(KeyboardInterrupt):
            build_index(photos, out, checkpoint)
    assert len(ImageIndex(out)) == 3
    assert counts(build_index(photos, out)) == (7, 4, 0, 0)
    same_as_fresh(out)


def test_many_small_changes_leave_few_files(tmp_path, photos, checkpoint):
    out = tmp_path / "index"
    for seed in range(3):
        draw(photos / f"{seed}.png", 30 + seed)
        build_index(photos, out, checkpoint)
    assert len(list(out.glob("part-*"))) <= 2


def test_pictures_that_moved_with_their_folder_are_not_embedded_again(tmp_path, photos, checkpoint):
    build_index(photos, tmp_path / "index", checkpoint)
    photos.rename(tmp_path / "moved")
    assert counts(build_index(tmp_path / "moved", tmp_path / "index")) == (7, 0, 0, 0)
    assert ImageIndex(tmp_path / "index").photos == tmp_path / "moved"


def test_what_cannot_be_read_is_named_and_tried_again(tmp_path, photos, checkpoint):
    broken = write_truncated_jpeg(photos / "a" / "broken.jpg")
    for new in (7, 0):
        built = build_index(photos, tmp_path / "index", checkpoint)
        assert counts(built) == (7, new, 0, 0)
        assert [str(broken) in sentence for sentence in built.unreadable] == [True]
    draw(photos / "a" / "broken.jpg", 40)
    assert counts(build_index(photos, tmp_path / "index")) == (8, 1, 0, 0)


def test_without_published_weights_it_is_the_network_of_the_package(tmp_path, photos, capsys):
    built = build_index(photos, tmp_path / "index")
    assert built.model == "maxvit_micro"
    assert "comes with the package: the published weights" in capsys.readouterr().err
    (answer,) = ImageIndex(tmp_path / "index").search(photos / "b" / "4.png", 1)
    assert (answer.matches[0].name, answer.matches[0].similarity) == ("b/4.png", 1.0)


def test_a_mistake_is_a_sentence(tmp_path, photos, checkpoint):
    out = tmp_path / "index"
    build_index(photos, out, checkpoint)
    network_of("regression").save(tmp_path / "other.safetensors")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    write_truncated_jpeg(tmp_path / "broken" / "1.jpg")
    for arguments, sentence in [
        ((tmp_path / "nowhere", out), "nowhere is not a folder"),
        ((tmp_path / "empty", out), "holds no images"),
        ((tmp_path / "broken", tmp_path / "free", checkpoint), "none of the 1 images"),
        ((photos, photos), "is a folder of something else"),
        ((photos, out, str(tmp_path / "other.safetensors")), "is another network"),
    ]:
        with pytest.raises(MaxViTError, match=sentence):
            build_index(*arguments)
    with FileLock(out / "lock"), pytest.raises(MaxViTError, match="being written by another process"):
        build_index(photos, out)
    with pytest.raises(MaxViTError, match=r"gone\.safetensors does not exist"):
        build_index(photos, tmp_path / "third", tmp_path / "gone.safetensors")
