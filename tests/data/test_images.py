"""Whatever a person would call an image arrives upright, in 8-bit RGB; everything else is refused in a sentence."""

import io
import random
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import skimage
import sklearn
import torch
from PIL import Image, ImageDraw

from maxvit.config import Preprocessing
from maxvit.data import transforms
from maxvit.data.finding import find_images
from maxvit.data.images import DICOM, EXTENSIONS, decode, read_size, upright
from maxvit.data.random_crop import RandomPiece
from maxvit.data.transforms import preprocess
from maxvit.errors import MaxViTError

H, W = 13, 7
ORIENTATION = 0x0112  # the EXIF tag

# what scikit-image and scikit-learn ship
PHOTOS = (
    "astronaut.png brick.png camera.png cell.png chelsea.png chessboard_GRAY.png chessboard_RGB.png china.jpg "
    "clock_motion.png coffee.png coins.png color.png flower.jpg grass.png gravel.png horse.png hubble_deep_field.jpg "
    "ihc.png logo.png microaneurysms.png moon.png motorcycle_left.png motorcycle_right.png multipage.tif "
    "no_time_for_that_tiny.gif page.png phantom.png retina.jpg rocket.jpg text.png"
)
FOLDERS = (Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets" / "images")


def pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    assert image.mode == "RGB"
    return np.asarray(image)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def skip_unless_written(kind: str) -> None:
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow was built without {kind}")


def noise(*shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def grey_to_rgb(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.stack([values] * 3, -1)


def test_rgb_pixels_are_untouched():
    array = noise(H, W, 3)
    assert np.array_equal(pixels(decode(encoded(Image.fromarray(array), "PNG"))), array)


def test_grey_becomes_three_equal_channels():
    array = noise(H, W)
    assert np.array_equal(pixels(decode(encoded(Image.fromarray(array), "PNG"))), grey_to_rgb(array))


def test_one_bit_is_black_and_white():
    bits = noise(H, W) > 127
    image = Image.fromarray((bits * 255).astype(np.uint8)).convert("1", dither=Image.Dither.NONE)
    assert np.array_equal(pixels(decode(encoded(image, "PNG"))), grey_to_rgb((bits * 255).astype(np.uint8)))


def palette_image() -> Image.Image:
    image = Image.new("P", (3, 2))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([0, 1, 2, 2, 1, 0])
    return image


def test_a_palette_is_looked_up():
    found = pixels(decode(encoded(palette_image(), "PNG")))
    row = [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
    assert np.array_equal(found, [row, row[::-1]])


def test_transparent_palette_entries_become_white():
    found = pixels(decode(encoded(palette_image(), "PNG", transparency=1)))
    row = [[10, 20, 30], [255, 255, 255], [70, 80, 90]]
    assert np.array_equal(found, [row, row[::-1]])


@pytest.mark.parametrize(("value", "seen"), [(0, 0), (257 * 100, 100), (257 * 100 + 128, 100), (65535, 255)])
def test_a_16_bit_png_is_scaled_to_8_bits(value, seen):
    array = np.full((H, W), value, np.uint16)
    array[0, 0] = 65535  # more than 8 bits in any case
    found = pixels(decode(encoded(Image.fromarray(array), "PNG")))
    assert (found[1:] == seen).all()


@pytest.mark.parametrize(
    ("values", "held"),
    [
        (np.arange(91, dtype=np.int32), "0 to 90, and by its type black is -2147483648 and white 2147483647"),
        (np.linspace(0, 200, 91, dtype=np.float32), "0 to 200, and by its type black is 0 and white 1"),
    ],
)
def test_values_that_the_type_does_not_tell_the_range_of_are_refused_without_one(values, held):
    data = encoded(Image.fromarray(values.reshape(H, W)), "TIFF")
    with pytest.raises(MaxViTError, match=f"^the data holds values from {held}"):
        decode(data)
    top = float(values.max())
    wanted = np.rint(values.astype(np.float64) * 255 / top).astype(np.uint8).reshape(H, W)
    assert np.array_equal(pixels(decode(data, Preprocessing(value_range=(0, top)))), grey_to_rgb(wanted))


def test_a_float_tiff_is_read_as_0_to_1_though_one_pixel_is_beyond():
    array = np.linspace(0, 1, H * W, dtype=np.float32).reshape(H, W)
    wanted = np.rint(array.astype(np.float64) * 255).astype(np.uint8)
    array[-1, -1] = 1.01
    assert np.array_equal(pixels(decode(encoded(Image.fromarray(array), "TIFF"))), grey_to_rgb(wanted))


def test_a_float_tiff_below_zero_is_black():
    array = np.full((H, W), 0.5, np.float32)
    array[3, 2] = -1.0
    found = pixels(decode(encoded(Image.fromarray(array), "TIFF")))
    assert found[3, 2].tolist() == [0, 0, 0]
    assert found[0, 0].tolist() == [128, 128, 128]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_float_tiff_with_missing_values_is_refused(value):
    array = np.full((H, W), 0.5, np.float32)
    array[2, 3] = value
    with pytest.raises(MaxViTError, match=r"is damaged: some pixels are NaN or infinite, give them a value first$"):
        decode(encoded(Image.fromarray(array), "TIFF"))


def test_a_cmyk_jpeg_has_the_colours_of_its_inks():
    image = Image.new("CMYK", (32, 16), (0, 255, 255, 0))  # magenta and yellow: red
    image.paste((255, 0, 255, 0), (0, 0, 16, 16))  # cyan and yellow: green
    found = pixels(decode(encoded(image, "JPEG", quality=95))).astype(int)
    np.testing.assert_allclose(found[:, :12], np.broadcast_to([0, 255, 0], (16, 12, 3)), atol=3)  # a lossy format
    np.testing.assert_allclose(found[:, 20:], np.broadcast_to([255, 0, 0], (16, 12, 3)), atol=3)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(mode):
    array = noise(H, W, len(mode))
    colour, alpha = array[..., :-1].astype(float), array[..., -1:] / 255
    wanted = np.broadcast_to(colour * alpha + 255 * (1 - alpha), (H, W, 3))
    image = Image.merge(mode, [Image.fromarray(np.ascontiguousarray(channel)) for channel in array.transpose(2, 0, 1)])
    found = pixels(decode(encoded(image, "PNG")))
    assert np.abs(found - wanted).max() <= 1  # Pillow blends in whole numbers


# how the picture must be turned before it is stored, so that the tag makes it upright again (EXIF 2.3, 4.6.4)
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),  # row 0 is the left side, column 0 the top
    6: lambda a: a.transpose(1, 0, 2)[::-1],  # row 0 is the right side, column 0 the top
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],  # row 0 is the right side, column 0 the bottom
    8: lambda a: a.transpose(1, 0, 2)[:, ::-1],  # row 0 is the left side, column 0 the bottom
}


@pytest.mark.parametrize("orientation", STORED)
def test_a_rotated_photo_is_seen_upright(orientation):
    upright = np.zeros((24, 40, 3), np.uint8)  # a different colour in each corner
    corners = {(0, 0): (255, 0, 0), (0, 20): (0, 255, 0), (12, 0): (0, 0, 255), (12, 20): (255, 255, 255)}
    for (y, x), colour in corners.items():
        upright[y : y + 12, x : x + 20] = colour
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    found = decode(encoded(stored, "JPEG", exif=exif, quality=95, subsampling=0))
    assert found.size == (40, 24)
    for (y, x), colour in corners.items():
        assert np.abs(pixels(found)[y + 6, x + 10].astype(int) - colour).max() <= 3  # a lossy format


def test_a_heic_photograph_is_read_where_its_library_is_installed():
    pytest.importorskip("pillow_heif").register_heif_opener()
    halves = np.zeros((24, 40, 3), np.uint8)
    halves[:12] = 255
    found = pixels(decode(encoded(Image.fromarray(halves), "HEIF", quality=95))).astype(int)
    np.testing.assert_allclose(found, halves, atol=4)  # a lossy format
    assert {".heic", ".heif"} < EXTENSIONS


def test_the_first_frame_of_an_animation_is_shown():
    frames = [Image.new("P", (W, H), colour) for colour in range(3)]
    for frame in frames:
        frame.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    found = pixels(decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])))
    assert (found == [255, 0, 0]).all()


