"""Where images are: those of a folder, what is passed over there and why, and names in either Unicode form."""

import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from maxvit.data.images import EXTENSIONS, NEEDED, opened
from maxvit.errors import MaxViTError

MISSING, NO_MASK, DAMAGED = "missing", "without a mask", "damaged"
LOST = (MISSING, NO_MASK, DAMAGED)  # reasons why an image is passed over that was to be used
_SHOWN = 5  # reasons in a sentence


class PassedOver(NamedTuple):
    """A file or folder that is in the data, or is named by it, and is not used.

    Attributes:
        path: Which.
        why: In words that follow a number: "without an ending".
    """

    path: Path
    why: str


@dataclass(slots=True)
class Found:
    """What is below a folder.

    Attributes:
        images: In order of name.
        passed_over: What else is there.
    """

    images: list[Path] = field(default_factory=list)
    passed_over: list[PassedOver] = field(default_factory=list)


def find_images(folder: Path) -> Found:
    """Every image file below a folder: by its ending, and where it has none by its content.

    Links are followed, and each folder is entered once. Hidden files and folders are left out without a word.
    """
    above = {os.path.realpath(p) for p in folder.absolute().parents} | {str(p) for p in folder.resolve().parents}
    found = Found()
    _walk(folder, above, found)
    return found


def _walk(folder: Path, seen: set[str], found: Found) -> None:
    real = os.path.realpath(folder)
    if real in seen:  # a link has led to it: going in again would not end, or count images twice
        found.passed_over.append(PassedOver(folder, "linked to a folder that is read already"))
        return
    seen.add(real)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        found.passed_over.append(PassedOver(folder, "unreadable"))
        return
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith("."):
            continue
        if os.path.isdir(path) if entry.is_symlink() else entry.is_dir():
            _walk(path, seen, found)
        elif why := _why_not(path, entry):
            found.passed_over.append(PassedOver(path, why))
        else:
            found.images.append(path)


def _why_not(path: Path, entry: "os.DirEntry[str]") -> str:
    """Why a file is passed over; nothing: it is an image."""
    if not (os.path.isfile(path) if entry.is_symlink() else entry.is_file()):
        return "linked to nothing" if entry.is_symlink() else "not a file"
    suffix = path.suffix.lower()
    if suffix in EXTENSIONS:
        return ""
    if suffix in NEEDED:
        return f"{suffix}, which need {NEEDED[suffix]}"
    return suffix or ("" if _is_image(path) else "without an ending")


def _is_image(path: Path) -> bool:
    try:
        with opened(path):
            return True
    except MaxViTError:
        return False


def say_passed_over(passed_over: Iterable[PassedOver]) -> str:
    """In words, as "; skipped: 6 .txt (the first: cat/a.txt), 1 unreadable (cat/b)"; none of them: no words."""
    kinds: dict[str, list[Path]] = {}
    for path, why in dict.fromkeys(passed_over):
        kinds.setdefault(why, []).append(path)
    if not kinds:
        return ""
    most = sorted(kinds.items(), key=lambda kind: -len(kind[1]))
    said = [f"{len(paths):,} {why} ({'the first: ' * (len(paths) > 1)}{paths[0]})" for why, paths in most[:_SHOWN]]
    rest = sum(len(paths) for _, paths in most[_SHOWN:])
    return "; skipped: " + ", ".join(said) + (f", and {rest:,} for other reasons" if rest else "")


def normal(name: str) -> str:
    """A name in the one form in which names are compared: macOS writes "é" as two characters, others as one."""
    return unicodedata.normalize("NFC", name)


def locate(folder: Path, name: str) -> Path | None:
    """The file of a name that was written in whichever Unicode form, as it is there; None: it does not exist."""
    for form in dict.fromkeys((name, normal(name), unicodedata.normalize("NFD", name))):
        if os.path.exists(place := folder / form):
            return place
    return None


