"""A list whose images have several labels each, or none; and what a network must say of them."""

from pathlib import Path

import numpy as np
from PIL import Image

LABELS = ("", "blue", "red", "blue|red")


def write_list(folder: Path, number: int = 8) -> Path:
    """FOLDER/list.csv with as many images of each set of labels: red raises the red channel, blue the blue one."""
    random, rows = np.random.default_rng(0), ["path,labels"]
    folder.mkdir(parents=True, exist_ok=True)
    for kind, labels in enumerate(LABELS):
        for i in range(number):
            pixels = random.integers(0, 60, (37, 29, 3))
            for channel, name in ((0, "red"), (2, "blue")):
                pixels[..., channel] += 180 * (name in labels)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{kind}-{i}.png")
            rows.append(f"{kind}-{i}.png,{labels}")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return folder / "list.csv"