def test_a_path_a_name_its_bytes_and_a_pil_image_are_the_same_picture(tmp_path):
    array = noise(H, W, 3)
    path = tmp_path / "no extension"
    path.write_bytes(encoded(Image.fromarray(array), "PNG"))
    with Image.open(path) as opened:
        for source in (path, str(path), path.read_bytes(), opened):
            assert np.array_equal(pixels(decode(source)), array)


def test_a_pil_image_is_left_as_it_was():
    image = Image.new("RGBA", (W, H), (10, 20, 30, 0))
    decode(image)
    assert image.mode == "RGBA"
    assert image.getpixel((0, 0)) == (10, 20, 30, 0)


@pytest.mark.parametrize(
    ("array", "seen"),
    [
        (np.array([[False, True]]), [0, 255]),
        (np.array([[3, 250]], np.uint8), [3, 250]),
        (np.array([[128, 129, 65535]], np.uint16), [0, 1, 255]),  # as files: 257 steps make one
        (np.array([[0.0, 0.2, 1.0]], np.float32), [0, 51, 255]),
        (np.array([[0.0, 0.2, 1.0]], np.float64), [0, 51, 255]),
        (np.array([[0.0, 1.0]], np.float16), [0, 255]),
    ],
)
@pytest.mark.parametrize("layout", ["(H, W)", "(H, W, 1)", "(H, W, 3)"])
def test_arrays_are_scaled_by_their_type(array, seen, layout):
    given = {"(H, W)": array, "(H, W, 1)": array[..., None], "(H, W, 3)": np.stack([array] * 3, -1)}[layout]
    assert np.array_equal(pixels(decode(given)), grey_to_rgb(np.array([seen], np.uint8)))


