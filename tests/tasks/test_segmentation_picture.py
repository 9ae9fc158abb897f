"""What is shown and written of an answer."""

import numpy as np
import pytest
import torch
from PIL import Image

from maxvit import MaxViTError
from maxvit.tasks import make_task
from maxvit.tasks.segmentation.draw import palette

TASK = make_task({"name": "segmentation"})
NAMES = ["road", "sky", "tree", "person"]


def an_answer():
    answer = torch.zeros(90, 150, dtype=torch.uint8)
    answer[:, 100:] = 2
    answer[60:, :50] = 1
    return answer


def test_a_picture_mixes_colours_half_and_half_and_outlines_in_full():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 150, 3), np.uint8))
    drawn = np.asarray(TASK.draw_prediction(image, an_answer(), NAMES)).astype(int)
    assert drawn.shape == (90, 150, 3)
    pixels = np.asarray(image).astype(int)
    assert np.array_equal(drawn[70:88, 60:90], (pixels[70:88, 60:90] + palette()[0]) // 2)
    assert np.array_equal(drawn[50:88, 110:140], (pixels[50:88, 110:140] + palette()[2]) // 2)
    assert np.array_equal(drawn[50:, 99], np.broadcast_to(palette()[0], (40, 3)))


def test_what_is_ignored_stays_as_it_is():
    image = Image.new("RGB", (150, 90), (10, 20, 30))
    truth = an_answer()
    truth[70:80, 60:80] = 255
    drawn = np.asarray(TASK.draw_target(image, truth, NAMES))
    assert np.array_equal(drawn[70:80, 60:80], np.asarray(image)[70:80, 60:80])


def test_the_background_stays_as_it_is():
    image = Image.new("RGB", (150, 90), (10, 20, 30))
    drawn = np.asarray(TASK.draw_prediction(image, an_answer(), ["background", *NAMES[1:]]))
    assert np.array_equal(drawn[:50, :90], np.asarray(image)[:50, :90])
    assert np.array_equal(drawn[50:, 99], np.broadcast_to(palette()[0], (40, 3)))  # where another class begins


def test_a_small_image_has_no_legend():
    image, one = Image.new("RGB", (250, 199)), torch.zeros(199, 250, dtype=torch.uint8)
    assert (np.asarray(TASK.draw_prediction(image, one, NAMES)) == palette()[0] // 2).all()


def test_the_legend_names_classes_that_are_there():
    image = Image.new("RGB", (250, 200))
    one = torch.zeros(200, 250, dtype=torch.uint8)
    corner = np.asarray(TASK.draw_prediction(image, one, NAMES))[2:12, 2:30]
    assert (corner == palette()[0]).all(-1).any()
    assert not np.array_equal(corner, np.asarray(TASK.draw_prediction(image, one, ["other", *NAMES[1:]]))[2:12, 2:30])


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3)])
def test_the_smallest_picture_is_drawn(size):
    classes = torch.zeros(size, dtype=torch.uint8)
    assert TASK.draw_prediction(Image.new("RGB", size[::-1]), classes, NAMES).size == size[::-1]


def test_colours_of_classes_all_differ():
    assert len({tuple(colour) for colour in palette().tolist()}) >= 250
    assert len({tuple(colour) for colour in palette()[:60].tolist()}) == 60


def test_shares_are_of_all_pixels_the_largest_first():
    said = TASK.to_json(an_answer(), NAMES)
    tree, sky = 90 * 50 / 13500, 30 * 50 / 13500
    assert said == {
        "height": 90,
        "width": 150,
        "shares": {"road": pytest.approx(1 - tree - sky), "tree": pytest.approx(tree), "sky": pytest.approx(sky)},
    }
    assert list(said["shares"]) == ["road", "tree", "sky"]
    assert TASK.summary(an_answer(), NAMES) == "road 55.6%, tree 33.3%, sky 11.1%"


def test_masks_are_written_so_that_they_can_be_read_as_masks(tmp_path):
    answers = [("a/x.jpg", (90, 150), an_answer()), ("a/x.png", (5, 7), torch.full((5, 7), 3, dtype=torch.uint8))]
    TASK.write(iter(answers), tmp_path / "out", NAMES)
    with Image.open(tmp_path / "out/a/x.png") as mask:
        assert mask.mode == "P"
        assert np.array_equal(np.asarray(mask), an_answer().numpy())
        assert mask.convert("RGB").getpixel((120, 30)) == tuple(palette()[2].tolist())
    with Image.open(tmp_path / "out/a/x.png.png") as mask:
        assert np.array_equal(np.asarray(mask), np.full((5, 7), 3))
    assert (tmp_path / "out/classes.txt").read_text() == "road\nsky\ntree\nperson\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


def test_a_folder_that_is_there_is_filled_and_not_replaced(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / ".disk.abcd1234").mkdir()  # of a call that was killed
    TASK.write([("a/x.jpg", (90, 150), an_answer())], tmp_path / "out", NAMES)
    assert (tmp_path / "out").is_symlink()
    assert sorted(str(p.relative_to(tmp_path / "disk")) for p in (tmp_path / "disk").rglob("*.[pt]*")) == [
        "a/x.png",
        "classes.txt",
    ]


@pytest.mark.parametrize("name", ["/somewhere/else/x.jpg", "../../x.jpg", "..\\x.jpg"])
def test_nothing_is_written_outside_the_folder(tmp_path, name):
    TASK.write([(name, (90, 150), an_answer())], tmp_path / "deep" / "out", NAMES)
    assert [p.name for p in (tmp_path / "deep/out").rglob("*.png")] == ["x.png"]
    assert len(list(tmp_path.rglob("*.png"))) == 1


def test_a_failure_leaves_nothing_behind(tmp_path):
    def answers():
        yield "x.jpg", (90, 150), an_answer()
        raise MaxViTError("the second image is damaged")

    with pytest.raises(MaxViTError, match="second image"):
        TASK.write(answers(), tmp_path / "out", NAMES)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_none_or_full_is_refused(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("precious")
    for out, message in ((tmp_path / "full", "is not empty"), (tmp_path / "masks.json", "are written to a folder")):
        with pytest.raises(MaxViTError, match=message):
            TASK.write([("x.jpg", (90, 150), an_answer())], out, NAMES)
    assert (tmp_path / "full/mine.txt").read_text() == "precious"
