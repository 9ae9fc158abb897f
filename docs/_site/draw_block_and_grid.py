"""Draw docs/assets/block-and-grid.jpg: a photograph, a window of block attention on it, a grid of grid attention.

    python docs/_site/draw_block_and_grid.py

The photograph is scikit-image's `chelsea` (Stéfan van der Walt, CC0). The cells are those of stage 2 at 224 pixels.
"""

from pathlib import Path

import torch
from PIL import Image, ImageDraw

from maxvit.layers.partition import Groups, partition

ASSETS = Path(__file__).parents[1] / "assets"
SIDE, TOKENS, SIZE, GAP = 392, 28, 7, 16  # pixels of a picture, tokens of its map, of a window and a grid
OWN = (12, 10)  # row and column of the token that asks
LIT, EDGE, ASKS = (255, 140, 0), (122, 61, 0), (193, 18, 31)


def cells(axis: str) -> list[tuple[int, int]]:
    """Rows and columns of the tokens that attend together with `OWN`, by the partition that the network uses."""
    places = torch.arange(TOKENS * TOKENS, dtype=torch.float32).view(1, TOKENS, TOKENS, 1)
    own = OWN[0] * TOKENS + OWN[1]
    (group,) = [group for group in partition(places, Groups((SIZE, SIZE), axis))[0, :, :, 0] if own in group]
    return [divmod(int(place), TOKENS) for place in group]


def lit(photo: Image.Image, axis: str) -> Image.Image:
    """The photograph in pale grey, with the cells that attend together in colour."""
    pale = Image.blend(photo.convert("L").convert("RGB"), Image.new("RGB", photo.size, "white"), 0.45)
    draw, cell = ImageDraw.Draw(pale), SIDE // TOKENS
    for at in range(0, SIDE, cell):
        draw.line([(at, 0), (at, SIDE)], (205, 205, 205))
        draw.line([(0, at), (SIDE, at)], (205, 205, 205))
    for row, column in cells(axis):
        box = (column * cell, row * cell, (column + 1) * cell, (row + 1) * cell)
        pale.paste(Image.blend(photo.crop(box), Image.new("RGB", (cell, cell), LIT), 0.3), box)
        draw.rectangle(box, outline=EDGE)
    box = (OWN[1] * cell, OWN[0] * cell, (OWN[1] + 1) * cell, (OWN[0] + 1) * cell)
    draw.rectangle(box, outline=ASKS, width=3)
    return pale


def main() -> None:
    photo = Image.open(ASSETS / "cat.jpg").convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    picture = Image.new("RGB", (3 * SIDE + 2 * GAP, SIDE), "white")
    for i, part in enumerate([photo, lit(photo, "block"), lit(photo, "grid")]):
        picture.paste(part, (i * (SIDE + GAP), 0))
    picture.save(ASSETS / "block-and-grid.jpg", quality=85, optimize=True)


if __name__ == "__main__":
    main()
