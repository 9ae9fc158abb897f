"""From bytes that anybody may have sent to an image."""

from PIL import Image, UnidentifiedImageError

from maxvit.config import Preprocessing
from maxvit.data.formats import readers
from maxvit.data.images import opened, upright
from maxvit.errors import MaxViTError
from maxvit.serve.limits import Refusal

MOST_SCANS = 100  # of a progressive JPEG, each of which takes as long as a picture; cameras write about ten


def decode_sent(data: bytes, max_pixels: int, spec: Preprocessing) -> Image.Image:
    """One image, RGB and upright.

    Args:
        data: A file's content, from anybody.
        max_pixels: See `Limits`.
        spec: What the network expects.

    Raises:
        Refusal: 413 if it has too many pixels, which only the header is read for; 422 if it is not an image or damaged.
    """
    if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") > MOST_SCANS:
        raise Refusal(422, f"the JPEG has more than {MOST_SCANS} scans: save it anew, as baseline")
    try:
        with opened(data) as image:
            width, height = image.size
            picture = upright(image, spec) if width * height <= max_pixels else None
    except MaxViTError as error:
        unknown = isinstance(error.__cause__, UnidentifiedImageError)
        hint = f"; send one of {', '.join(name for name, _, _ in readers())}" if unknown else ""
        raise Refusal(422, f"{error}{hint}") from error
    if picture is None:
        raise Refusal(
            413, f"the image has {width} x {height} pixels, and at most {max_pixels} are taken: send a smaller one"
        )
    return picture
