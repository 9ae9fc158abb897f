"""Decode anything that a person would call an image, as a person sees it: upright, RGB, 8 bits."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImagePalette, TiffImagePlugin, UnidentifiedImageError

from maxvit.config import Preprocessing, Size
from maxvit.data.bands import Bands, Picture, show
from maxvit.data.depth import Deep, Unfit, is_deep, read_deep, scale
from maxvit.data.dicom import AT, MARK, WITH_DICOM, open_dicom
from maxvit.data.formats import WITH_HEIF, identify, make_room
from maxvit.data.kept import Kept, once
from maxvit.data.raw import NUMPY, Raw, of_array, open_numpy
from maxvit.data.tiff import MARKS, bands_in, hides_bands, open_tiff
from maxvit.errors import MaxViTError, say_missing

Box = tuple[int, int, int, int]  # top, left, height, width
ImageLike = str | Path | bytes | Image.Image | Bands | npt.NDArray[np.generic]
Stored = Image.Image | Raw  # of which no pixel has been read yet
Source = ImageLike | Kept  # of a data set, in training

# what a folder of images is searched for; a single file is opened whatever its name
_COMMON = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_RARE = (".jpe", ".jfif", ".avif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico")
_NUMBERS = (".npy",)
HEIF, DICOM = (".heic", ".heif", ".hif"), (".dcm", ".dicom")
EXTENSIONS = frozenset((*_COMMON, *_RARE, *_NUMBERS, *(HEIF if WITH_HEIF else ()), *(DICOM if WITH_DICOM else ())))
NEEDED = {  # what is needed for files with other endings
    **dict.fromkeys(HEIF, say_missing("pillow_heif")),
    **dict.fromkeys(DICOM, say_missing("pydicom")),
}

PLAIN = Preprocessing()  # without a network
_COLOUR_MAP = 320  # a tag of TIFF
_TURNS = {  # what makes an image upright, by its EXIF tag
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(source: Source, spec: Preprocessing = PLAIN) -> Picture:
    """Read one image, as the weights expect it: of one or three channels in RGB, of others with all its bands.

    Rotated by its EXIF tag, transparency laid over white (but what is transparent everywhere is opaque), palette, grey
    and CMYK converted; of an animation the first frame. Values of more than 8 bits are scaled to 8 by
    `spec.value_range`; where that is None by what their type can hold: 0..65535 of uint16, -32768..32767 of int16, and
    so on, and 0..1 of floats.

    Args:
        source: A path, the bytes of a file, a PIL image, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4):
            bool, uint8, uint16, or float in 0..1; with a value range any numbers, which it then scales; for a
            network of other channels (H, W, C) of any numbers.
        spec: Whose channels, `value_range` and `max_pixels` count.

    Returns:
        An RGB image, or the bands; of one that is `Kept` always the same, which is not to be changed.

    Raises:
        MaxViTError: If it is not an image, or damaged, or has more than `spec.max_pixels`, or other bands.
    """
    if isinstance(source, Kept):
        return once(source, "decoded", lambda stored: without_tags(decode(stored, spec)))
    if isinstance(source, Bands):
        return source
    if isinstance(source, np.ndarray) and not spec.takes_bands:
        return upright(_from_array(source, spec), spec)
    with opened(source) as image:
        picture = upright(image, spec)
        return picture.copy() if picture is source else picture


def decode_shown(source: Source, spec: Preprocessing = PLAIN) -> Image.Image:
    """The same for people, in RGB: of bands, those that `spec` says. Raises as `decode`."""
    return show(decode(source, spec), spec)


@contextmanager
def opened(source: Source) -> Iterator[Stored]:
    """The image as it is stored; of a file no pixel has been read yet.

    Raises:
        MaxViTError: If it is not an image; and, in place of whatever Pillow raises while it is open, if it is damaged.
    """
    if isinstance(source, Kept):
        source = source.read()
    if isinstance(source, Bands):
        source = np.asarray(source)
    if not isinstance(source, str | Path | bytes | Image.Image | np.ndarray):
        raise MaxViTError(f"a {type(source).__name__} is not an image; give a path, bytes, a PIL image or an array")
    name = str(source) if isinstance(source, str | Path) else "the data"
    try:
        if isinstance(source, Image.Image):
            yield source
        elif isinstance(source, np.ndarray):
            bands = source.ndim == 3 and source.shape[2] not in (1, 3, 4)
            yield of_array(source) if bands else _from_array(source, PLAIN)
        else:
            with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
                yield _open(file, name)
    except (MaxViTError, MemoryError):
        raise
    except Unfit as error:
        raise MaxViTError(f"{name} {error}") from error
    except FileNotFoundError as error:
        raise MaxViTError(f"{name} does not exist: check the path") from error
    except IsADirectoryError as error:
        raise MaxViTError(f"{name} is a folder: give an image file") from error
    except UnidentifiedImageError as error:
        raise MaxViTError(f"{name} is {error}") from error
    except (PermissionError, NotADirectoryError) as error:
        raise MaxViTError(f"{name} cannot be opened: {error.strerror}") from error
    except Exception as error:  # Pillow's readers raise all sorts of them on damaged files
        reason = " ".join(str(error).split())  # of an assertion there is none
        raise MaxViTError(f"{name} is damaged{reason and f': {reason}'}") from error


def _open(file: IO[bytes], name: str) -> Stored:
    """The image in a file, by what it begins with."""
    start = file.read(AT + len(MARK))
    file.seek(0)
    if start.startswith(NUMPY):
        return open_numpy(file)
    if start[AT:] == MARK:
        return open_dicom(file)
    if not start.startswith(MARKS):
        return identify(file, name)
    try:
        image = identify(file, name)
    except UnidentifiedImageError as error:
        return open_tiff(file, f": it is {error}")
    _mend_tiff(image)
    return open_tiff(file) if hides_bands(image) else image


def read_size(source: ImageLike) -> tuple[int, int]:
    """(height, width) of an image as a person sees it; of a file only the header is read.

    Raises:
        MaxViTError: If it is not an image.
    """
    if isinstance(source, np.ndarray):
        return source.shape[0], source.shape[1]
    if isinstance(source, Bands):
        return source.height, source.width
    with opened(source) as image:
        return upright_size(image)


def upright_size(image: Stored) -> tuple[int, int]:
    """(height, width) that `upright` will give."""
    turned = orientation(image) in (5, 6, 7, 8)
    width, height = (image.width, image.height) if isinstance(image, Raw) else _stored_size(image)
    return (width, height) if turned else (height, width)


def bands_of(image: Stored) -> int:
    """How many bands an image has; photographs have 3, grey or transparent ones too."""
    if isinstance(image, Raw):
        return 3 if image.bands == 1 else image.bands
    return max(3, bands_in(image)) if isinstance(image, TiffImagePlugin.TiffImageFile) else 3


def orientation(image: Stored) -> int:
    """How an image is to be turned, by its EXIF tag: 1 to 8; 1, as it is, where the tags are damaged."""
    if isinstance(image, Raw):
        return image.turn
    try:
        tags: Any = image.tag_v2 if _is_unread_tiff(image) else image.getexif()  # type: ignore[attr-defined]
        found = tags.get(ExifTags.Base.Orientation, 1)
    except Exception:  # whatever damaged tags lead to, the picture is whole
        return 1
    return found if type(found) is int and 1 <= found <= 8 else 1


def _is_unread_tiff(image: Any) -> bool:
    """Which Pillow turns as it reads it; some versions turn its size already as they open it."""
    return image.format == "TIFF" and bool(getattr(image, "tile", []))


def _stored_size(image: Any) -> tuple[int, int]:
    """(width, height) in the file."""
    size: tuple[int, int] = (image.tag_v2[256], image.tag_v2[257]) if _is_unread_tiff(image) else image.size
    return size


def shrink_factor(box: Box, size: Size) -> int:
    """By how much a picture may shrink, 1, 2, 4 or 8, so that what is in the box keeps `size` pixels."""
    return max(s for s in (1, 2, 4, 8) if s == 1 or (box[2] >= s * size[0] and box[3] >= s * size[1]))


def can_shrink(image: Stored) -> bool:
    """Whether it is a JPEG, which `shrink` decodes at a part of its size."""
    return image.format in ("JPEG", "MPO")


def shrink(image: Stored, factor: int) -> int:
    """Have a JPEG that is not yet read decoded at 1 / `factor` of its size, rounded up.

    Returns:
        The factor; 1 of an image that is no JPEG, which stays as it is.
    """
    if factor == 1 or isinstance(image, Raw):
        return 1
    return factor if image.draft(None, (image.width // factor, image.height // factor)) else 1


def crop(image: Picture, box: tuple[int, int, int, int]) -> Picture:
    """What is in (left, top, right, bottom), all inside; Pillow's own refuses large pieces."""
    if box == (0, 0, *image.size):
        return image
    size = box[2] - box[0], box[3] - box[1]
    return image.resize(size, Image.Resampling.NEAREST, box)


