"""Files as cameras, scanners, games and broken programs write them, and what a person would see in each.

`READ` has the content of a file and its pixels, `REFUSED` the content and a part of the sentence that refuses it. The
pixels are computed here from the formats' specifications, and never by the reader that is tested.
"""

import io
import struct
import zlib

import numpy as np
import tifffile
from PIL import Image, features

H, W = 11, 7
RANDOM = np.random.default_rng(0)
GREY, RGB = RANDOM.integers(0, 256, (H, W), np.uint8), RANDOM.integers(0, 256, (H, W, 3), np.uint8)
GREY16, RGB16 = RANDOM.integers(0, 65536, (H, W), np.uint16), RANDOM.integers(0, 65536, (H, W, 3), np.uint16)
ALPHA = RANDOM.integers(0, 256, (H, W, 1), np.uint8)
PALETTE = RANDOM.integers(0, 256, (256, 3), np.uint8)
READ, REFUSED = {}, {}


def three(grey):
    return np.repeat(grey[..., None], 3, -1)


def to_8(values, low, high):
    return np.rint(np.clip((values.astype(float) - low) * 255 / (high - low), 0, 255)).astype(np.uint8)


def over_white(colours, alpha):
    """Rounded; the reader may be one level off."""
    share = alpha / 255
    return np.rint(colours * share + 255 * (1 - share)).astype(np.uint8)


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# PNG, chunk by chunk


def chunk(name, content, crc=None):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc or zlib.crc32(name + content))


def packed(rows, bits):
    """Samples of 1 to 16 bits, (rows, samples a row), each row with its filter, none, in front."""
    if bits == 16:
        return b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    each = 8 // bits
    wide = np.pad(rows, ((0, 0), (0, -rows.shape[1] % each))).reshape(len(rows), -1, each).astype(np.uint8)
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    return b"".join(b"\0" + row.tobytes() for row in (wide << shifts).sum(-1, dtype=np.uint8))


def png(values, bits, colour, before=b"", after=b"", pieces=1, end=True, interlaced=False):
    height, width = values.shape[:2]
    if interlaced:  # Adam7: (first row, first column, step down, step right)
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
        parts = [values[y::dy, x::dx] for y, x, dy, dx in passes]
    else:
        parts = [values]
    raw = zlib.compress(b"".join(packed(p.reshape(len(p), -1), bits) for p in parts if p.size))
    step = -(-len(raw) // pieces)
    data = b"".join(chunk(b"IDAT", raw[at : at + step]) for at in range(0, len(raw), step))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced)))
    return b"\x89PNG\r\n\x1a\n" + header + before + data + after + (chunk(b"IEND", b"") if end else b"")


for depth in (1, 2, 4, 8):
    levels = GREY >> (8 - depth)
    READ[f"PNG, grey of {depth} bits"] = png(levels, depth, 0), three(to_8(levels, 0, 2**depth - 1))
    table = chunk(b"PLTE", PALETTE[: 2**depth].tobytes())
    READ[f"PNG, palette of {depth} bits"] = png(levels, depth, 3, table), PALETTE[levels]
