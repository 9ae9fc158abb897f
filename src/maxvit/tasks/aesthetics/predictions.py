"""What ten shares say: a mean and a deviation, in words, as plain values, and as a small chart over the image."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

_PANEL, _BARS, _LETTERS = (0, 0, 0, 170), (255, 200, 60, 255), (255, 255, 255, 255)
_SHARE, _SMALLEST, _LARGEST = 0.45, 60, 320  # of the shorter side, and pixels: the chart's width


def means(shares: Tensor) -> Tensor:
    """The mean scores of (..., N) shares of the scores 1 to N: (...)."""
    return (shares * _scores(shares)).sum(-1)


def deviations(shares: Tensor) -> Tensor:
    """The standard deviations of the scores of (..., N) shares: (...)."""
    away = _scores(shares) - means(shares)[..., None]
    return (shares * away**2).sum(-1).sqrt()


def _scores(shares: Tensor) -> Tensor:
    return torch.arange(1, shares.shape[-1] + 1, dtype=shares.dtype, device=shares.device)


def short(shares: Tensor) -> str:
    """Mean and deviation of (N,) shares: "5.3 ± 1.2"."""
    return f"{float(means(shares)):.1f} ± {float(deviations(shares)):.1f}"


def plain(shares: Tensor, class_names: Sequence[str]) -> dict[str, Any]:
    """The same as plain values, with all shares."""
    named = dict(zip(class_names, shares.tolist(), strict=True))
    return {"mean": float(means(shares)), "deviation": float(deviations(shares)), "shares": named}


def draw_scores(image: Image.Image, shares: Tensor) -> Image.Image:
    """An RGB image with the chart of (N,) shares in its lower left corner; the highest bar fills the chart."""
    number = len(shares)
    wide = min(max(round(_SHARE * min(image.size)), _SMALLEST), _LARGEST, image.width)
    line = max(9, wide // 6)
    high = min(wide // 2 + line, image.height)
    panel = Image.new("RGBA", (wide, high), _PANEL)
    draw = ImageDraw.Draw(panel)
    draw.text((wide / 2, line * 0.55), short(shares), _LETTERS, ImageFont.load_default(line * 0.85), "mm")
    edge, foot = wide * 0.05, high - wide * 0.04
    step, room = (wide - 2 * edge) / number, foot - line * 1.1
    top = float(shares.max())
    for i, share in enumerate(shares.tolist()):
        bar = room * share / top if top > 0 else 0.0
        left = edge + i * step
        if bar >= 0.5 and room > 0:
            draw.rectangle((left + step * 0.1, foot - bar, left + step * 0.9, foot), _BARS)
    drawn = image.convert("RGBA")
    drawn.alpha_composite(panel, (0, image.height - high))
    return drawn.convert("RGB")
