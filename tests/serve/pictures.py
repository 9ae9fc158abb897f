"""Files as clients send them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def pixels(seed=0, height=37, width=43):
    return np.random.default_rng(seed).integers(0, 60 + 40 * (seed % 5), (height, width, 3), dtype=np.uint8)


def encoded(seed=0, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels(seed)).save(buffer, kind, **options)
    return buffer.getvalue()


def bomb(width, height):
    """A PNG of a few bytes that claims so many pixels."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )
