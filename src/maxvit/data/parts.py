"""What the parts of a data set are called."""

from pathlib import Path

from maxvit.errors import MaxViTError

PART_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev", "eval"),
    "test": ("test", "testing"),
}
_PARTS = {name: part for part, names in PART_NAMES.items() for name in names}


def part_of(name: str) -> str | None:
    """The part that a folder or file of a name holds: "train", "val" or "test", in any case; None: none of them."""
    return _PARTS.get(name.lower())


def part_folders(folder: Path) -> dict[str, Path]:
    """The folders of the parts below a folder, "train" first; none, if it is not a folder.

    Raises:
        MaxViTError: If two folders are the same part.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        part = part_of(path.name)
        if part is None or not path.is_dir():
            continue
        if part in found:
            raise MaxViTError(
                f"{found[part].name} and {path.name} of {folder} are both names of the {part} part: keep one, or join "
                "them"
            )
        found[part] = path
    return {part: found[part] for part in PART_NAMES if part in found}