def _from_array(array: npt.NDArray[Any], spec: Preprocessing) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or array.size == 0:
        raise MaxViTError(f"an array of shape {array.shape} is not an image; give (H, W), (H, W, 3) or (H, W, 4)")
    floats = np.issubdtype(array.dtype, np.floating)
    if array.dtype == np.bool_:
        array = array * np.uint8(255)
    elif spec.ranges and array.dtype != np.uint8 and (floats or np.issubdtype(array.dtype, np.integer)):
        if not np.isfinite(array).all():
            raise MaxViTError("an array holds NaN or infinite values: give them a value first")
        return Deep(array, None, (0.0, 1.0)).to_8_bits(spec.ranges)
    elif array.dtype == np.uint16:
        array = scale(array, (0, 65535))  # as of a 16-bit file
    elif floats:
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise MaxViTError("a float array must hold values in 0..1; scale it, or give uint8")
        array = scale(array, (0, 1))
    elif array.dtype != np.uint8:
        raise MaxViTError(f"an array of {array.dtype} is not an image; give bool, uint8, uint16 or float in 0..1")
    return Image.fromarray(array)


def upright(image: Stored, spec: Preprocessing = PLAIN) -> Picture:
    """As a person sees it: turned by its EXIF tag, without transparency, in 8-bit RGB; or all bands. See `decode`."""
    check_pixels(image, spec)
    if spec.takes_bands:
        return _upright_bands(image, spec)
    if isinstance(image, Raw):
        if image.bands not in (1, 3):
            raise _other_bands(image.bands, spec)
        picture = image.read().to_8_bits(spec.ranges)
    elif is_deep(image):
        picture = read_deep(image).to_8_bits(spec.ranges)
    else:
        image.load()
        picture = image
    picture = _opaque(picture)
    turn = _TURNS.get(orientation(image))  # after loading, which turns a TIFF file
    if turn is not None:
        picture = picture.transpose(turn)
    if picture is not image:
        picture.info = {}  # those tags are of the image as it is stored
    return picture