class Names:
    """Where the images of a list are: in its folder or one directly below it, with the ending in the list or without.

    Args:
        file: The list. Its folder is searched.

    Attributes:
        folders: Folders below in which images were found that the list does not place there.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.folders = file, set[Path]()
        self._listed: dict[str, dict[str, list[Path]]] = {}
        self._below: dict[str, list[Path]] | None = None

    def find(self, name: str) -> Path | None:
        """The file of an image; None: it does not exist.

        Raises:
            MaxViTError: If several fit.
        """
        if not name:
            return None
        place = locate(self.file.parent, name)
        if place is not None and not place.is_dir():
            return place
        folder, last = os.path.split(name)
        if folder not in self._listed:
            self._listed[folder] = _list_names(self.file.parent / folder)
        if found := self._listed[folder].get(normal(last)):
            return _only(name, found)
        found = self._find_below(normal(name))
        # train.csv means train_images/, also where test_images/ has an image of this name
        meant = [place for place in found if place.parent.name.lower().startswith(self.file.stem.lower())]
        if only := _only(name, meant or found):
            self.folders.add(only.parent)
        return only

    def _find_below(self, name: str) -> list[Path]:
        """What fits a name in each folder directly below."""
        if self._below is None:
            self._below = {}
            for folder in sorted(path for path in self.file.parent.iterdir() if path.is_dir()):
                for found, paths in {} if folder.name.startswith(".") else _list_names(folder).items():
                    self._below.setdefault(found, []).extend(paths)
        return self._below.get(name, [])

    def find_all(self, names: Sequence[str]) -> tuple[list[Path | None], list[PassedOver]]:
        """All of them, as `locate_all` gives them. Raises `MaxViTError` as `find`, or if none exists."""
        paths = [self.find(name) for name in names]
        return paths, _missing(self.file.parent, names, paths, str(self.file))


def _list_names(folder: Path) -> dict[str, list[Path]]:
    """What fits each name in a folder: the file of this name, else the images with it before their ending."""
    try:
        files = [Path(path) for path in sorted(entry.path for entry in os.scandir(folder) if entry.is_file())]
    except OSError:  # not a folder, or one that cannot be read: its images count as missing
        return {}
    found: dict[str, list[Path]] = {}
    for path in files:
        if path.suffix.lower() in EXTENSIONS or path.suffix.lower() in NEEDED:
            found.setdefault(normal(path.stem), []).append(path)
    return found | {normal(path.name): [path] for path in files}


def _only(name: str, found: Sequence[Path]) -> Path | None:
    """The one file that fits; None: there is none."""
    if len(found) > 1:
        raise MaxViTError(f"{name} may be {found[0]} or {found[1]}: write its folder and ending into the list")
    return found[0] if found else None


def locate_all(folder: Path, names: Sequence[str], where: str) -> tuple[list[Path | None], list[PassedOver]]:
    """Look for the images that a file names.

    Args:
        folder: That the names count from.
        names: Names of images; at least one.
        where: What to call the file that names them.

    Returns:
        Where each is, None where it does not exist; and those that do not.

    Raises:
        MaxViTError: If none exists.
    """
    paths = [locate(folder, name) for name in names]
    return paths, _missing(folder, names, paths, where)


def _missing(folder: Path, names: Sequence[str], paths: Sequence[Path | None], where: str) -> list[PassedOver]:
    """The images that do not exist. Raises `MaxViTError` if that is all of them."""
    missing = [PassedOver(folder / name, MISSING) for name, path in zip(names, paths, strict=True) if path is None]
    if len(missing) == len(names):
        few = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
        slashes = ", with / in place of \\" if os.sep == "/" and all("\\" in name for name in names) else ""
        raise MaxViTError(
            f"none of the {len(names):,} images of {where} exists: {folder} does not hold {few}; names count from that "
            f"folder, unless they are absolute: move the images there, or correct the names{slashes}"
        )
    return missing


def name_some(folder: Path) -> str:
    """The first few names in a folder, in words."""
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if not path.name.startswith("."))
    return ", ".join(names[:_SHOWN]) + f" and {len(names) - _SHOWN:,} more" * (len(names) > _SHOWN) or "nothing"
