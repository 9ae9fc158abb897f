"""A data set by its path or URL, whatever kind it is."""

from pathlib import Path

from maxvit.data.folder import load_folder
from maxvit.data.labelled import Splits
from maxvit.data.lists import KINDS, load_list
from maxvit.data.shard_index import FILE
from maxvit.data.shards import UNFINISHED, read_shards


def load_images(path: str, val_fraction: float = 0.2, seed: int = 0) -> Splits:
    """Read a folder of class folders, a list (.csv, .tsv, .parquet), or shards in a folder or at a URL.

    Args:
        path: What the user wrote.
        val_fraction: Share that is held out where a folder or a list has no `val` of its own; shards must have one.
        seed: Of that split.

    Raises:
        MaxViTError: If it is none of these, or not as it should be.
    """
    if "://" in path:
        return read_shards(path)
    place = Path(path)
    if place.suffix.lower() in KINDS and not place.is_dir():
        return load_list(place, val_fraction, seed)
    if _holds_shards(place):
        return read_shards(place)
    return load_folder(place, val_fraction, seed)


def _holds_shards(folder: Path) -> bool:
    """An index; or tar files without class folders, beside which tar files are leftovers of a download."""
    if (folder / FILE).is_file() or (folder / UNFINISHED).is_file():
        return True
    return any(folder.glob("*.tar")) and not any(path.is_dir() for path in folder.iterdir())
