"""Tar files that another program wrote, in WebDataset's layout: read once from end to end, to find where images are."""

import itertools
import json
import os
import re
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from maxvit.data.images import EXTENSIONS
from maxvit.data.shards.cache import OpenFile
from maxvit.data.shards.index import SPLITS, Index, Rows
from maxvit.data.shards.storage import ShardFolder
from maxvit.errors import MaxViTError

CLASSES = "classes.txt"
_BLOCK = 512  # of a tar file
_META = re.compile(r"__[^/]*__($|/)")  # WebDataset's own notes, no samples


class _Member(NamedTuple):
    key: str
    extension: str
    start: int  # of the bytes, not of the header
    size: int


def scan_shards(folder: ShardFolder) -> Index:
    """Find every image and its label.

    The files of a sample follow one another and share a key, the name up to its first dot: an image, and a label in
    KEY.cls (an integer) or in KEY.json under "label". The split is in the name of the shard: train-0000.tar. Class
    names stand in classes.txt, one a line; without it they are the integers.

    Raises:
        MaxViTError: If there is no tar file, one is truncated or of no split, or a sample is not as described.
    """
    tars = folder.list_tars()
    if not tars:
        raise MaxViTError(f"{folder.name} holds no tar files: make shards with maxvit shard, or check the path")
    if strange := [name for name in tars if not name.startswith(SPLITS)]:
        raise MaxViTError(
            f"{folder.name}/{strange[0]} is of no split: rename shards so that each begins with train, val or test"
        )
    folder.check(tars, "the folder")
    class_names = _read_class_names(folder)
    rows = {split: Rows() for split in SPLITS}
    keys: dict[str, dict[str, int]] = {split: {} for split in SPLITS}
    for name, size in tars.items():
        split = next(split for split in SPLITS if name.startswith(split))
        _scan(folder, name, size, rows[split], keys[split], class_names)
    return Index(class_names, {split: found.table() for split, found in rows.items() if found.shards})


def _read_class_names(folder: ShardFolder) -> list[str] | None:
    content = folder.read(CLASSES)
    if content is None:
        return None
    try:
        names = [line.strip() for line in content.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise MaxViTError(f"{folder.name}/{CLASSES} is not UTF-8 text: save it as UTF-8") from error
    if not names or not all(names) or len(set(names)) < len(names):
        raise MaxViTError(f"{folder.name}/{CLASSES} must name each class once, one a line, without empty lines")
    return names


def _scan(
    folder: ShardFolder, name: str, size: int, rows: Rows, keys: dict[str, int], class_names: list[str] | None
) -> None:
    """Add the samples of one shard to `rows`, and their keys to `keys` with the number of the shard."""
    where = f"{folder.name}/{name}"
    try:
        file = folder.open(name, size)
    except OSError as error:
        raise MaxViTError(f"{where} cannot be read: {error.strerror or error}") from error
    for key, group in itertools.groupby(_members(file, where), key=lambda member: member.key):
        if key in keys:
            first = rows.shards[keys[key]].name if keys[key] < len(rows.shards) else name
            raise MaxViTError(
                f"{where} has a sample {key!r}, and {first} has one before it: give each a key of its own"
            )
        keys[key] = len(rows.shards)
        members: dict[str, _Member] = {}
        for member in group:
            if member.extension in members:
                raise MaxViTError(f"{where} has two files {key}.{member.extension}: give each sample a key of its own")
            members[member.extension] = member
        image = _image_of(members, where)
        label = _label_of(members, file, where)
        if label < 0 or (class_names is not None and label >= len(class_names)):
            allowed = f"0 to {len(class_names) - 1} by {CLASSES}" if class_names else "0 or more"
            raise MaxViTError(f"{where}: the label of {key!r} is {label}, and {allowed} is allowed")
        rows.add(image.start, image.size, label, f"{key}.{image.extension}")
    rows.end_shard(name, size)


def _members(file: OpenFile, where: str) -> Iterator[_Member]:
    """The files that belong to samples; at the end, that the archive ends as it should."""
    end = 0
    try:
        with os.fdopen(os.dup(file.number), "rb") as handle, tarfile.open(fileobj=handle, mode="r:") as tar:
            for member in tar:
                end = member.offset_data + (-(-member.size // _BLOCK) * _BLOCK if member.isreg() else 0)
                path, dot, extension = _split_name(member.name)
                if dot and member.isreg() and not member.issparse() and not _META.match(member.name):
                    yield _Member(path, extension, member.offset_data, member.size)
    except (tarfile.TarError, OSError, ValueError) as error:
        raise MaxViTError(
            f"{where} is truncated, or not a plain tar file ({error}; after byte {end}): copy it again"
        ) from error
    if file.read(end, _BLOCK) != bytes(_BLOCK):  # tarfile takes what it cannot read for the end
        raise MaxViTError(f"{where} is truncated or damaged at byte {end}, where its end should stand: copy it again")


def _split_name(name: str) -> tuple[str, str, str]:
    """Key, dot and extension, as WebDataset splits them; no dot where the file belongs to no sample."""
    folder, slash, file = name.rpartition("/")
    stem, dot, extension = file.partition(".")
    return folder + slash + stem, dot if stem else "", extension.lower()


def _image_of(members: dict[str, _Member], where: str) -> _Member:
    key, start = next((member.key, member.start) for member in members.values())
    images = [member for extension, member in members.items() if f".{extension}" in EXTENSIONS]
    if len(images) != 1:
        what = f"{len(images)} images ({', '.join(m.extension for m in images)})" if images else "no image"
        raise MaxViTError(
            f"{where}: sample {key!r} at byte {start} has {what} among its files {', '.join(members)}; one is wanted"
        )
    if images[0].size == 0:
        raise MaxViTError(f"{where}: the image of {key!r} at byte {start} is empty: leave the sample out")
    return images[0]


def _label_of(members: dict[str, _Member], file: OpenFile, where: str) -> int:
    key, start = next((member.key, member.start) for member in members.values())
    member = members.get("cls") or members.get("json")
    if member is None:
        raise MaxViTError(
            f"{where}: sample {key!r} at byte {start} has no label: add {key}.cls with an integer, or {key}.json with "
            f'a "label"'
        )
    content = file.read(member.start, member.size)
    try:
        if member.extension == "cls":
            return _as_label(int(content))
        return _as_label(json.loads(content)["label"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        said = content[:40].decode("utf-8", "replace").strip()
        raise MaxViTError(
            f"{where}: the label of {key!r}, {said!r}, is not an integer: write the number of its class"
        ) from error


def _as_label(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value > np.iinfo(np.int64).max:
        raise TypeError
    return value
