"""A small data set in COCO's format: coloured rectangles, whose boxes and masks are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NAMES = {3: "red", 7: "blue"}  # ids with gaps
COLOURS = {3: (220, 30, 30), 7: (30, 30, 220)}
# file name -> (height, width), then objects: category, left, top, width, height
IMAGES: dict[str, tuple[tuple[int, int], list[tuple[int, int, int, int, int]]]] = {
    "000000000011.png": ((37, 61), [(7, 5, 3, 20, 11), (3, 30, 15, 23, 17)]),
    "000000000012.png": ((53, 41), [(3, 2, 9, 31, 29)]),
    "000000000013.png": ((47, 47), []),
    "000000000014.png": ((29, 67), [(7, 40, 2, 13, 19)]),
}


def describe(files: list[str] | None = None) -> dict[str, Any]:
    """What stands in the JSON file, with a polygon for each object."""
    data: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    data["categories"] = [{"id": i, "name": name} for i, name in reversed(NAMES.items())]
    for name in IMAGES if files is None else files:
        (height, width), objects = IMAGES[name]
        i = int(Path(name).stem)
        data["images"].append({"id": i, "file_name": name, "height": height, "width": width})
        for category, x, y, w, h in objects:
            number = 100 + len(data["annotations"])
            corners = [x, y, x + w, y, x + w, y + h, x, y + h]
            data["annotations"].append(
                {
                    "id": number,
                    "image_id": i,
                    "category_id": category,
                    "bbox": [x, y, w, h],
                    "segmentation": [corners],
                    "area": w * h,
                    "iscrowd": 0,
                }
            )
    return data


def write_images(folder: Path, files: list[str] | None = None) -> None:
    """Grey images with the rectangles."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in IMAGES if files is None else files:
        size, objects = IMAGES[name]
        pixels = np.full((*size, 3), 120, np.uint8)
        for category, x, y, w, h in objects:
            pixels[y : y + h, x : x + w] = COLOURS[category]
        Image.fromarray(pixels).save(folder / name)


def write_coco(folder: Path, data: dict[str, Any] | None = None) -> Path:
    """FOLDER/annotations.json and FOLDER/images/."""
    write_images(folder / "images")
    (folder / "annotations.json").write_text(json.dumps(describe() if data is None else data))
    return folder
