"""Maps drawn over the picture, as PNG and as SVG."""

import io
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from maxvit.config import Preprocessing
from maxvit.data.transforms import denormalise
from maxvit.explain.geometry import Cell, enlarge, stride_of
from maxvit.explain.token_attention import TokenAttention
from maxvit.storage import write_atomically, write_text

SHARE = 0.6  # of the colours over the picture
GAP, TITLE, LETTERS = 12, 24, 14  # pixels: between panels, above one, height of its letters
SMALLEST = 320  # pixels of a panel's longer side, at least
# viridis, at equal steps
HEAT = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], np.float32)
MARK, OWN = "#ffffff", "#ff3b30"  # outlines of a group's cells, and of the token that asks


@dataclass(frozen=True, slots=True)
class Panel:
    """One map with its title.

    Attributes:
        title: Above it.
        values: (h, w) of any resolution, coloured from 0 to its largest.
        cells: Outlined.
        own: Outlined in red.
    """

    title: str
    values: npt.NDArray[np.float32]
    cells: Sequence[Cell] = ()
    own: Cell | None = None


def panel_of(attention: TokenAttention) -> Panel:
    """What a token attends to, with its window or grid."""
    title = f"stage {attention.stage}, block {attention.block}: {attention.axis} attention"
    return Panel(title, np.array(attention.values, np.float32), attention.cells, attention.own)


def picture_of(spec: Preprocessing, image: Tensor) -> Image.Image:
    """What the network was shown, for people: (C, H, W), preprocessed -> RGB of the same size."""
    return Image.fromarray(denormalise(spec, image.detach().cpu()[None])[0].numpy())


def write_png(path: Path, picture: Image.Image, panels: Sequence[Panel], columns: int = 1) -> None:
    """Draw maps over the picture, which is grey then, side by side.

    Raises:
        MaxViTError: If the file cannot be written.
    """
    scale = _scale(picture)
    places, size = _layout(picture, scale, len(panels), columns)
    sheet, font = Image.new("RGB", size, "white"), ImageFont.load_default(LETTERS)
    draw = ImageDraw.Draw(sheet)
    grey = _grey(picture)
    for (left, top), panel in zip(places, panels, strict=True):
        draw.text((left, top + 3), panel.title, "black", font)
        hw = (picture.height, picture.width)
        colours = torch.from_numpy(np.array(_coloured(panel))).permute(2, 0, 1).float()  # (3, h, w)
        large = torch.stack([enlarge(channel, hw, "nearest") for channel in colours])  # (3, H, W)
        over = Image.fromarray(large.byte().permute(1, 2, 0).contiguous().numpy())
        both = Image.blend(grey, over, SHARE).resize((hw[1] * scale, hw[0] * scale), Image.Resampling.NEAREST)
        sheet.paste(both, (left, top + TITLE))
        for cell, colour, width in _outlines(panel):
            x0, y0, x1, y1 = (scale * side for side in cell)
            box = (left + x0, top + TITLE + y0, left + x1 - 1, top + TITLE + y1 - 1)
            draw.rectangle(box, outline=colour, width=width)
    write_atomically(path, lambda p: sheet.save(p, "PNG"))


def write_svg(path: Path, picture: Image.Image, panels: Sequence[Panel], columns: int = 1) -> None:
    """The same as a file of vectors: outlines and titles stay sharp, and every map's cells can be edited.

    Raises:
        MaxViTError: If the file cannot be written.
    """
    scale = _scale(picture)
    places, (width, height) = _layout(picture, scale, len(panels), columns)
    wide, high = picture.size
    letters = f'font-family="sans-serif" font-size="{LETTERS}"'
    frame = f'width="{wide * scale}" height="{high * scale}" viewBox="0 0 {wide} {high}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f'<defs><image id="picture" width="{wide}" height="{high}" href="{data_uri(_grey(picture))}"/></defs>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for (left, top), panel in zip(places, panels, strict=True):
        h, w = panel.values.shape
        stride = stride_of((h, w), (high, wide))
        over = (wide, high) if stride is None else (w * stride, h * stride)
        lines += [
            f'<text x="{left}" y="{top + LETTERS + 3}" {letters}>{escape(panel.title)}</text>',
            f'<svg x="{left}" y="{top + TITLE}" {frame}>',
            '<use href="#picture"/>',
            f'<image width="{over[0]}" height="{over[1]}" preserveAspectRatio="none" opacity="{SHARE}" '
            f'style="image-rendering:pixelated" href="{data_uri(_coloured(panel))}"/>',
        ]
        for (x0, y0, x1, y1), colour, pixels in _outlines(panel):
            box = f'x="{x0}" y="{y0}" width="{x1 - x0}" height="{y1 - y0}"'
            lines.append(f'<rect {box} fill="none" stroke="{colour}" stroke-width="{pixels / scale:.3g}"/>')
        lines.append("</svg>")
    write_text(path, "\n".join([*lines, "</svg>", ""]))


def heat(values: npt.NDArray[np.float32], top: float) -> Image.Image:
    """One pixel a position, coloured from 0 to `top`; what is not finite counts as 0."""
    at = np.clip(np.nan_to_num(values) / top, 0, 1)
    anchors = np.linspace(0, 1, len(HEAT))
    colours = np.stack([np.interp(at, anchors, channel) for channel in HEAT.T], -1)  # (H, W, 3)
    return Image.fromarray(colours.round().astype(np.uint8))


def data_uri(image: Image.Image) -> str:
    """A picture as text, for a page that loads nothing."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + b64encode(buffer.getvalue()).decode("ascii")


def _outlines(panel: Panel) -> list[tuple[Cell, str, int]]:
    own = [(panel.own, OWN, 2)] if panel.own else []
    return [*((cell, MARK, 1) for cell in panel.cells), *own]


def _coloured(panel: Panel) -> Image.Image:
    top = float(np.nan_to_num(panel.values).max(initial=0.0))
    return heat(panel.values, top if top > 0 else 1.0)


def _grey(picture: Image.Image) -> Image.Image:
    return picture.convert("L").convert("RGB")


def _scale(picture: Image.Image) -> int:
    """A whole number, so that no cell's edge falls between pixels."""
    return max(1, -(-SMALLEST // max(picture.size)))


def _layout(
    picture: Image.Image, scale: int, panels: int, columns: int
) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """(left, top) of each panel's title, and the size of the sheet."""
    width, height = picture.width * scale + GAP, picture.height * scale + TITLE + GAP
    places = [(GAP + i % columns * width, GAP // 2 + i // columns * height) for i in range(panels)]
    rows = -(-panels // columns)
    return places, (GAP + min(columns, panels) * width, GAP // 2 + rows * height)
