"""Every image of a folder is found, and what is passed over is counted with its reason."""

import os

import pytest
from PIL import Image

from maxvit.data import finding
from maxvit.data.finding import MISSING, PassedOver, find_images, locate, locate_all, say_passed_over
from maxvit.errors import MaxViTError

NFC, NFD = "caf\u00e9", "cafe\u0301"


def fill(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def whys(folder):
    return {str(path.relative_to(folder)): why for path, why in find_images(folder).passed_over}


def test_images_are_found_in_order_of_name_at_any_depth(tmp_path):
    names = ["b.png", "a/z.JPG", "a/c/d.TifF", "a.jpeg", "é ü.webp", "10.gif", "9.bmp"]
    found = find_images(fill(tmp_path, *names))
    assert found.images == sorted(tmp_path / name for name in names)
    assert found.passed_over == []


def test_hidden_files_and_folders_are_left_out_without_a_word(tmp_path):
    found = find_images(fill(tmp_path, ".a.png", ".hidden/b.png", "c/.d/e.png"))
    assert (found.images, found.passed_over) == ([], [])


def test_a_hidden_parent_hides_nothing(tmp_path):
    fill(tmp_path, ".cache/a.png")
    assert find_images(tmp_path / ".cache").images == [tmp_path / ".cache" / "a.png"]


def test_other_files_are_passed_over_by_their_endings(tmp_path):
    assert whys(fill(tmp_path, "notes.txt", "a/f.png.txt", "b.PDF")) == {
        "notes.txt": ".txt",
        "a/f.png.txt": ".txt",
        "b.PDF": ".pdf",
    }


@pytest.mark.parametrize(("installed", "images"), [(False, 0), (True, 3)])
def test_formats_of_optional_libraries_are_found_where_these_are_installed(tmp_path, monkeypatch, installed, images):
    known = finding.EXTENSIONS | set(finding.NEEDED) if installed else finding.EXTENSIONS - set(finding.NEEDED)
    monkeypatch.setattr(finding, "EXTENSIONS", known)
    fill(tmp_path, "a.heic", "b.HEIF", "c.dcm")
    assert len(find_images(tmp_path).images) == images
    for extra, number in {"heif": 2, "dicom": 1}.items():
        said = sum(f"pip install 'maxvit[{extra}]'" in why for why in whys(tmp_path).values())
        assert said == (0 if installed else number)


def test_a_file_without_an_ending_is_known_by_its_content(tmp_path):
    Image.new("RGB", (5, 3)).save(tmp_path / "0001", "PNG")
    (tmp_path / "README").write_text("hello")
    found = find_images(tmp_path)
    assert found.images == [tmp_path / "0001"]
    assert found.passed_over == [PassedOver(tmp_path / "README", "without an ending")]


def test_links_to_folders_and_files_are_followed(tmp_path):
    fill(tmp_path, "elsewhere/a.png", "elsewhere/b.png", "data/cat/c.png")
    (tmp_path / "data/cat/more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "data/cat/d.png").symlink_to(tmp_path / "elsewhere/a.png")
    names = [str(path.relative_to(tmp_path / "data/cat")) for path in find_images(tmp_path / "data/cat").images]
    assert names == ["c.png", "d.png", "more/a.png", "more/b.png"]


@pytest.mark.parametrize("to", ["data/cat", "data", ".", "data/cat/tabby"])
def test_a_link_that_leads_round_ends(tmp_path, to):
    """Also one to a folder above, where the images of other classes lie."""
    fill(tmp_path, "data/cat/tabby/a.png", "data/dog/b.png")
    (tmp_path / "data/cat/z").symlink_to(tmp_path / to, target_is_directory=True)
    found = find_images(tmp_path / "data/cat")
    assert found.images == [tmp_path / "data/cat/tabby/a.png"]
    assert found.passed_over == [PassedOver(tmp_path / "data/cat/z", "linked to a folder that is read already")]


def test_a_link_to_nothing_is_passed_over(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    assert whys(tmp_path) == {"a.png": "linked to nothing"}


def test_a_folder_that_cannot_be_read_is_passed_over(tmp_path, monkeypatch):
    original = os.scandir

    def scandir(folder):
        if folder.name == "private":
            raise PermissionError
        return original(folder)

    monkeypatch.setattr(finding.os, "scandir", scandir)
    assert whys(fill(tmp_path, "private/a.png", "b.png")) == {"private": "unreadable"}


def test_what_is_passed_over_is_said_by_kind_the_most_first(tmp_path):
    passed = [PassedOver(tmp_path / "x", "unreadable"), *[PassedOver(tmp_path / f"{i}.txt", ".txt") for i in "ab"]]
    assert (
        say_passed_over([*passed, *passed])
        == f"; skipped: 2 .txt (the first: {tmp_path}/a.txt), 1 unreadable ({tmp_path}/x)"
    )
    assert say_passed_over([]) == ""
    many = [PassedOver(tmp_path, f".{i}") for i in range(9)]
    assert say_passed_over(many).endswith(f"1 .4 ({tmp_path}), and 4 for other reasons")


@pytest.mark.parametrize(("lies", "asked"), [(NFC, NFD), (NFD, NFC), (NFD, NFD)])
def test_a_file_is_located_in_either_unicode_form(tmp_path, lies, asked):
    fill(tmp_path, lies)
    assert locate(tmp_path, asked) == tmp_path / lies
    assert locate(tmp_path, "tea") is None


def test_images_that_a_file_names_are_counted_where_they_are_missing(tmp_path):
    fill(tmp_path, "a.png")
    paths, missing = locate_all(tmp_path, ["a.png", "b.png"], "list.csv")
    assert paths == [tmp_path / "a.png", None]
    assert missing == [PassedOver(tmp_path / "b.png", MISSING)]
    with pytest.raises(MaxViTError, match=r"none of the 1 images of list.csv exists: .* does not hold b\.png"):
        locate_all(tmp_path, ["b.png"], "list.csv")
