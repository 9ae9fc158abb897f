"""The same images and masks in the folders, names and colours of others."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from segmented import some_classes

NAMES = ["sky", "tree", "road"]
TABLE = {"sky": (128, 128, 128), "tree": (128, 128, 0), "road": (128, 64, 129), "Void": (0, 0, 0)}
PARTS = {"train": [0, 1], "val": [2], "test": [3]}
Paint = Callable[[np.ndarray], Image.Image]


def indices(classes: np.ndarray) -> Image.Image:
    """Grey."""
    return Image.fromarray(classes)


def palette(classes: np.ndarray) -> Image.Image:
    """Indices of a palette, which say nothing of the classes by their colours."""
    image = Image.fromarray(classes)
    image.putpalette([7, 7, 7] * 256)
    return image


def coloured(classes: np.ndarray) -> Image.Image:
    """The colours of the table."""
    colours = np.zeros((256, 3), np.uint8)
    colours[:3] = list(TABLE.values())[:3]
    return Image.fromarray(colours[classes])


def coloured_palette(classes: np.ndarray) -> Image.Image:
    """The same, by a palette in another order."""
    return coloured(classes).quantize(4, dither=Image.Dither.NONE)


def places(classes: np.ndarray) -> Image.Image:
    """Places in the table, whose last line is void."""
    return Image.fromarray(np.where(classes == 255, 3, classes).astype(np.uint8))


def write_pairs(folder: Path, image: str, mask: str, paint: Paint = indices, parts=None) -> Path:
    """FOLDER/IMAGE and FOLDER/MASK, with {part} and {i} for those of each image."""
    for part, numbers in (PARTS if parts is None else parts).items():
        for i in numbers:
            classes = some_classes(i)
            for place, pixels in ((image, Image.fromarray(np.stack([classes * 40] * 3, -1))), (mask, paint(classes))):
                path = folder / place.format(part=part, i=i)
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels.save(path)
    return folder


def write_names(folder: Path, name: str, text: str) -> Path:
    """A file of names or colours."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return folder


def class_dict() -> str:
    """As Kaggle's CamVid has it."""
    return "name,r,g,b\n" + "".join(f"{name}, {r}, {g}, {b}\n" for name, (r, g, b) in TABLE.items())


def label_colors() -> str:
    """As CamVid has it."""
    return "".join(f"{r} {g} {b}\t{name}\n" for name, (r, g, b) in TABLE.items())


def labelmap() -> str:
    """As CVAT has it."""
    rows = "".join(f"{name}:{r},{g},{b}::\n" for name, (r, g, b) in TABLE.items())
    return f"# label:color_rgb:parts:actions\n{rows}"


def write_lists(folder: Path, parts=None) -> Path:
    """VOC's lists of the images of each part."""
    (folder / "ImageSets/Segmentation").mkdir(parents=True)
    for part, numbers in (PARTS if parts is None else parts).items():
        (folder / f"ImageSets/Segmentation/{part}.txt").write_text("".join(f"x{i}\n" for i in numbers))
    return folder


def write_voc(folder: Path, paint: Paint = palette) -> Path:
    """VOC's folders and lists."""
    return write_lists(write_pairs(folder, "JPEGImages/x{i}.png", "SegmentationClass/x{i}.png", paint))


def label_ids(classes: np.ndarray) -> Image.Image:
    """Cityscapes' labels: road, sidewalk, building; what is ignored is the ego vehicle."""
    return Image.fromarray(np.array([7, 8, 11, *[1] * 253], np.uint8)[classes])


def write_cityscapes(folder: Path, ids="labelTrainIds", paint: Paint = indices) -> Path:
    """Cityscapes' folders, with another picture of each mask."""
    image, mask = "leftImg8bit/{part}/ulm/ulm_{i}_leftImg8bit.png", "gtFine/{part}/ulm/ulm_{i}_gtFine_"
    write_pairs(folder, image, f"{mask}color.png", coloured)
    return write_pairs(folder, image, f"{mask}{ids}.png", paint)


def write_camvid(folder: Path, paint: Paint = coloured) -> Path:
    """As Kaggle's CamVid is laid out."""
    write_pairs(folder, "{part}/x{i}.png", "{part}_labels/x{i}_L.png", paint)
    return write_names(folder, "class_dict.csv", class_dict())


def write_roboflow(folder: Path) -> Path:
    """As Roboflow exports masks."""
    write_pairs(folder, "{part}/x{i}.bmp", "{part}/x{i}_mask.png")
    for part in PARTS:
        write_names(folder, f"{part}/_classes.csv", "Pixel Value, Class\n0, sky\n1, tree\n2, road\n")
    return folder
