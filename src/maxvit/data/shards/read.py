"""Data sets of millions of images: WebDataset's tar files, with random access to each image.

Not a stream: an index says where each image is. So order, splitting over processes and resuming are those of any
list of images, and each is seen exactly once.
"""

from array import array
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maxvit.data.dataset import LabelledImages, Lazy, Splits, class_numbers, refuse_unknown
from maxvit.data.finding import normal
from maxvit.data.shards.cache import CACHE_BYTES, OpenFile
from maxvit.data.shards.index import FILE, REMAKE, SPLITS, Index, Table, is_table, read_index, write_index
from maxvit.data.shards.scan import scan_shards
from maxvit.data.shards.storage import ShardFolder, open_folder
from maxvit.errors import MaxViTError

UNFINISHED = "unfinished"  # is in the folder while `write_shards` works
_OPEN_AT_ONCE = 16  # files that a process holds open
_MOST_UNNAMED = 100_000  # classes; a label beyond is some other number that was taken for one


class ShardImages(Lazy[bytes]):
    """The bytes of each image file, read when an item is asked for; each process opens its own files.

    A shard that has gone or shrunk since it was opened raises `OSError`: unlike one broken image, it is no matter of
    leaving something out.
    """

    def __init__(self, folder: ShardFolder, table: Table) -> None:
        self.folder, self.table = folder, table
        self._open: dict[int, OpenFile] = {}  # in order of use

    def __len__(self) -> int:
        return len(self.table.shard)

    def item(self, index: int) -> bytes:
        table = self.table
        shard, offset, size = (int(column[index]) for column in (table.shard, table.offset, table.size))
        content = self._file(shard).read(offset, size)
        if len(content) != size:
            raise OSError(f"{self.folder.name}/{table.shards[shard].name} has become shorter than it was: restore it")
        return content

    def _file(self, number: int) -> OpenFile:
        shard = self.table.shards[number]
        file = self._open.pop(number, None) or self.folder.open(shard.name, shard.bytes)
        self._open[number] = file
        for oldest in list(self._open)[:-_OPEN_AT_ONCE]:  # a thread that reads from one still holds it
            self._open.pop(oldest, None)
        return file

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "table": self.table, "_open": {}}


def read_shards(folder: str | Path, class_names: list[str] | None = None, cache_bytes: int = CACHE_BYTES) -> Splits:
    """Open a data set in shards, those of `maxvit shard` or any in WebDataset's layout.

    Shards without an index are read through once (see `maxvit.data.shards.scan` for what they must hold), and the
    index is left next to them where the folder can be written to.

    Args:
        folder: A path, or a URL such as s3://bucket/folder. A URL's shards are fetched whole when they are needed.
        class_names: The classes that a model knows: those of the data must be among them, and labels follow them.
            None: the data's.
        cache_bytes: What fetched shards may take on this machine.

    Raises:
        MaxViTError: If there are no shards, or they are damaged, do not fit their index, or have no `train` or `val`.
    """
    parts = open_shards(folder, class_names, cache_bytes)
    for split in ("train", "val"):
        if not len(parts.get(split, ())):
            place = str(folder).rstrip("/")
            raise MaxViTError(
                f"{place} has no {split} images: rename some of the shards to {split}-*.tar, and {REMAKE}"
            )
    return Splits(parts["train"], parts["val"], parts.get("test"))


def open_shards(
    folder: str | Path, class_names: list[str] | None = None, cache_bytes: int = CACHE_BYTES
) -> dict[str, LabelledImages]:
    """The images of each split that there is, train, val and test, in this order; arguments are those of `read_shards`.

    Raises:
        MaxViTError: As `read_shards`, but for splits that are not there.
    """
    place = open_folder(folder, cache_bytes)
    index = read_index(place.read, place.name)
    if index is not None:
        place.check({shard.name: shard.bytes for table in index.tables.values() for shard in table.shards}, FILE)
    else:
        if place.read(UNFINISHED) is not None:
            raise MaxViTError(
                f"{place.name} is unfinished: call maxvit shard again with the same folder, it starts over"
            )
        index = scan_shards(place)
        tables = [place.read(f"{split}.npz") for split in SPLITS]
        if all(table is None or is_table(table) for table in tables):  # else they are somebody's
            write_index(index, place.write)
    names, numbers = _classes(index, class_names, place.name)
    there = [split for split in SPLITS if split in index.tables]
    return {split: _open_split(place, split, index.tables[split], names, numbers) for split in there}


def _open_split(
    place: ShardFolder, split: str, table: Table, names: list[str], numbers: npt.NDArray[np.int64]
) -> LabelledImages:
    # arrays and not lists: a worker process shares their memory
    labels = array("q", numbers[table.label].tobytes())
    shards = array("q", table.shard.tobytes())
    return LabelledImages(ShardImages(place, table), labels, names, table.names, shards, split)


def _classes(index: Index, wanted: list[str] | None, where: str) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The class names, and for each label of the index the label among them."""
    if index.class_names is None:
        count = 1 + max(int(table.label.max(initial=0)) for table in index.tables.values())
        if count > _MOST_UNNAMED:
            raise MaxViTError(f"{where} has labels up to {count - 1}: number the classes from 0 on, and {REMAKE}")
        if wanted is not None and count > len(wanted):
            raise MaxViTError(
                f"{where} has labels up to {count - 1}, and the model {len(wanted)} classes: evaluate on the classes "
                "that it was trained for"
            )
        return wanted or [str(i) for i in range(count)], np.arange(count)
    if wanted is None:
        return index.class_names, np.arange(len(index.class_names))
    refuse_unknown(index.class_names, wanted, lambda name: f"{where}: {name!r}")
    known = class_numbers(wanted)
    return wanted, np.array([known[normal(name)] for name in index.class_names])
