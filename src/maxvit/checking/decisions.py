"""What to do about what was found: a list that a person edits, and the list of images that it leaves."""

import csv
import io
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

import numpy as np

from maxvit.checking.check import DataCheck, open_parts
from maxvit.checking.parts import ALL, Images, join
from maxvit.data.columns import GUESSED, ListColumns
from maxvit.data.rows import find_separator
from maxvit.errors import MaxViTError
from maxvit.storage import write_bytes

COLUMNS = ("path", "part", "label", "keep", "finding", "other", "likely")
KEPT = "kept.csv"
_ANSWERS = {"yes": True, "no": False}
_LEARNED = ("train", ALL)  # parts that lose an image where another part has it too


def write_decisions(path: Path, found: DataCheck) -> Path | None:
    """Write a row for each image of which something was found, with a proposal in the column keep.

    An image that cannot be read goes. Duplicates in one class go from training where another part has one too, else all
    but the largest go; no other part loses one. Where duplicates have two classes, all stay: a person knows which
    is right. Suspicious labels and images unlike others stay.

    Returns:
        Where the file that was there before is kept; None: there was none, or it held the same. A person may have
        edited it, and what was proposed then is not known, as the images may have changed since.

    Raises:
        MaxViTError: If the file cannot be written.
    """
    images, gone = found.images, propose(found)
    findings: dict[int, list[tuple[str, str, str]]] = {}
    for i in found.unreadable:
        findings.setdefault(i, []).append(("cannot be read", "", ""))
    for pair in found.pairs:
        findings.setdefault(pair.first, [])
        findings.setdefault(pair.second, []).append((pair.kind, str(place_of(images, pair.first)), ""))
    for one in found.suspicions:
        findings.setdefault(one.image, []).append(("label looks wrong", "", images.class_names[one.likely]))
    for far in found.outliers:
        findings.setdefault(far.image, []).append(("unlike all others", "", ""))
    rows = []
    for i, said in sorted(findings.items()):
        what, others, likely = (
            ("; ".join(dict.fromkeys(filter(None, each))) for each in zip(*said, strict=True))
            if (said)
            else ("has duplicates", "", "")
        )
        keep = "no" if i in gone else "yes"
        rows.append((str(place_of(images, i)), images.parts[i], images.class_of(i), keep, what, others, likely))
    content = _as_csv([COLUMNS, *rows])
    before = path.read_bytes() if path.is_file() else content
    kept = None if before == content else _unused(path.with_name(f"{path.name}.old"))
    if kept is not None:
        write_bytes(kept, before)
    write_bytes(path, content)
    return kept


def propose(found: DataCheck) -> set[int]:
    """The images that `write_decisions` proposes to leave out."""
    images, gone = found.images, set(found.unreadable)
    root: dict[int, int] = {}
    groups: dict[int, list[int]] = {}
    for pair in found.pairs:
        root[pair.second] = root.get(pair.first, pair.first)
        groups.setdefault(root[pair.second], [root[pair.second]]).append(pair.second)
    for group in groups.values():
        if images.classes is not None and len({images.classes[i] for i in group}) > 1:
            continue
        learned = [i for i in group if images.parts[i] in _LEARNED]
        if len(learned) == len(group):
            learned.remove(max(learned, key=lambda i: int(np.prod(found.sizes[i]))))
        gone |= set(learned)
    return gone


def apply_decisions(decisions: Path, data: str, task: str, columns: ListColumns = GUESSED) -> tuple[int, int, Path]:
    """Write the images that stay as a list, next to the decisions.

    Args:
        decisions: What `write_decisions` wrote, edited: keep is yes or no, and label is what the image is to be.
        data: What was checked: images that have no row stay as they are.
        task: Its task.
        columns: Which columns of a list were read.

    Returns:
        How many images stay, how many do not, and the list.

    Raises:
        MaxViTError: If the list is missing or not as described, or the images are not files with one class each.
    """
    rows = _read(decisions)
    parts, opened = open_parts(data, task, columns)
    images = join(parts, opened, data)
    if images.classes is None:
        raise MaxViTError(f"{data} has no images with exactly one class each, which --apply takes: edit it by hand")
    if not images.are_files:
        raise MaxViTError(
            f"{data} does not consist of image files, which --apply takes: check the folder it stems from"
        )
    places = [str(place_of(images, i)) for i in range(len(images))]
    if unknown := sorted(set(rows) - set(places)):
        raise MaxViTError(
            f"{decisions} names {unknown[0]}, which is not among the images of {data}: give the same DATA"
        )
    has_parts = ALL not in images.parts
    kept = [("path", "label", "split")[: 3 if has_parts else 2]]
    for i, place in enumerate(places):
        keep, label = rows.get(place, (True, images.class_of(i)))
        if keep:
            _check_text(place, "is a name", "rename the file")
            _check_text(label, f"is a label in {decisions}", "save that as UTF-8")
            kept.append((str(Path(place).absolute()), label, images.parts[i])[: 3 if has_parts else 2])
    path = decisions.with_name(KEPT)
    write_bytes(path, _as_csv(kept))
    return len(kept) - 1, len(images) - len(kept) + 1, path


def place_of(images: Images, index: int) -> str | Path:
    """The file of an image; where it is in no file of its own, its name."""
    source = images.sources[index]
    return source if isinstance(source, str | Path) else images.names[index]


def _read(decisions: Path) -> Mapping[str, tuple[bool, str]]:
    """Whether an image stays, and its label, by its path."""
    if not decisions.is_file():
        raise MaxViTError(
            f"{decisions} is not a file: give the decisions.csv that maxvit check DATA --out FOLDER wrote"
        )
    text = decisions.read_text(encoding="utf-8-sig", errors="surrogateescape")
    separator = find_separator(text.partition("\n")[0], ",")  # many a spreadsheet writes semicolons
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    if missing := [name for name in ("path", "label", "keep") if name not in (reader.fieldnames or ())]:
        raise MaxViTError(f"{decisions} has no column {missing[0]!r}: keep the columns that maxvit check wrote")
    found = {}
    for row in reader:
        keep, label = _ANSWERS.get((row["keep"] or "").strip().lower()), (row["label"] or "").strip()
        if keep is None or not label:
            what = f"keep is {row['keep']!r}: write yes or no" if keep is None else "label is empty: give a class"
            raise MaxViTError(f"line {reader.line_num} of {decisions}: {what}")
        found[row["path"]] = keep, label
    return found


def _check_text(text: str, what: str, remedy: str) -> None:
    """Refuse what no list can hold. Raises `MaxViTError`."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        raise MaxViTError(f"{shown} {what} that is not UTF-8, and a list is: {remedy}") from error


def _as_csv(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def _unused(path: Path) -> Path:
    """The path; where a file has it, the first that is free of PATH.2, PATH.3, ..."""
    names = (path.with_name(f"{path.name}.{number}") for number in count(2))
    return path if not path.exists() else next(name for name in names if not name.exists())