PLTE = chunk(b"PLTE", PALETTE.tobytes())
CLEAR = np.full((H, W, 1), 255, np.uint8)
CLEAR[2, 3] = 0
READ |= {
    "PNG, grey of 16 bits": (png(GREY16, 16, 0), three(to_8(GREY16, 0, 65535))),
    "PNG, RGB": (png(RGB, 8, 2), RGB),
    "PNG, RGB of 16 bits": (png(RGB16, 16, 2), to_8(RGB16, 0, 65535)),
    "PNG, grey and alpha": (png(np.dstack([GREY, ALPHA]), 8, 4), over_white(three(GREY), ALPHA)),
    "PNG, RGBA": (png(np.dstack([RGB, ALPHA]), 8, 6), over_white(RGB, ALPHA)),
    "PNG, grey and alpha of 16 bits": (
        png(np.dstack([GREY16, ALPHA * np.uint16(257)]), 16, 4),
        over_white(three(to_8(GREY16, 0, 65535)), ALPHA),
    ),
    "PNG, RGBA of 16 bits": (
        png(np.dstack([RGB16, ALPHA * np.uint16(257)]), 16, 6),
        over_white(to_8(RGB16, 0, 65535), ALPHA),
    ),
    "PNG, grey with a clear value": (
        png(np.where(CLEAR[..., 0], GREY | 1, 8), 8, 0, chunk(b"tRNS", struct.pack(">H", 8))),
        over_white(three(GREY | 1), CLEAR),
    ),
    "PNG, grey of 16 bits with a clear value": (
        png(np.where(CLEAR[..., 0], GREY16 | 1, 8), 16, 0, chunk(b"tRNS", struct.pack(">H", 8))),
        over_white(three(to_8(GREY16 | 1, 0, 65535)), CLEAR),
    ),
    "PNG, RGB with a clear colour": (
        png(np.where(CLEAR, RGB | 1, 8), 8, 2, chunk(b"tRNS", struct.pack(">HHH", 8, 8, 8))),
        over_white(RGB | 1, CLEAR),
    ),
    "PNG, RGB of 16 bits with a clear colour": (
        png(np.where(CLEAR, RGB16 | 1, 8), 16, 2, chunk(b"tRNS", struct.pack(">HHH", 8, 8, 8))),
        over_white(to_8(RGB16 | 1, 0, 65535), CLEAR),
    ),
    "PNG, palette with alpha": (
        png(GREY, 8, 3, PLTE + chunk(b"tRNS", bytes(range(256)))),
        over_white(PALETTE[GREY], GREY[..., None]),
    ),
    "PNG, RGBA with alpha 0 everywhere": (png(np.dstack([RGB, ALPHA * 0]), 8, 6), RGB),
    "PNG, interlaced": (png(RGB, 8, 2, interlaced=True), RGB),
    "PNG, interlaced of 16 bits": (png(RGB16, 16, 2, interlaced=True), to_8(RGB16, 0, 65535)),
    "PNG, in nine pieces": (png(RGB, 8, 2, pieces=9), RGB),
    "PNG, with a chunk that nobody knows": (png(RGB, 8, 2, chunk(b"abCd", b"?" * 99)), RGB),
    "PNG, with gamma": (png(RGB, 8, 2, chunk(b"gAMA", struct.pack(">I", 45455))), RGB),
    "PNG, with a broken ICC profile": (png(RGB, 8, 2, chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile"))), RGB),
    "PNG, without its end": (png(RGB, 8, 2, end=False), RGB),
    "PNG, with bytes after its end": (png(RGB, 8, 2) + b"<html>" * 9, RGB),
    "PNG, animated": (
        saved(Image.fromarray(RGB), "PNG", save_all=True, append_images=[Image.fromarray(255 - RGB)]),
        RGB,
    ),
    "PNG, one pixel": (png(RGB[:1, :1], 8, 2), RGB[:1, :1]),
}
REFUSED |= {
    "PNG, palette without its colours": (png(GREY, 8, 3), "is damaged"),
    "PNG, without its pixels": (png(RGB[:0], 8, 2), "is not an image"),
    "PNG, cut": (png(RGB, 8, 2)[:-60], "is damaged"),
    "PNG, whose pixels end early": (png(RGB[:4], 8, 2).replace(b"\0\0\0\x04", b"\0\0\0\x0b", 1), "is damaged|is not"),
    "PNG, with a depth that no one has": (png(GREY, 8, 0).replace(b"\x07\0\0\0\x0b\x08", b"\x07\0\0\0\x0b\x03"), "is"),
    "PNG, of absurd size": (
        png(GREY, 8, 0).replace(struct.pack(">II", W, H), struct.pack(">II", 2**30, 2**30)),
        "is not an image|has 1073741824 x 1073741824 pixels",
    ),
}

# EXIF: an orientation, and beside it a tag that does not fit its type

TURNED = {  # how the upright picture is stored (EXIF 2.3, 4.6.4)
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
}
BLOCKS = np.kron(RANDOM.integers(0, 2, (3, 2, 3), np.uint8) * np.uint8(255), np.ones((16, 16, 1), np.uint8))


def exif(orientation, *others):
    entries = [struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0), *others]
    return b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", len(entries)) + b"".join(entries) + bytes(4) + b"\1" * 40


def entry(tag, kind, count, value):
    return struct.pack(">HHII", tag, kind, count, value)


ODD_TAGS = {  # of tags that say nothing about how to turn
    2: entry(0x0128, 2, 1, 0x41000000),  # a unit that is text
    3: entry(0x011A, 5, 1, 0),  # a resolution that lies in the header
    4: entry(0x9286, 12, 1, 26),  # a comment that is a double
    5: entry(0x010F, 10, 1, 26),  # a maker that is a fraction
    6: entry(0x0131, 4, 5, 26),  # software that is five numbers
    7: entry(0x8769, 4, 1, 2**31),  # camera settings far beyond the end
    8: entry(0x0132, 13, 70_000, 26),  # a date of 70,000 folders
}
for turn, store in TURNED.items():
    block = Image.fromarray(np.ascontiguousarray(store(BLOCKS)))
    tags = exif(turn, *([ODD_TAGS[turn]] if turn > 1 else []))
    READ[f"JPEG, turned by {turn} beside an odd tag"] = (
        saved(block, "JPEG", quality=100, subsampling=0, exif=tags),
        BLOCKS,
    )
    READ[f"PNG, turned by {turn} beside an odd tag"] = (
        png(store(BLOCKS), 8, 2, chunk(b"eXIf", tags[6:])),
        BLOCKS,
    )
    READ[f"TIFF, turned by {turn}"] = saved(block, "TIFF", tiffinfo={0x0112: turn}), BLOCKS
    READ[f"WebP, turned by {turn} beside an odd tag"] = saved(block, "WEBP", lossless=True, exif=tags), BLOCKS

PHOTO = np.kron(GREY[:4, :3], np.ones((16, 16), np.uint8))
READ |= {
    "JPEG, grey": (saved(Image.fromarray(PHOTO), "JPEG", quality=100), three(PHOTO)),
    "JPEG, progressive": (saved(Image.fromarray(BLOCKS), "JPEG", quality=100, subsampling=0, progressive=True), BLOCKS),
    "JPEG, with coarse colours": (
        saved(Image.fromarray(three(PHOTO)), "JPEG", quality=100, subsampling=2),
        three(PHOTO),
    ),
    "JPEG, CMYK": (
        saved(Image.fromarray(255 - BLOCKS).convert("CMYK"), "JPEG", quality=100, subsampling=0),
        255 - BLOCKS,
    ),
    "JPEG, with bytes after its end": (saved(Image.fromarray(PHOTO), "JPEG", quality=100) + b"\0" * 999, three(PHOTO)),
    "JPEG, two in one file": (
        saved(Image.fromarray(PHOTO), "MPO", quality=100, save_all=True, append_images=[Image.new("L", (48, 64))]),
        three(PHOTO),
    ),
    "JPEG, with EXIF that is cut off": (
        saved(Image.fromarray(PHOTO), "JPEG", quality=100, exif=b"Exif\0\0MM\0*\0\0\0"),
        three(PHOTO),
    ),
}
WHOLE = saved(Image.fromarray(RGB).resize((64, 64)), "JPEG")
REFUSED |= {
    "JPEG, half": (WHOLE[: len(WHOLE) // 2], "is damaged"),
    "JPEG, header alone": (WHOLE[:200], "is"),
    "JPEG, of a size that its bytes cannot hold": (
        WHOLE.replace(struct.pack(">HH", 64, 64), struct.pack(">HH", 15_000, 15_000)),
        r"is damaged: 15000 x 15000 pixels cannot be in \d+ bytes",
    ),
}

# TIFF, of which Pillow knows a part


def tiff(values, photometric="minisblack", **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, photometric=photometric, metadata=None, **options)
    return buffer.getvalue()


def npy(values):
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def apart(values):
    return np.ascontiguousarray(values.transpose(2, 0, 1))


SIGNED = RANDOM.integers(-(2**15), 2**15, (H, W)).astype(np.int16)
FLOATS = RANDOM.random((H, W), np.float32)
WIDE = RANDOM.integers(0, 2**32, (H, W), np.uint32)
COLOUR_MAP = PALETTE.T.astype(np.uint16) * 257
TILED = np.tile(RGB16, (3, 5, 1))
for name, options in {"": {}, ", deflated": {"compression": "zlib"}, ", big-endian": {"byteorder": ">"}}.items():
    READ |= {
        f"TIFF, grey{name}": (tiff(GREY, **options), three(GREY)),
        f"TIFF, grey of 16 bits{name}": (tiff(GREY16, **options), three(to_8(GREY16, 0, 65535))),
        f"TIFF, RGB in planes{name}": (tiff(apart(RGB), "rgb", planarconfig="separate", **options), RGB),
        f"TIFF, RGB of 16 bits{name}": (tiff(RGB16, "rgb", **options), to_8(RGB16, 0, 65535)),
        f"TIFF, RGB of 16 bits in planes{name}": (
            tiff(apart(RGB16), "rgb", planarconfig="separate", **options),
            to_8(RGB16, 0, 65535),
        ),
        f"TIFF, signed 16 bits{name}": (tiff(SIGNED, **options), three(to_8(SIGNED, -(2**15), 2**15 - 1))),
        f"TIFF, 32 bits{name}": (tiff(WIDE, **options), three(to_8(WIDE, 0, 2**32 - 1))),
        f"TIFF, signed 32 bits{name}": (
            tiff(WIDE.view(np.int32), **options),
            three(to_8(WIDE.view(np.int32), -(2**31), 2**31 - 1)),
        ),
        f"TIFF, floats{name}": (tiff(FLOATS, **options), three(to_8(FLOATS, 0, 1))),
    }
REFUSED |= {  # what Pillow reads wrongly, or not at all
    "TIFF, RGB of 16 bits in planes, deflated": (
        READ.pop("TIFF, RGB of 16 bits in planes, deflated")[0],
        "has 16-bit colours in compressed planes",
    ),
}
READ |= {
    "TIFF, signed bytes": (tiff(GREY.view(np.int8)), three(to_8(GREY.view(np.int8), -128, 127))),
    "TIFF, white is 0": (tiff(GREY, "miniswhite"), three(255 - GREY)),
    "TIFF, white is 0 of 16 bits": (tiff(GREY16, "miniswhite"), three(to_8(65535 - GREY16, 0, 65535))),
    "TIFF, palette": (tiff(GREY, "palette", colormap=COLOUR_MAP), PALETTE[GREY]),
    "TIFF, palette of 8-bit colours": (tiff(GREY, "palette", colormap=COLOUR_MAP >> 8), PALETTE[GREY]),
    "TIFF, one bit": (tiff(GREY > 127), three((GREY > 127) * np.uint8(255))),
    "TIFF, in tiles": (tiff(TILED, "rgb", tile=(16, 16)), to_8(TILED, 0, 65535)),
    "TIFF, in strips": (tiff(RGB16, "rgb", rowsperstrip=3), to_8(RGB16, 0, 65535)),
    "TIFF, with alpha": (
        tiff(np.dstack([RGB, ALPHA]), "rgb", extrasamples=["unassalpha"]),
        over_white(RGB, ALPHA),
    ),
    "TIFF, of 16 bits with alpha": (
        tiff(np.dstack([RGB16, ALPHA * np.uint16(257)]), "rgb", extrasamples=["unassalpha"]),
        over_white(to_8(RGB16, 0, 65535), ALPHA),
    ),
    "TIFF, BigTIFF": (tiff(GREY16, bigtiff=True), three(to_8(GREY16, 0, 65535))),
    "TIFF, two pages": (
        saved(Image.fromarray(RGB), "TIFF", save_all=True, append_images=[Image.fromarray(255 - RGB)]),
        RGB,
    ),
    "TIFF, LZW": (saved(Image.fromarray(RGB), "TIFF", compression="tiff_lzw"), RGB),
    "TIFF, fax": (
        saved(Image.fromarray(GREY > 127), "TIFF", compression="group4"),
        three((GREY > 127) * np.uint8(255)),
    ),
}
BANDS = np.dstack([RGB16, RGB16[..., :2]])
READ |= {
    "TIFF, doubles": (tiff(FLOATS.astype(np.float64)), three(to_8(FLOATS, 0, 1))),
    "TIFF, doubles in colours": (
        tiff(RGB / 255.0, "rgb", planarconfig="contig"),
        to_8(RGB / 255.0, 0, 1),
    ),
    "TIFF, doubles, turned": (
        tiff(TURNED[6](FLOATS[..., None])[..., 0].astype(np.float64), extratags=[(274, "H", 1, 6)]),
        three(to_8(FLOATS, 0, 1)),
    ),
    "TIFF, CMYK": (saved(Image.fromarray(RGB).convert("CMYK"), "TIFF"), RGB),
    "NumPy, grey": (npy(GREY), three(GREY)),
    "NumPy, RGB": (npy(RGB), RGB),
    "NumPy, one channel, 16 bits": (npy(GREY16[..., None]), three(to_8(GREY16, 0, 65535))),
    "NumPy, big-endian, columns first": (npy(np.asfortranarray(GREY16.astype(">u2"))), three(to_8(GREY16, 0, 65535))),
    "NumPy, floats": (npy(FLOATS), three(to_8(FLOATS, 0, 1))),
    "NumPy, bools": (npy(GREY > 127), three((GREY > 127) * np.uint8(255))),
}
REFUSED |= {
    "NumPy, objects": (npy(np.array([[{}, 1]])), "holds Python objects, which could run code"),
    "NumPy, dates": (npy(np.zeros((3, 5), "M8[s]")), "holds values of type datetime64"),
    "NumPy, a row": (npy(GREY[0]), r"has the shape \(\d+,\): an image is"),
    "NumPy, four dimensions": (npy(RGB[None]), "has the shape"),
    "NumPy, channels first": (npy(np.zeros((5, 64, 64), np.uint8)), r"has the shape \(5, 64, 64\), which looks like"),
    "NumPy, five bands": (npy(BANDS), "has 5 bands, and the network takes 3"),
    "NumPy, four bands": (npy(BANDS[..., :4]), "has 4 bands, and the network takes 3"),
    "NumPy, missing values": (npy(FLOATS * np.float32("nan")), "is damaged: some pixels are NaN or infinite"),
    "NumPy, cut": (npy(GREY16)[:-3], "is damaged: .* bytes of values are missing 3"),
    "NumPy, cut in its header": (npy(GREY16)[:40], "is damaged"),
    "TIFF, five bands": (
        tiff(BANDS, planarconfig="contig"),
        "has 5 bands, and the network takes 3: give it others, or",
    ),
    "TIFF, five bands of which Pillow reads one": (
        tiff(np.moveaxis(BANDS, 2, 0), planarconfig="separate", compression="zlib"),
        "has 5 bands, and the network takes 3",
    ),
    "TIFF, 17 bands": (tiff(np.dstack([GREY16] * 17), planarconfig="contig"), "has 17 bands, and at most 16 are read"),
    "TIFF, complex numbers": (tiff(FLOATS.astype(np.complex64)), "holds values of type complex64"),
    "TIFF, missing values": (
        tiff(np.where(FLOATS > 0.5, np.nan, FLOATS)),
        "is damaged: some pixels are NaN or infinite",
    ),
    "TIFF, cut": (tiff(RGB16, "rgb")[:-50], "is damaged"),
    "TIFF, deflated badly": (tiff(RGB16, "rgb", compression="zlib")[:-90] + b"\xff" * 90, "is damaged"),
}


def plain_tiff(*others):
    """Blocks that are to be turned by 6, with tags of one's own: (tag, type, count, value)."""
    stored = np.ascontiguousarray(TURNED[6](BLOCKS))
    height, width = stored.shape[:2]
    known = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 8)]
    known += [(274, 3, 1, 6), (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, stored.size)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted([*known, *others]))
    count = struct.pack("<H", len(known) + len(others))
    return b"II*\0" + struct.pack("<I", 8 + stored.size) + stored.tobytes() + count + entries + bytes(4)


READ |= {
    "TIFF, turned, with a description that is a number": (plain_tiff((700, 3, 1, 9)), BLOCKS),
    "TIFF, turned, with camera settings before the file": (plain_tiff((0x8769, 9, 1, 2**32 - 1)), BLOCKS),
}

# BMP


def bmp(pixels, bits, width=W, height=H, compression=0, colours=b"", masks=b""):
    at = 54 + len(masks) + len(colours)
    head = struct.pack(
        "<IiiHHIIiiII", 40 + len(masks), width, height, 1, bits, compression, len(pixels), 0, 0, len(colours) // 4, 0
    )
    return b"BM" + struct.pack("<IHHI", at + len(pixels), 0, 0, at) + head + masks + colours + pixels


def rows(values):
    """From the bottom up, each padded to 4 bytes."""
    flat = np.ascontiguousarray(values[::-1]).view(np.uint8).reshape(len(values), -1)
    return np.pad(flat, ((0, 0), (0, -flat.shape[1] % 4))).tobytes()


BGR, COLOURS = RGB[..., ::-1], np.pad(PALETTE[:, ::-1], ((0, 0), (0, 1))).tobytes()
FIVE = RGB >> 3
WORDS = (FIVE[..., 0].astype(np.uint16) << 10) | (FIVE[..., 1].astype(np.uint16) << 5) | FIVE[..., 2]
RUNS = b"".join(b"".join(bytes([1, v]) for v in row) + b"\0\0" for row in GREY[::-1]) + b"\0\1"
BGRA_MASKS = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
READ |= {
    "BMP, 24 bits": (bmp(rows(BGR), 24), RGB),
    "BMP, from the top down": (bmp(rows(BGR[::-1]), 24, height=-H), RGB),
    "BMP, 32 bits with zeros for alpha": (bmp(rows(np.dstack([BGR, ALPHA * 0])), 32), RGB),
    "BMP, alpha 0 everywhere": (
        bmp(rows(np.dstack([BGR, ALPHA * 0])), 32, compression=3, masks=BGRA_MASKS),
        RGB,
    ),
    "BMP, palette": (bmp(rows(GREY), 8, colours=COLOURS), PALETTE[GREY]),
    "BMP, run lengths": (bmp(RUNS, 8, compression=1, colours=COLOURS), PALETTE[GREY]),
    "BMP, 15 bits": (bmp(rows(WORDS), 16), np.rint(FIVE.astype(int) * 255 / 31).astype(np.uint8)),
}
REFUSED |= {
    "BMP, run lengths of a size that its bytes cannot hold": (
        bmp(RUNS, 8, width=2**24 + 7, compression=1, colours=COLOURS),
        r"is damaged: 16777223 x 11 pixels cannot be in \d+ bytes",
    ),
    "BMP, cut": (bmp(rows(BGR), 24)[:-40], "is damaged"),
}

# others

TGA = struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, W, H, 32, 8 | 0x20)
FRAMES = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
DEEP_PGM = GREY16 >> 6  # 10 bits
READ |= {
    "TGA": (saved(Image.fromarray(RGB), "TGA"), RGB),
    "TGA, run lengths": (saved(Image.fromarray(RGB), "TGA", compression="tga_rle"), RGB),
    "TGA, alpha 0 everywhere": (TGA + np.dstack([BGR, ALPHA * 0]).tobytes(), RGB),
    "TGA, with alpha": (TGA + np.dstack([BGR, ALPHA]).tobytes(), over_white(RGB, ALPHA)),
    "GIF, animated": (
        saved(Image.fromarray(GREY), "GIF", save_all=True, append_images=[Image.fromarray(255 - GREY)]),
        three(GREY),
    ),
    "WebP, lossless": (saved(Image.fromarray(RGB), "WEBP", lossless=True), RGB),
    "WebP, with alpha": (
        saved(Image.fromarray(np.dstack([RGB, ALPHA | 1])), "WEBP", lossless=True, exact=True),
        over_white(RGB, ALPHA | 1),
    ),
    "WebP, animated": (saved(FRAMES[0], "WEBP", lossless=True, save_all=True, append_images=FRAMES[1:]), RGB),
    "PBM": (b"P1 3 2\n1 0 1\n0 1 0\n", three(np.array([[0, 255, 0], [255, 0, 255]], np.uint8))),
    "PGM, in letters": (b"P2 3 1 255\n0 77 255\n", three(np.array([[0, 77, 255]], np.uint8))),
    "PPM": (b"P6\n# a comment\n7 11\n255\n" + RGB.tobytes(), RGB),
    "PGM, 16 bits": (b"P5 7 11 65535\n" + GREY16.astype(">u2").tobytes(), three(to_8(GREY16, 0, 65535))),
    "PGM, 10 bits": (b"P5 7 11 1023\n" + DEEP_PGM.astype(">u2").tobytes(), three(to_8(DEEP_PGM, 0, 1023))),
    "ICO": (
        saved(Image.fromarray(np.tile(RGB, (3, 5, 1))[:32, :32]), "ICO", sizes=[(32, 32)]),
        np.tile(RGB, (3, 5, 1))[:32, :32],
    ),
}
if features.check("jpg_2000"):
    READ["JPEG 2000, lossless"] = saved(Image.fromarray(RGB), "JPEG2000"), RGB
    READ["JPEG 2000, 16 bits"] = saved(Image.fromarray(GREY16), "JPEG2000"), three(to_8(GREY16, 0, 65535))
if features.check("avif"):
    READ["AVIF, lossy"] = saved(Image.fromarray(three(PHOTO)), "AVIF", quality=100), three(PHOTO)
REFUSED |= {
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "is not an image"),
    "PostScript": (b"%!PS\nshowpage\n", "is not an image"),
    "PDF": (b"%PDF-1.7\n%%EOF\n", "is not an image"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not an image"),
    "WMF": (b"\xd7\xcd\xc6\x9a" + bytes(60), "is not an image"),
    "PCX": (saved(Image.fromarray(RGB), "PCX"), "is not an image"),
    "web page": (b"<!doctype html><title>404</title>", "is not an image"),
    "nothing": (b"", "is not an image"),
    "zeros": (bytes(5000), "is not an image"),
    "GIF, header alone": (b"GIF89a" + struct.pack("<HH", W, H) + bytes(3), "is"),
    "WebP, cut": (saved(Image.fromarray(RGB), "WEBP", lossless=True)[:-60], "is"),
}
