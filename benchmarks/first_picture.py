"""The README's first picture: who attends to whom, what an answer rests on, and objects that were found.

The window and the grid are those of a layer of `maxvit_tiny`, over a photograph that ships with scikit-image. The
explanation is cut from the record of `benchmarks/explanations.py`. The objects are those that a network found which
learned from scenes of `examples/scenes.py`:

    python examples/scenes.py detection scenes --images 700
    maxvit train scenes --task detection --set task.detector=mask-rcnn --set 'task.samples=[64,64]' \\
        --set 'task.scale=[0.8,1.25]' --set task.flip=false --set optimization.learning_rate=2e-3 --out runs/scenes
    python benchmarks/first_picture.py runs/scenes --out docs/images/first.jpg
"""

import argparse
import runpy
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from skimage import data

import maxvit

ROOT = Path(__file__).parent.parent
SCENES = SimpleNamespace(**runpy.run_path(str(ROOT / "examples" / "scenes.py")))
RECORD = ROOT / "benchmarks" / "results" / "explanations_2-core-avx512-cpu_2026-11.png"
NINE = (8, 596, 128, 716), (688, 596, 808, 716)  # in that picture: a nine, and what the answer rests on
PANEL, GAP, WORDS = 448, 24, 88  # pixels: side of a panel, between them, below them
SCORE = 0.7  # of objects that are drawn
POINT = (128, 88)  # of the photograph: x, y
TINTS = {"block": (255, 176, 0), "grid": (0, 200, 255)}


def attended(photograph: Image.Image, axis: str) -> Image.Image:
    """The photograph with the tokens that the one at POINT attends to in a layer of stage 2."""
    torch.manual_seed(0)
    network = maxvit.create_model("maxvit_tiny").eval()
    image = torch.zeros(3, *photograph.size[::-1])
    (found,) = maxvit.attention_at(network, image, POINT, stage=2, block=1, axis=axis)
    scale = PANEL / photograph.width
    picture = photograph.resize((PANEL, PANEL), Image.Resampling.LANCZOS).convert("RGBA")
    tint = Image.new("RGBA", picture.size)
    draw = ImageDraw.Draw(tint)
    for cell in found.cells:
        draw.rectangle([side * scale for side in cell], fill=(*TINTS[axis], 110), outline=(*TINTS[axis], 255), width=2)
    draw.rectangle([side * scale for side in found.own], outline=(255, 40, 40, 255), width=5)
    return Image.alpha_composite(picture, tint).convert("RGB")


def explained() -> Image.Image:
    """A map from the record of explanations, with the picture that it explains in a corner."""
    record, small = Image.open(RECORD).convert("RGB"), PANEL // 3
    picture, shown = (record.crop(box) for box in NINE)
    panel = shown.resize((PANEL, PANEL), Image.Resampling.BICUBIC)
    panel.paste(picture.resize((small, small), Image.Resampling.LANCZOS), (0, 0))
    return panel


def objects(run: Path, seed: int) -> Image.Image:
    """A test scene with what the network of a run found on it."""
    chance, side = np.random.default_rng(seed), (PANEL // 2, PANEL // 2)
    scene = SCENES.make_scene(chance, SCENES.Stock("test"), side, list(chance.uniform(0.14, 0.26, 5)))
    picture = Image.fromarray(scene.image)
    (found,) = maxvit.Predictor(run, settings={"score_threshold": SCORE})([picture])
    return found.draw(picture).resize((PANEL, PANEL), Image.Resampling.LANCZOS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="of detection, on scenes")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=7, help="of the scene")
    options = parser.parse_args(arguments)
    cat = Image.fromarray(data.chelsea()).crop((80, 0, 380, 300)).resize((224, 224), Image.Resampling.LANCZOS)
    panels = [
        ("block attention: a window\nof neighbours", attended(cat, "block")),
        ("grid attention: points spread\nover the whole picture", attended(cat, "grid")),
        ("what the answer “nine”\nrests on", explained()),
        ("objects with masks,\nby a network of this kind", objects(options.run, options.seed)),
    ]
    sheet = Image.new("RGB", (len(panels) * (PANEL + GAP) - GAP, PANEL + WORDS), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=26)
    for i, (words, panel) in enumerate(panels):
        left = i * (PANEL + GAP)
        sheet.paste(panel, (left, 0))
        draw.multiline_text((left + PANEL / 2, PANEL + 12), words, "black", font, anchor="ma", align="center")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(options.out, quality=88)


if __name__ == "__main__":
    main()
