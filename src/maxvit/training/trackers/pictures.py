"""A few validation images with what the best network says of them, for trackers that show pictures."""

import numpy as np
from PIL import Image

from maxvit.data.dataset import LabelledImages
from maxvit.data.images import decode_shown
from maxvit.inference.evaluate import evaluate
from maxvit.tasks.network import Network
from maxvit.training.trackers.tracker import Shown

MOST = 512  # pixels of a picture's longer side


def show_predictions(network: Network, images: LabelledImages, number: int) -> list[Shown]:
    """So many images at most, spread evenly over all."""
    chosen = np.linspace(0, len(images) - 1, min(number, len(images))).round().astype(int).tolist()
    some = images.subset(chosen)
    result = evaluate(network, some, keep=len(some))
    task, names = result.task, result.class_names
    shown = []
    for sample in result.samples:
        image = decode_shown(some.sources[sample.index], network.preprocessing)
        drawn = task.sample_pictures(image, sample.prediction, sample.target, names)
        caption = task.summary(sample.prediction, names)
        if not drawn:
            caption += f"; target: {task.target_summary(sample.target, names)}"
        shown.append(Shown(some.names[sample.index], _beside([image, *drawn.values()]), caption))
    return shown


def _beside(pictures: list[Image.Image]) -> Image.Image:
    """In a row, each no larger than `MOST`."""
    for picture in (pictures := [picture.convert("RGB") for picture in pictures]):
        picture.thumbnail((MOST, MOST))
    row = Image.new("RGB", (sum(p.width for p in pictures), max(p.height for p in pictures)), "white")
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width
    return row
