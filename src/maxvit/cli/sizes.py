"""Sizes of images as they are written on the command line."""

import re

from maxvit.config import Size
from maxvit.errors import MaxViTError


def read_size(text: str) -> Size:
    """224 is (224, 224), and 224x320 is 224 high and 320 wide. Raises `MaxViTError` for what is neither."""
    if not (found := re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", text)):
        raise MaxViTError(f"size {text!r} cannot be read: write pixels a side, 224, or HEIGHTxWIDTH, 224x320")
    return int(found[1]), int(found[2] or found[1])
