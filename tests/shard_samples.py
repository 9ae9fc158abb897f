"""Small data sets in shards, and tar files of any contents."""

import io
import tarfile
from pathlib import Path

import numpy as np
import webdataset
from PIL import Image

from maxvit.data.folder import load_folder
from maxvit.data.shards.write import write_shards


def picture(seed=0, kind="JPEG"):
    """The bytes of an image file, each seed another."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (11, 13, 3), np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def write_folder(folder: Path) -> Path:
    """FOLDER/{train,val,test}/{cat,dog,eel}: 27 + 8 + 5 files, of three formats that are copied and one that is not."""
    seed = 0
    for split, counts in {"train": (13, 7, 7), "val": (3, 3, 2), "test": (2, 1, 2)}.items():
        for name, count in zip(("cat", "dog", "eel"), counts, strict=True):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                kind, extension = (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif"))[seed % 4]
                (folder / split / name / f"{i}.{extension}").write_bytes(picture(seed, kind))
                seed += 1
    return folder


def write_small(tmp_path: Path) -> Path:
    """That folder as shards of one to three images."""
    write_shards(load_folder(write_folder(tmp_path / "folder")), tmp_path / "shards", 2500)
    return tmp_path / "shards"


def write_tar(path: Path, *files: tuple[str, bytes]) -> Path:
    """A tar file of these names and contents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def sample(key, label, seed=0):
    """The two files of a sample."""
    return (f"{key}.jpg", picture(seed)), (f"{key}.cls", str(label).encode())


def two_splits(folder, *more):
    """Foreign shards: two training samples, or `more`, and one for validation."""
    write_tar(folder / "train-00.tar", *(more or (*sample("a", 0), *sample("b", 1, 1))))
    write_tar(folder / "val-00.tar", *sample("c", 1, 2))
    return folder


def write_foreign(folder, label="cls"):
    """By the webdataset library: 12 training samples in three shards, 3 for validation."""
    folder.mkdir()
    for split, count in (("train", 12), ("val", 3)):
        pattern = str(folder / f"{split}-%04d.tar")
        with webdataset.ShardWriter(pattern, maxcount=4, verbose=0) as writer:
            for i in range(count):
                entry = {"__key__": f"{split}/sample{i:03}", "jpg": picture(i), "txt": f"number {i}"}
                entry[label] = i % 3 if label == "cls" else {"label": i % 3, "caption": "x"}
                writer.write(entry)
    return folder
