"""The images of `coco_samples` in the formats of others, so that each can be compared with COCO's."""

import json
from pathlib import Path

from coco_samples import IMAGES, describe, write_images

CLASSES = ["red", "blue"]  # by COCO's ids, 3 and 7
FIRST, SECOND, EMPTY, LAST = IMAGES
PARTS = {"train": [FIRST, EMPTY], "val": [SECOND], "test": [LAST]}


def boxes(name):
    """(class number, left, top, right, bottom) of each object."""
    return [({3: 0, 7: 1}[c], x, y, x + w, y + h) for c, x, y, w, h in IMAGES[name][1]]


def yolo_rows(name, polygons=False):
    """The rows of a file of labels."""
    height, width = IMAGES[name][0]
    rows = []
    for label, left, top, right, bottom in boxes(name):
        if polygons:
            points = [(left, top), (right, top), (right, bottom), (left, bottom)]
            values = [v for x, y in points for v in (x / width, y / height)]
        else:
            values = [(left + right) / 2 / width, (top + bottom) / 2 / height]
            values += [(right - left) / width, (bottom - top) / height]
        rows.append(" ".join([str(label), *(f"{v:.9f}" for v in values)]))
    return "".join(row + "\n" for row in rows)


def write_yolo(folder: Path, polygons=False, images="images/{part}", labels="labels/{part}") -> Path:
    """FOLDER/data.yaml, images and labels; the image without objects has no file of labels."""
    for part, names in PARTS.items():
        write_images(folder / images.format(part=part), names)
        (folder / labels.format(part=part)).mkdir(parents=True, exist_ok=True)
        for name in names:
            if rows := yolo_rows(name, polygons):
                (folder / labels.format(part=part) / name).with_suffix(".txt").write_text(rows)
    places = "".join(f"{part}: {images.format(part=part)}\n" for part in PARTS)
    (folder / "data.yaml").write_text(f"names: {json.dumps(CLASSES)}\n{places}")
    return folder


def write_roboflow(folder: Path) -> Path:
    """As Roboflow exports COCO's format, with its category for the group of all others."""
    for part, name in {"train": "train", "val": "valid", "test": "test"}.items():
        data = describe(PARTS[part])
        for category in data["categories"]:
            category["supercategory"] = "colours"
        data["categories"].insert(0, {"id": 0, "name": "colours", "supercategory": "none"})
        write_images(folder / name, PARTS[part])
        (folder / name / "_annotations.coco.json").write_text(json.dumps(data))
    return folder


def write_cvat(folder: Path) -> Path:
    """As CVAT exports COCO's format."""
    write_images(folder / "images")
    (folder / "annotations").mkdir()
    (folder / "annotations/instances_default.json").write_text(json.dumps(describe()))
    return folder


def write_label_studio(folder: Path, separator="/") -> Path:
    """As Label Studio exports COCO's format."""
    write_images(folder / "images")
    data = describe()
    for image in data["images"]:
        image["file_name"] = f"images{separator}{image['file_name']}"
    (folder / "result.json").write_text(json.dumps(data))
    return folder


def write_voc(folder: Path) -> Path:
    """In VOC's folders: pixels count from 1, and the last is within the box."""
    write_images(folder / "JPEGImages")
    (folder / "Annotations").mkdir()
    (folder / "ImageSets/Main").mkdir(parents=True)
    for name in IMAGES:
        (folder / "Annotations" / name).with_suffix(".xml").write_text(voc_xml(name))
    for part, names in PARTS.items():
        (folder / f"ImageSets/Main/{part}.txt").write_text("".join(f"{Path(name).stem}\n" for name in names))
    return folder


def voc_xml(name):
    """The annotations of an image."""
    height, width = IMAGES[name][0]
    objects = "".join(
        f"<object>\n<name>{CLASSES[label]}</name>\n<difficult>0</difficult>\n<bndbox><xmin>{left + 1}</xmin>"
        f"<ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox>\n</object>\n"
        for label, left, top, right, bottom in boxes(name)
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>\n<filename>{name}</filename>\n{size}\n{objects}</annotation>\n"


def labelme(name, kind="rectangle"):
    """The annotations of an image."""
    height, width = IMAGES[name][0]
    shapes = []
    for label, left, top, right, bottom in boxes(name):
        corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
        points = [[right, top], [left, bottom]] if kind == "rectangle" else corners
        shapes.append({"label": CLASSES[label], "points": points, "group_id": None, "shape_type": kind})
    return {"version": "5.4.1", "shapes": shapes, "imagePath": name, "imageHeight": height, "imageWidth": width}


def write_beside(folder: Path, ending: str, write, parts=None) -> Path:
    """A file of annotations next to each image, none for the image without objects; parts=None: in one folder."""
    for part, names in ({"": list(IMAGES)} if parts is None else parts).items():
        write_images(folder / part, names)
        for name in names:
            if name != EMPTY:
                (folder / part / name).with_suffix(ending).write_text(write(name))
    return folder


def write_labelme(folder: Path, kind="rectangle", parts=None) -> Path:
    """As labelme leaves them."""
    return write_beside(folder, ".json", lambda name: json.dumps(labelme(name, kind)), parts)
