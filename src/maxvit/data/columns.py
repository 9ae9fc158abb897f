"""Which columns of a list hold what: as a person says, or guessed where one choice alone makes sense."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from maxvit.data.finding import Names, normal
from maxvit.data.images import EXTENSIONS
from maxvit.data.parts import part_of
from maxvit.data.rows import Rows, name_columns
from maxvit.errors import MaxViTError

IMAGE, SPLIT = "path", "split"
_USUAL_LABELS = ("label", "labels", "class", "class_name", "category", "target")
_TRIED = 100  # rows in which images are looked for
_HOW_IMAGE = "name the column of the images with --image-column (data.image_column)"
_HOW_LABEL = "name the columns of the labels, one or several, with --label-column (data.label_column)"


@dataclass(frozen=True, slots=True)
class ListColumns:
    """The columns of a list that a person names.

    Attributes:
        image: Names of the images; None: guessed.
        labels: One column with the class or the number; or a column for each class or number. Empty: guessed.
    """

    image: str | None = None
    labels: tuple[str, ...] = ()

    @classmethod
    def of(cls, image: str | None, labels: str | Sequence[str] | None) -> Self:
        """From what a person says: a name or nothing, and one name, several or nothing."""
        return cls(image, (labels,) if isinstance(labels, str) else tuple(labels or ()))

    def refuse(self, what: str) -> None:
        """Refuse columns, by `MaxViTError`, where they have no meaning: `what` says why."""
        if self != GUESSED:
            raise MaxViTError(f"{what}: leave --image-column and --label-column (data.image_column, ...) out")


GUESSED = ListColumns()


def find_image_column(rows: Rows, columns: ListColumns, names: Names) -> str:
    """The column of the images: the one that a person names, or `path`, or the only one that names files that exist.

    Raises:
        MaxViTError: If there is no such column, or more than one.
    """
    if columns.image is not None:
        return _known(rows, columns.image)
    if IMAGE in rows.columns:
        return IMAGE
    tried = range(0, len(rows), max(1, len(rows) // _TRIED))
    asked = {name: cells for name, cells in rows.columns.items() if name not in (find_split(rows), *columns.labels)}
    fitting = [name for name, cells in asked.items() if any(_exists(names, cells[i]) for i in tried)]
    if len(fitting) > 1:  # a number may be the name of an image too: a class, which comes several times, or a count
        fitting = [name for name in fitting if len(set(rows.columns[name])) == len(rows)] or fitting
        fitting = [name for name in fitting if any(rows.number(cell) is None for cell in rows.columns[name])] or fitting
    if len(fitting) == 1:
        if Path(fitting[0]).suffix.lower() in EXTENSIONS and _exists(names, fitting[0]):
            raise MaxViTError(
                f"the first line of {rows.file} names an image, {fitting[0]}, and not the columns: write a line above "
                "it that does, such as path,label"
            )
        return fitting[0]
    said = f"{rows.file} has the columns {rows.say_columns()}"
    if fitting:
        raise MaxViTError(f"{said}, and {name_columns(fitting)} all name files that exist: {_HOW_IMAGE}")
    raise MaxViTError(
        f"{said}, and none names images in {rows.file.parent} or in the folders there: move the images there, or "
        f"{_HOW_IMAGE}"
    )


def _exists(names: Names, name: str) -> bool:
    try:
        return names.find(name) is not None
    except MaxViTError:  # several fit, which is said where the column is read
        return True


def find_label_columns(
    rows: Rows, wanted: Sequence[str], image: str, fits: Collection[str] | None = None, together: Collection[str] = ()
) -> tuple[str, ...]:
    """The columns of the labels: those that are wanted, or the only choice that there is.

    Args:
        rows: The list.
        wanted: Names of columns; none: they are guessed.
        image: The column of the images.
        fits: Columns that can be guessed; None: all but those of images and parts.
        together: Columns that may be labels together, such as all that hold 0 and 1 alone.

    Returns:
        The only column that there is; else the only one with a usual name, such as "class"; else all that there are, if
        they may be together.

    Raises:
        MaxViTError: If a column does not exist, is the image's too, or there is more than one choice.
    """
    if wanted:
        if image in (found := tuple(_known(rows, name) for name in wanted)):
            raise MaxViTError(f"column {image!r} of {rows.file} holds the images, and cannot be a label too")
        if twice := [name for i, name in enumerate(found) if name in found[:i]]:
            raise MaxViTError(f"--label-column (data.label_column) names {twice[0]!r} twice: name it once")
        return found
    possible = rows.columns if fits is None else fits
    rest = [name for name in rows.columns if name in possible and name != image and name.lower() != SPLIT]
    rest = [name for name in rest if name != find_split(rows, [image])] or rest
    usual = [name for name in rest if name.lower() in _USUAL_LABELS]
    for choice in (rest, usual):
        if len(choice) == 1:
            return (choice[0],)
    if len(rest) > 1 and not usual and set(rest) <= set(together):
        return tuple(rest)
    said = f"{rows.file} has the columns {rows.say_columns()}"
    if not rest:
        what = "for labels" if fits is None else "with numbers"
        raise MaxViTError(f"{said}, and none beside the image's {what}: add one, or {_HOW_LABEL}")
    raise MaxViTError(f"{said}, and {name_columns(usual or rest)} could be labels: {_HOW_LABEL}")


def _known(rows: Rows, name: str) -> str:
    if (found := normal(name.strip())) not in rows.columns:
        raise MaxViTError(f"{rows.file} has no column {name!r}: its columns are {rows.say_columns()}")
    return found


def find_split(rows: Rows, used: Collection[str] = ()) -> str | None:
    """The column of the parts: `split` in any case, else the only one in which each cell is a part, some of them train.

    Args:
        rows: The list.
        used: Columns that hold something else.
    """
    free = [name for name in rows.columns if name not in used]
    if called := [name for name in free if name.lower() == SPLIT]:
        return SPLIT if SPLIT in called else called[0]
    parts = {name: set(map(part_of, rows.columns[name])) for name in free}
    fitting = [name for name, found in parts.items() if None not in found and found > {"train"}]
    return fitting[0] if len(fitting) == 1 else None


def find_members(rows: Rows, split: str | None) -> Mapping[str, Sequence[int]]:
    """The rows of each part that the column `split` names; of "all", where there is none. Raises `MaxViTError`."""
    if split is None:
        return {"all": range(len(rows))}
    members: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for i, name in enumerate(rows.columns[split]):
        if (part := part_of(name)) is None:
            raise rows.wrong(i, f"{split} is {name!r}: give train, val or test")
        members[part].append(i)
    return members


def other_columns(rows: Rows, used: Collection[str | None]) -> dict[str, Sequence[str]]:
    """The columns that are not used, and are kept."""
    return {name: cells for name, cells in rows.columns.items() if name not in used}


def say_columns(
    columns: ListColumns,
    image: str,
    labels: Sequence[str],
    split: str | None,
    others: Collection[str],
    names: Names,
    what: str,
) -> str:
    """Which columns were read, as a clause of a sentence; nothing, where they have the names that are documented.

    Args:
        columns: What a person said.
        image: Column of the images.
        labels: Columns of the labels; none: they were not looked for.
        split: Column of the parts.
        others: Columns that are not used.
        names: What found the images.
        what: What a label is.
    """
    chosen = [f"{name_columns([image])} (image)"] if image != IMAGE else []
    own = len(labels) == 1 and labels[0] in ("label", "labels")
    if labels and not own:
        chosen.append(f"{name_columns(labels)} ({what}{('es' if what == 'class' else 's') * (len(labels) > 1)})")
    flags = ["--image-column"] * (columns.image is None and image != IMAGE)
    flags += ["--label-column"] * (bool(labels) and not own and not columns.labels)
    said = [f"columns {', '.join(chosen)}"] if chosen else []
    if flags:
        said[0] += f" (guessed; {' and '.join(flags)} {'choose' if len(flags) > 1 else 'chooses'} others)"
    if names.folders:
        said.append(f"images found in {', '.join(sorted(f'{path.name}/' for path in names.folders))}")
    if others:
        said.append(f"other columns: {name_columns(list(others))}")
    return "".join(f"; {clause}" for clause in said) + say_split(split)


def say_split(split: str | None) -> str:
    """Which column the parts are of, as a clause of a sentence; nothing, where it has the name that is documented."""
    return f"; parts by column {split!r}" if split not in (None, SPLIT) else ""


def name_beside(others: Collection[str], taken: Collection[str]) -> dict[str, str]:
    """What to call columns that are kept, in a table that has columns of its own: with list_ before those names."""
    found: dict[str, str] = {}
    for name in others:
        new = name
        while new in taken or new in found.values() or (new != name and new in others):
            new = f"list_{new}"
        found[name] = new
    return found
