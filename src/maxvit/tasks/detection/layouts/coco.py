"""COCO's format as COCO, Roboflow, CVAT and Label Studio lay it out, or a file of it by its path."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from maxvit.data.dataset import LabelledImages
from maxvit.data.parts import PART_NAMES, part_of
from maxvit.errors import MaxViTError
from maxvit.tasks.detection.coco import read_coco
from maxvit.tasks.detection.layouts.layout import Layout, Read

_ROBOFLOW = "_annotations.coco.json"
_WHOLE = ("annotations.json", _ROBOFLOW, "result.json")  # result.json: Label Studio
_DEFAULT = "default"  # what CVAT calls images that were not divided
_INSTANCES = "instances_"


def recognizes(path: Path) -> bool:
    """A file of JSON, or a folder with one where it should be."""
    return bool(_find_files(path))


def find_parts(path: Path) -> dict[str, Read]:
    """See `Layout`. Raises `MaxViTError` if a part has two files, or the folder of its images is missing."""
    parts: dict[str, Read] = {}
    files = _find_files(path)
    if len(files) > 1 and "all" in files:
        of_parts = ", ".join(str(found[0]) for part, found in files.items() if part != "all")
        raise MaxViTError(f"there are {files['all'][0]} of all images and {of_parts} of parts: keep one or the other")
    for part, (file, *others) in files.items():
        if others:
            raise MaxViTError(f"there are {file} and {others[0].name}: keep one of them, the other elsewhere")
        parts[part] = partial(_read, file, _image_folders(file))
    return parts


def _read(file: Path, folders: Sequence[Path], with_masks: bool, class_names: Sequence[str] | None) -> LabelledImages:
    return read_coco(file, folders, with_masks, class_names)


def _find_files(path: Path) -> dict[str, list[Path]]:
    """The files of annotations of each part, or of "all"."""
    if path.is_file():
        return {"all": [path]} if path.suffix.lower() == ".json" else {}
    whole = [path / name for name in _WHOLE if _is_annotations(path / name)]
    found: dict[str, list[Path]] = {"all": whole} if whole else {}
    for file in sorted((path / "annotations").glob(f"{_INSTANCES}*.json")):
        if part := _part_of_file(file):
            found.setdefault(part, []).append(file)
    for folder in sorted(path.iterdir()) if path.is_dir() else []:
        part = part_of(folder.name)
        if part and (folder / _ROBOFLOW).is_file():
            found.setdefault(part, []).append(folder / _ROBOFLOW)
    return found


def _is_annotations(file: Path) -> bool:
    """Others write a result.json too: Label Studio's has its images next to it."""
    return file.is_file() and (file.name != "result.json" or (file.parent / "images").is_dir())


def _part_of_file(file: Path) -> str | None:
    """By the beginning of what follows "instances_", such as train2017."""
    name = file.stem.removeprefix(_INSTANCES).lower()
    if name == _DEFAULT:
        return "all"
    return part_of(name) or next((part for part in PART_NAMES if name.startswith(part)), None)


def _image_folders(file: Path) -> list[Path]:
    """The folders that names of images may count from, the likeliest first."""
    folder = file.parent
    if file.name in (_ROBOFLOW, "result.json"):
        return [folder]
    if folder.name == "annotations":
        root, name = folder.parent, file.stem.removeprefix(_INSTANCES)
        places = [root / name, root / "images" / name, root / "images"]
    else:
        places = [folder / "images"]
    there = [place for place in places if place.is_dir()]
    if file.name in _WHOLE or file.stem.startswith(_INSTANCES):
        if not there:
            raise MaxViTError(f"{file} lacks its images: put them into {' or '.join(str(place) for place in places)}")
        return there
    return [*there, folder, folder.parent]


LAYOUT = Layout(
    "COCO",
    "annotations/instances_train*.json (and val, test; or instances_default.json) with images/ or train2017/, "
    "annotations.json or result.json with images/, train/_annotations.coco.json, or a .json file by its path",
    recognizes,
    find_parts,
)