def _upright_bands(image: Stored, spec: Preprocessing) -> Bands:
    turn, raw = _TURNS.get(orientation(image)), as_raw(image, spec.channels)
    check_pixels(raw, spec)
    if raw.bands != spec.channels:
        raise _other_bands(raw.bands, spec, 1 if raw.stacked is None else raw.stacked.bands)
    bands = raw.read().to_bands(spec.ranges)
    return bands if turn is None else bands.transpose(turn)


def as_raw(image: Stored, channels: int) -> Raw:
    """With all bands and bits, as they are stored; the pages of a TIFF are its bands, where there are `channels` pages.

    Raises:
        Unfit: Where that takes what is not installed.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.fp is not None:
        image = open_tiff(image.fp)
    if not isinstance(image, Raw):
        return of_array(np.asarray(image.convert("RGB") if image.mode == "P" else image))
    return image.stacked if image.stacked is not None and image.stacked.bands == channels else image


def pages_of(image: Stored) -> int:
    """How many pages a TIFF has, all of which are read only where each is a band; 1 of other files."""
    if isinstance(image, Raw):
        return 1 if image.stacked is None else image.stacked.bands
    return image.n_frames if isinstance(image, TiffImagePlugin.TiffImageFile) else 1


def _other_bands(found: int, spec: Preprocessing, pages: int = 1) -> Unfit:
    on = f" on each of {pages} pages" if pages > 1 else ""
    return Unfit(
        f"has {found} band{'s' * (found > 1)}{on}, and the network takes {spec.channels}: give it others, or train one "
        f"for such images with model.in_channels={found if pages == 1 else pages}"
    )


def without_tags(picture: Picture) -> Picture:
    """A copy of the pixels alone, to be kept: the tags of a file may hold another picture, or a profile."""
    if isinstance(picture, Bands):
        return picture
    bare = picture.copy()
    bare.info = {}
    return bare


def count_pixels(image: Stored) -> int:
    """By the memory that they take: of more than three bands a pixel counts as several."""
    pixels = image.width * image.height
    return pixels * max(3, image.bands) // 3 if isinstance(image, Raw) else pixels


def check_pixels(image: Stored, spec: Preprocessing) -> None:
    """Before it is read: refuse more than `spec.max_pixels`, by `Unfit`, which `opened` puts the name before."""
    if count_pixels(image) > spec.max_pixels:
        many = f" of {image.bands} bands" if isinstance(image, Raw) and image.bands > 3 else ""
        raise Unfit(
            f"has {image.width} x {image.height} pixels{many}, and at most {spec.max_pixels} are read: make it "
            "smaller, or raise data.max_pixels in training, which the network keeps"
        )
    if isinstance(image, Image.Image):
        make_room(image)


def _opaque(image: Image.Image) -> Image.Image:
    """RGB, what is transparent over white; an alpha channel that is 0 everywhere is one that nobody has filled."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (0, 0):
            return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _mend_tiff(image: Any) -> None:
    """Before it is read: tags that Pillow takes wrongly, or stumbles over though they do not matter."""
    turn = orientation(image)
    image.info.pop("xmp", None)
    image._exif = Image.Exif()  # of all its tags the one that counts
    image._exif._loaded = True
    image._exif[ExifTags.Base.Orientation] = turn
    if image.mode in ("P", "PA"):
        colours = image.tag_v2[_COLOUR_MAP]
        if max(colours) < 256:  # they should have 16 bits, and some writers give 8
            image.palette = ImagePalette.raw("RGB;L", bytes(colours))
