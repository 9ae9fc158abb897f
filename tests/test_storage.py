"""Files are written in one step or not at all, and damaged ones are named."""

import errno
import os
import stat
from pathlib import Path

import pytest
import torch

from maxvit import storage
from maxvit.errors import MaxViTError

TENSORS = {"a.weight": torch.randn(3, 5), "b": torch.arange(7), "half": torch.randn(2).bfloat16()}


def test_tensors_and_metadata_come_back(tmp_path):
    path = tmp_path / "deep" / "file.safetensors"
    storage.save(path, TENSORS, {"names": ["é", "b"], "number": 3})
    tensors, metadata = storage.load(path)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[n], TENSORS[n]) for n in TENSORS)
    assert metadata == storage.load_metadata(path) == {"names": ["é", "b"], "number": 3}


def test_file_is_readable_by_others_as_any_new_file(tmp_path):
    storage.save(tmp_path / "file", TENSORS, {})
    (tmp_path / "plain").touch()
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_plain_text_of_other_programs_is_given_as_it_is(tmp_path):
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(1)}, tmp_path / "file", {"format": "pt", "note": "{not json"})
    assert storage.load_metadata(tmp_path / "file") == {"format": "pt", "note": "{not json"}


@pytest.mark.parametrize("step", ["write", "replace"])
def test_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "file.safetensors"
    storage.save(path, {"old": torch.ones(2)}, {})
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(*_: object) -> None:
        raise full

    if step == "replace":
        monkeypatch.setattr(os, "replace", fail)
    else:
        monkeypatch.setattr(storage, "save_file", fail)
    with pytest.raises(
        MaxViTError, match=r"cannot write .*file\.safetensors: No space left on device; free some space"
    ):
        storage.save(path, TENSORS, {})
    assert list(storage.load(path)[0]) == ["old"]
    assert [p.name for p in tmp_path.iterdir()] == ["file.safetensors"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the device /dev/full")
def test_a_really_full_device_is_named(tmp_path):
    with pytest.raises(MaxViTError, match="No space left on device"):
        storage.write_atomically(tmp_path / "x", lambda _: Path("/dev/full").write_text("x"))


def test_interrupted_write_leaves_nothing_behind(tmp_path):
    def interrupted(path):
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        storage.write_atomically(tmp_path / "x", interrupted)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MaxViTError, match="choose a folder that can be written to"):
        storage.write_text(tmp_path / "file" / "below", "text")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "does not exist"),
        (b"", "is empty, and not a file of weights: copy it again"),
        (b"\1\2garbage" * 99, "is neither a file of PyTorch nor of safetensors: it may be damaged, copy it again"),
    ],
)
def test_file_that_is_none_is_named(tmp_path, content, says):
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    with pytest.raises(MaxViTError, match=says):
        storage.load(tmp_path / "file")


@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_truncated_file_is_named(tmp_path, share):
    path = tmp_path / "file"
    storage.save(path, {"w": torch.randn(100)}, {"a": "b" * 100})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(MaxViTError, match="may be truncated, copy it again"):
        storage.load(path)


def test_a_run_without_a_checkpoint_is_told_how_to_go_on(tmp_path):
    (tmp_path / "config.yaml").touch()
    for read in (storage.load, storage.load_metadata):
        with pytest.raises(MaxViTError) as refused:
            read(tmp_path)
        assert str(refused.value) == (
            f"the run {tmp_path} has no best.safetensors yet, which its first epoch writes: go on with maxvit train "
            f"--resume {tmp_path}"
        )


def test_folder_in_place_of_a_file_is_named(tmp_path):
    with pytest.raises(
        MaxViTError,
        match=r"is a folder without best\.safetensors or model\.safetensors; give the \.safetensors file inside it",
    ):
        storage.load(tmp_path)


def pair(*texts):
    """Writes a file and the one beside it."""

    def write(path):
        for name, text in zip((path.name, "b.bin"), texts, strict=False):
            (path.parent / name).write_text(text)
        (path.parent / "scratch").write_text("goes away")

    return write


def test_two_files_come_together_and_nothing_else(tmp_path):
    path, rest = tmp_path / "deep" / "a.xml", tmp_path / "deep" / "b.bin"
    for texts in (("one", "1"), ("two", "2")):
        storage.write_atomically(path, pair(*texts), rest)
        assert sorted(p.name for p in path.parent.iterdir()) == ["a.xml", "b.bin"]
        assert (path.read_text(), rest.read_text()) == texts
    (path.parent / "plain").touch()
    assert path.stat().st_mode == (path.parent / "plain").stat().st_mode


@pytest.mark.parametrize(("moved", "left"), [(0, {"b.bin": "1"}), (1, {"b.bin": "2"})])
def test_a_disk_that_fills_between_two_files_leaves_no_first_beside_another_s_second(
    tmp_path, monkeypatch, moved, left
):
    path, rest = tmp_path / "a.xml", tmp_path / "b.bin"
    storage.write_atomically(path, pair("one", "1"), rest)
    calls, replace = [], os.replace

    def full(source, target):
        if len(calls) == moved:
            raise OSError(errno.ENOSPC, "No space left on device")
        calls.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(MaxViTError, match=r"cannot write .*a\.xml: No space left on device"):
        storage.write_atomically(path, pair("two", "2"), rest)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == left


def test_what_fails_while_two_files_are_written_leaves_the_old_ones(tmp_path):
    path, rest = tmp_path / "a.xml", tmp_path / "b.bin"
    storage.write_atomically(path, pair("one", "1"), rest)

    def broken(temporary):
        pair("two", "2")(temporary)
        raise MaxViTError("answers otherwise")

    with pytest.raises(MaxViTError, match="answers otherwise"):
        storage.write_atomically(path, broken, rest)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a.xml": "one", "b.bin": "1"}


def test_folders_that_were_being_written_are_leftovers(tmp_path):
    (tmp_path / ".a.xml.12345678").mkdir()
    (tmp_path / ".a.xml.12345678" / "a.xml").touch()
    storage.remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_exported_file_is_told_from_a_damaged_one(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\1\2no safetensors at all")
    with pytest.raises(MaxViTError, match="is an exported file: give the checkpoint"):
        storage.load(tmp_path / "model.onnx")
