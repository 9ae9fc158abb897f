"""The images of a request, in whatever form they come, without holding more than is allowed; and decoding them."""

from collections.abc import AsyncGenerator
from typing import NamedTuple

from PIL import UnidentifiedImageError
from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from maxvit.config import Preprocessing
from maxvit.data.bands import Picture
from maxvit.data.formats import readers
from maxvit.data.images import count_pixels, opened, upright
from maxvit.errors import MaxViTError
from maxvit.serve.limits import Limits, Refusal, Room
from maxvit.serve.schemas import JsonImages

MOST_SCANS = 100  # of a progressive JPEG, each of which takes as long as a picture; cameras write about ten
TAKEN = "send image/*, multipart/form-data with files, or application/json with base64"


class Upload(NamedTuple):
    """One image as it came.

    Attributes:
        name: What the client calls it; never a path of ours.
        data: The file's content.
    """

    name: str
    data: bytes


def media_type(request: Request) -> str:
    """Media type of the body, without parameters. Raises `Refusal` (415) if it is not one that is taken."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, f"the body is encoded ({request.headers['content-encoding']:.40}): send it as it is")
    if not kind.startswith("image/") and kind not in ("multipart/form-data", "application/json"):
        raise Refusal(415, f"the content type is {kind or 'not given'!s:.80}: {TAKEN}")
    return kind


async def read_body(request: Request, limits: Limits, memory: Room) -> bytes:
    """The whole body, which stays accounted for in `memory`: give back as many bytes as it has.

    Raises:
        Refusal: 413 as soon as it is known to be too large; 503 if memory is used up by other requests.
    """
    too_large = Refusal(413, f"the body has more than {limits.max_bytes} bytes: send fewer or smaller images")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limits.max_bytes:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            if len(body) + len(chunk) > limits.max_bytes:
                raise too_large
            memory.take(len(chunk))
            body += chunk
    except BaseException:
        memory.give_back(len(body))
        raise
    return bytes(body)


async def split(request: Request, kind: str, body: bytes, limits: Limits) -> list[Upload]:
    """The images in a body.

    Raises:
        Refusal: 413 if there are too many; 422 if there are none or the body is not what it claims to be.
    """
    if kind == "multipart/form-data":
        uploads = await _from_form(request, body, limits)
    elif kind == "application/json":
        uploads = _numbered(_from_json(body, limits))
    else:
        uploads = _numbered([body])
    if len(uploads) > limits.max_images:
        raise _too_many(limits)
    if not any(upload.data for upload in uploads):
        raise Refusal(422, f"there is no image in the body: {TAKEN}")
    return uploads


def _numbered(contents: list[bytes]) -> list[Upload]:
    return [Upload(f"image {i}", data) for i, data in enumerate(contents)]


def _from_json(body: bytes, limits: Limits) -> list[bytes]:
    try:
        parsed = JsonImages.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"]))
        sentence = f"{place + ': ' if place else ''}{problem['msg']}"
        raise Refusal(
            422, f'{sentence}; the body is to be {{"image": BASE64}} or {{"images": [BASE64, ...]}}'
        ) from error
    if len(parsed.images or []) > limits.max_images:
        raise _too_many(limits)
    return parsed.decoded()


async def _from_form(request: Request, body: bytes, limits: Limits) -> list[Upload]:
    parser = MultiPartParser(request.headers, _once(body), max_files=limits.max_images, max_fields=0)
    parser.spool_max_size = limits.max_bytes  # nothing goes to the disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise _too_many(limits) from error
        raise Refusal(
            422, f"the form cannot be read ({error.message:.200}); send files in it, and nothing else"
        ) from error
    except (FormParserError, ValueError, LookupError) as error:
        raise Refusal(422, "the form cannot be read: check its boundary and headers") from error
    files = [value for _, value in form.multi_items() if not isinstance(value, str)]
    try:
        return [Upload((file.filename or f"image {i}")[:255], await file.read()) for i, file in enumerate(files)]
    finally:
        await form.close()


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


def _too_many(limits: Limits) -> Refusal:
    return Refusal(413, f"there are more than {limits.max_images} images in one request: send fewer at a time")


def decode_sent(data: bytes, max_pixels: int, spec: Preprocessing) -> Picture:
    """One image, upright, in RGB or in its bands.

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
            width, height = image.width, image.height
            picture = upright(image, spec) if count_pixels(image) <= max_pixels else None
    except MaxViTError as error:
        unknown = isinstance(error.__cause__, UnidentifiedImageError)
        hint = f"; send one of {', '.join(name for name, _, _ in readers())}" if unknown else ""
        raise Refusal(422, f"{error}{hint}") from error
    if picture is None:
        raise Refusal(
            413, f"the image has {width} x {height} pixels, and at most {max_pixels} are taken: send a smaller one"
        )
    return picture