def test_a_fourth_channel_of_an_array_is_transparency():
    array = np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8)
    assert np.array_equal(pixels(decode(array)), [[[10, 20, 30], [255, 255, 255]]])


def test_an_array_that_is_a_view_is_read_in_its_own_order():
    array = noise(H, W, 3)
    assert np.array_equal(pixels(decode(array[::-1, ::2])), array[::-1, ::2])


@pytest.mark.parametrize("shape", [(5,), (2, 3, 5, 3), (3, 13, 7), (13, 7, 2), (0, 7), (13, 0, 3)])
def test_an_array_of_another_shape_is_refused(shape):
    with pytest.raises(MaxViTError, match=r"array of shape .* is not an image; give"):
        decode(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint32, np.complex64, object])
def test_an_array_of_another_type_is_refused(dtype):
    with pytest.raises(MaxViTError, match="give bool, uint8, uint16 or float"):
        decode(np.zeros((H, W), dtype))


@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0, np.nan, np.inf])
def test_floats_outside_0_to_1_are_refused(value):
    array = np.full((H, W), 0.5)
    array[3, 5] = value
    with pytest.raises(MaxViTError, match=r"values in 0\.\.1"):
        decode(array)


@pytest.mark.parametrize("data", [b"", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>"])
def test_what_is_no_image_is_refused_by_name(tmp_path, data):
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises(MaxViTError, match=r"photo\.jpg is not an image"):
        decode(path)
    with pytest.raises(MaxViTError, match="the data is not an image"):
        decode(data)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MaxViTError, match=r"gone\.png does not exist"):
        decode(tmp_path / "gone.png")


def test_a_folder_is_named(tmp_path):
    with pytest.raises(MaxViTError, match="is a folder: give an image file"):
        decode(tmp_path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_truncated_file_is_damaged(tmp_path, kind):
    data = encoded(Image.fromarray(noise(59, 61, 3)), kind)
    path = tmp_path / "half"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(MaxViTError, match="half is damaged: "):
        decode(path)


def test_a_pil_image_whose_file_is_truncated_is_damaged():
    data = encoded(Image.fromarray(noise(59, 61, 3)), "PNG")
    opened = Image.open(io.BytesIO(data[: len(data) // 2]))  # Pillow has read the header alone
    with pytest.raises(MaxViTError, match="the data is damaged: "):
        decode(opened)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about damaged tags
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "TGA", "ICO"])
def test_random_damage_is_never_anything_but_damage(kind):
    skip_unless_written(kind)
    data, draw = encoded(Image.fromarray(noise(23, 31, 3)), kind), random.Random(0)
    for i in range(60):
        broken = bytearray(data)
        if i % 3 == 0:
            broken = broken[: draw.randrange(len(data))]
        for _ in range(i % 3):
            broken[draw.randrange(min(len(data), 300))] = draw.randrange(256)  # headers are the fragile part
        try:
            pixels(decode(bytes(broken)))
        except MaxViTError as error:
            assert str(error).startswith("the data ")  # noqa: PT017


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "BMP"])
def test_the_limit_of_pixels_is_the_setting_and_not_pillow_s(monkeypatch, kind):
    data = encoded(Image.new("RGB", (W, H)), kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)  # Pillow refuses twice that
    assert decode(data, Preprocessing(max_pixels=W * H)).size == (W, H)
    with pytest.raises(MaxViTError, match=r"^the data has 7 x 13 pixels, and at most 90 are read: .* data.max_pixels"):
        decode(data, Preprocessing(max_pixels=W * H - 1))


def test_a_large_image_is_cropped_for_evaluation_whatever_pillow_s_limit(monkeypatch):
    data = encoded(Image.fromarray(noise(90, 80, 3)), "PNG")
    spec = Preprocessing(image_size=(32, 32), crop_pct=0.9)
    wanted = preprocess(spec, data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    assert torch.equal(preprocess(spec, data), wanted)


def test_a_very_large_jpeg_is_evaluated_at_a_part_of_its_size(monkeypatch):
    data = encoded(Image.linear_gradient("L").resize((1600, 1200)), "JPEG", quality=95)
    spec = Preprocessing(image_size=(32, 48))
    whole, drafts = preprocess(spec, data), []
    monkeypatch.setattr(transforms, "_LARGE", 1_000_000)
    monkeypatch.setattr(transforms, "upright", lambda image, spec: drafts.append(image.size) or upright(image, spec))
    torch.testing.assert_close(preprocess(spec, data), whole, atol=0.02, rtol=0)
    assert drafts == [(200, 150)]


@pytest.mark.parametrize("path", [p for f in FOLDERS for p in sorted(f.iterdir()) if p.is_file()], ids=lambda p: p.name)
def test_the_sample_images_of_other_libraries_are_read_and_nothing_else(path):
    if path.name in PHOTOS.split():
        with Image.open(path) as plain:
            size = plain.size
        image = decode(path)
        assert pixels(image).dtype == np.uint8
        assert image.size == size
        assert pixels(image).std() > 5
    elif path.name != "multipage_rgb.tif":  # doubles in planes, and each beyond 1
        with pytest.raises(MaxViTError, match=r"is not an image|lfw_subset\.npy has 25 bands"):
            decode(path)


def test_sample_images_are_there():
    assert len(set(PHOTOS.split()) & {p.name for f in FOLDERS for p in f.iterdir()}) > 20


@pytest.mark.parametrize("change", [str.lower, str.upper])
@pytest.mark.parametrize("extension", sorted(EXTENSIONS - {".npy", *DICOM}))
def test_what_an_extension_promises_can_be_read_in_either_case(tmp_path, extension, change):
    skip_unless_written(Image.registered_extensions()[extension])
    path = tmp_path / f"x{change(extension)}"
    mode = {".pbm": "1", ".pgm": "L"}.get(extension, "RGB")
    picture = Image.new("RGB", (32, 32), "white")
    ImageDraw.Draw(picture).rectangle((0, 0, 15, 31), "black")
    picture.convert(mode).save(path)
    assert find_images(tmp_path).images == [path]
    assert np.abs(pixels(decode(path)).astype(int).mean() - 127.5) < 8  # half black; lossy formats move a little


def test_what_is_no_image_at_all_is_named():
    with pytest.raises(MaxViTError, match="a NoneType is not an image; give a path"):
        decode(None)


@pytest.mark.parametrize("tags", [b"Exif\0\0MM\0*\0\0\0", b"Exif\0\0" + bytes(10)], ids=["cut off", "empty"])
def test_a_picture_with_damaged_exif_tags_is_as_it_is_stored(tmp_path, tags):
    path, pixels = tmp_path / "a.jpg", np.tile(np.uint8([250, 20, 20]), (24, 40, 1))
    Image.fromarray(pixels).save(path, exif=tags, dpi=(72, 72))
    assert read_size(path) == (24, 40)
    assert np.asarray(decode(path)).shape == (24, 40, 3)
    assert RandomPiece((8, 8), (0.5, 1.0), (1.0, 1.0))(path).shape == (3, 8, 8)
