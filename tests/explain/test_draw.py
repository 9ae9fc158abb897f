"""Pictures of maps: cells lie where the tokens do, and files hold what they should."""

import io
import re
from base64 import b64decode
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from maxvit.config import Preprocessing
from maxvit.data.transforms import preprocess
from maxvit.explain.draw import GAP, TITLE, Panel, picture_of, write_png, write_svg

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "a <b> & \"c\" 'd'"


@pytest.fixture
def picture():
    pixels = np.random.default_rng(0).integers(0, 256, (37, 45, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def panel():
    values = np.zeros((10, 12), np.float32)
    values[9, 11] = 3  # the last cell: 1 x 1 pixel of the picture
    return Panel(NASTY, values, [(40, 32, 44, 36), (44, 36, 45, 37)], (44, 36, 45, 37))


def test_the_picture_is_what_the_network_was_shown(picture):
    spec = Preprocessing(image_size=(37, 45), fit="squash", crop_pct=1.0)
    assert (np.asarray(picture_of(spec, preprocess(spec, picture))) == np.asarray(picture)).all()


def test_a_grey_network_s_picture_is_grey(picture):
    spec = Preprocessing(image_size=(37, 45), fit="squash", mean=(0.5,), std=(0.25,))
    shown = np.asarray(picture_of(spec, preprocess(spec, picture)))
    assert shown.shape == (37, 45, 3)
    assert (shown == shown[..., :1]).all()


def test_png_colours_each_cell_where_it_lies(picture, panel, tmp_path):
    write_png(tmp_path / "map.png", picture, [Panel("", panel.values)])
    sheet = np.asarray(Image.open(tmp_path / "map.png"))
    scale = 8  # 45 pixels to 320 and more
    assert sheet.shape == (GAP // 2 + TITLE + GAP + 37 * scale, 2 * GAP + 45 * scale, 3)
    drawn = sheet[GAP // 2 + TITLE :, GAP:][: 37 * scale : scale, : 45 * scale : scale].astype(float)
    grey = np.asarray(picture.convert("L"), np.float32)[..., None]
    colour = np.broadcast_to(np.array((68, 1, 84), np.float32), (37, 45, 3)).copy()
    colour[36, 44] = (253, 231, 37)
    assert np.abs(drawn - (0.4 * grey + 0.6 * colour)).max() < 1.01  # rounded


def test_png_outlines_cells_and_the_token_that_asks(picture, panel, tmp_path):
    write_png(tmp_path / "map.png", picture, [panel])
    sheet = np.asarray(Image.open(tmp_path / "map.png"))[GAP // 2 + TITLE :, GAP:]
    assert sheet[32 * 8, 40 * 8].tolist() == [255, 255, 255]
    assert sheet[36 * 8 - 1, 44 * 8 - 1].tolist() == [255, 255, 255]
    assert sheet[36 * 8, 44 * 8].tolist() == [255, 59, 48]


def test_svg_is_well_formed_loads_nothing_and_holds_the_map(picture, panel, tmp_path):
    write_svg(tmp_path / "map.svg", picture, [panel, Panel("second", panel.values)], columns=2)
    text = (tmp_path / "map.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    assert [t.text for t in root.iter(f"{SVG}text")] == [NASTY, "second"]
    links = [i.get("href") for i in root.iter(f"{SVG}image")]
    assert all(link.startswith("data:image/png;base64,") for link in links)
    assert re.findall(r"https?://", text) == ["http://"]  # the namespace
    base, first, second = (Image.open(io.BytesIO(b64decode(link.split(",")[1]))) for link in links)
    assert base.size == (45, 37)
    assert first.size == second.size == (12, 10)
    over = next(i for i in root.iter(f"{SVG}image") if i.get("id") is None)
    assert (over.get("width"), over.get("height")) == ("48", "40")  # whole cells, of which the frame cuts the rest
    boxes = [tuple(int(r.get(k)) for k in ("x", "y", "width", "height")) for r in root.iter(f"{SVG}rect") if r.get("x")]
    assert boxes == [(40, 32, 4, 4), (44, 36, 1, 1), (44, 36, 1, 1)]


def test_maps_without_a_positive_number_are_drawn(picture, tmp_path):
    for values in (np.zeros((2, 2)), np.full((2, 2), -1.0), np.full((2, 2), np.nan)):
        write_png(tmp_path / "map.png", picture, [Panel("", values.astype(np.float32))])
        write_svg(tmp_path / "map.svg", picture, [Panel("", values.astype(np.float32))])
