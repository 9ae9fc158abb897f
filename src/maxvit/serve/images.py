"""From bytes that anybody may have sent to an image."""

import io
from functools import cache

from PIL import Image

from maxvit.data.images import decode
from maxvit.errors import MaxViTError
from maxvit.serve.limits import Refusal

# What browsers and cameras make. Pillow's other readers are not for strangers' files: one of them runs Ghostscript.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP")
MOST_SCANS = 100  # of a progressive JPEG, each of which takes as long as a picture; cameras write about ten


def decode_sent(data: bytes, max_pixels: int) -> Image.Image:
    """One image, RGB and upright.

    Args:
        data: A file's content, from anybody.
        max_pixels: See `Limits`.

    Raises:
        Refusal: 413 if it has too many pixels, which only the header is read for; 422 if it is no image or damaged.
    """
    if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") > MOST_SCANS:
        raise Refusal(422, f"the JPEG has more than {MOST_SCANS} scans: save it anew, as baseline")
    try:
        with Image.open(io.BytesIO(data), formats=_readable()) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise _too_large(f"{width} x {height} pixels", max_pixels)
            return decode(image)
    except Refusal:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # of Pillow's own limit
        raise _too_large("far more pixels than a picture", max_pixels) from error
    except MaxViTError as error:
        raise Refusal(422, str(error)) from error
    except Exception as error:  # hostile files raise all sorts of them in Pillow's readers
        raise Refusal(
            422, f"the data is not an image that can be read; send one of {', '.join(_readable())}"
        ) from error


def _too_large(given: str, max_pixels: int) -> Refusal:
    return Refusal(413, f"the image has {given}, and at most {max_pixels} are taken: send a smaller one")


@cache
def _readable() -> tuple[str, ...]:
    """Those of the formats that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
