import shutil

import numpy as np
import pytest
from PIL import Image

from maxvit.data.dataset import describe
from maxvit.errors import MaxViTError
from maxvit.tasks import make_task

SCORES = [str(i) for i in range(1, 11)]
HEADER = ",".join(["image", *SCORES])
TASK = make_task({"name": "aesthetics"})


def load(path):
    return TASK.load(path, 0.25, 0)


def images(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (7, 5)).save(folder / name)


def votes(*counts):
    return ",".join(str(c) for c in (*counts, *[0] * (10 - len(counts))))


@pytest.fixture
def table(tmp_path):
    """Write scores.csv beside images a.png to h.png."""

    def go(*lines, header=HEADER):
        images(tmp_path / "images", *(f"{c}.png" for c in "abcdefgh"))
        (tmp_path / "scores.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        return tmp_path

    return go


@pytest.fixture
def ava(tmp_path):
    """Write AVA.txt beside images 11.jpg to 18.jpg."""

    def go(*lines, test=None, where="test.txt"):
        images(tmp_path / "images", *(f"{i}.jpg" for i in range(11, 19)))
        (tmp_path / "AVA.txt").write_text("\n".join(lines) + "\n")
        if test is not None:
            (tmp_path / where).parent.mkdir(exist_ok=True)
            (tmp_path / where).write_text("\n".join(test) + "\n")
        return tmp_path

    return go


def test_counts_become_shares_whatever_the_order_of_the_columns(table):
    path = table(
        f"train,{votes(1, 3)},b.png",
        f"train,{votes(0, 0.5, 0, 0.5)},a.png",
        f"test,{votes(2)},c.png",
        f"val,{votes(5)},d.png",
        header=",".join(["split", *SCORES, "image"]),
    )
    data = load(path)
    assert list(data.train.names) == ["b.png", "a.png"]
    np.testing.assert_array_equal(np.stack(list(data.train.labels))[:, :4], [[0.25, 0.75, 0, 0], [0, 0.5, 0, 0.5]])
    assert [list(part.names) for part in (data.val, data.test)] == [["d.png"], ["c.png"]]
    assert data.train.class_names == SCORES
    assert data.train.sources[0] == path / "images" / "b.png"
    assert list(TASK.load_eval(path, SCORES).names) == ["c.png"]


def test_semicolons_are_read_and_other_columns_are_kept_and_told(table):
    lines = [f"{c}.png,{votes(1, 2)},me,Training" for c in "ab"]
    header = (HEADER + ",author,split").replace(",", ";")
    path = table(*(line.replace(",", ";") for line in lines), header=header)
    assert TASK.recognizes(path)
    images = TASK.load_eval(path, SCORES)
    assert images.others == {"author": ["me", "me"]}
    assert describe(images) == "data: 2 images; other columns: 'author'"


def test_scores_are_not_called_classes(table):
    path = table(*(f"{c}.png,{votes(1, 2)}" for c in "abcdefgh"))
    assert describe(load(path)) == "data: 8 images (6 training, 2 validation)"
    assert describe(TASK.load_eval(path, SCORES)) == "data: 8 images"


def test_without_a_split_some_training_images_are_held_out_the_same_for_the_same_seed(table):
    path = table(*(f"{c}.png,{votes(1, 2)}" for c in "abcdefgh"))
    data = load(path / "scores.csv")
    assert (len(data.train), len(data.val), data.test) == (6, 2, None)
    assert set(data.train.names) | set(data.val.names) == {f"{c}.png" for c in "abcdefgh"}
    assert list(load(path).val.names) == list(data.val.names)
    assert len({tuple(TASK.load(path, 0.25, seed).val.names) for seed in range(5)}) > 1
    assert len(TASK.load_eval(path, SCORES)) == 8


def test_images_beside_the_table_are_found_too(tmp_path):
    images(tmp_path / "deep", "a.png", "b.png")
    (tmp_path / "mine.csv").write_text(f"{HEADER}\ndeep/a.png,{votes(1)}\ndeep/b.png,{votes(1)}\n")
    data = load(tmp_path / "mine.csv")
    assert {*data.train.sources, *data.val.sources} == {tmp_path / "deep" / "a.png", tmp_path / "deep" / "b.png"}


AVA = [f"{i} {10 + i} 0 1 5 17 38 36 15 6 5 {i} 1 22 1396" for i in range(1, 9)]


@pytest.mark.parametrize("where", ["test.txt", "aesthetics_image_lists/generic_test.jpgl"])
def test_ava_is_read_as_published_with_its_list_of_test_images(ava, where):
    data = load(ava(*AVA, test=["12", "17.jpg"], where=where))
    assert list(data.test.names) == ["12.jpg", "17.jpg"]
    assert (len(data.train), len(data.val)) == (4, 2)  # a quarter of the other six
    counts = np.array([0, 1, 5, 17, 38, 36, 15, 6, 5, 2])
    np.testing.assert_allclose(data.test.labels[0], counts / counts.sum(), rtol=1e-6)


def test_ava_without_a_list_has_no_test_part(ava):
    data = load(ava(*AVA) / "AVA.txt")
    assert (len(data.train), len(data.val), data.test) == (6, 2, None)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"a.png,{votes(1)}", "line 3 of .*scores.csv: a.png was on line 2 already"),
        (f"./a.png,{votes(1)}", "a.png was on line 2 already"),
        (f"b.png,{votes(1)},9", "line 3 of .*has 12 cells, and the first line 11"),
        ("b.png,1,2", "has 3 cells"),
        (f"b.png,{votes(1, -1)}", "line 3 .*not counts"),
        (f"b.png,{votes(0)}", "not all 0"),
        (f"b.png,{votes('nan')}", "not counts"),
        (f"b.png,{votes('inf', '-inf')}", "line 3 .*not counts"),
        (f"b.png,{votes(1e308, 1e308)}", "not counts"),
        (f"b.png,{votes('many')}", "not all numbers"),
        (f",{votes(1)}", "names no image"),
        (f'"b.png,{votes(1)}', "cannot be read"),
        (f"x.png,{votes(1)}", r"has 1 image\(s\) to learn from: .*; skipped: 1 missing \(.*x\.png\)"),
    ],
)
def test_a_wrong_line_is_named_and_explained(table, line, said):
    with pytest.raises(MaxViTError, match=said):
        load(table(f"a.png,{votes(1)}", line))


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (HEADER.replace("image", "file"), "lacks the column 'image'"),
        (HEADER.replace(",10", ""), "lacks the column '10'"),
        (HEADER + ",split,split", "has two columns 'split'"),
    ],
)
def test_a_wrong_header_is_explained(table, header, said):
    with pytest.raises(MaxViTError, match=said):
        load(table(",".join("1" for _ in header.split(",")), header=header))


def test_a_part_that_does_not_exist_is_refused(table):
    with pytest.raises(MaxViTError, match="split is 'trial'; give train, val or test"):
        load(table(f"a.png,{votes(1)},trial", header=HEADER + ",split"))


@pytest.mark.parametrize(("split", "enough"), [(["train"], False), (["test", "test"], False), (["train", "val"], True)])
def test_there_must_be_something_to_learn_from(table, split, enough):
    path = table(*(f"{c}.png,{votes(1)},{s}" for c, s in zip("ab", split, strict=False)), header=HEADER + ",split")
    if enough:
        assert len(load(path).train) == 1
    else:
        with pytest.raises(MaxViTError, match="to learn from"):
            load(path)


def test_a_wrong_line_of_ava_is_explained(ava):
    with pytest.raises(MaxViTError, match=r"line 2 of .*AVA.txt has 14 numbers; AVA's lines have 15"):
        load(ava(AVA[0], AVA[1].removesuffix(" 1396")))


def test_missing_images_are_left_out_and_counted(ava):
    path = ava(*AVA)
    for i in range(11, 16):
        (path / "images" / f"{i}.jpg").unlink()
    data = load(path)
    assert {*data.train.names, *data.val.names} == {"16.jpg", "17.jpg", "18.jpg"}
    assert [passed.path.name for passed in data.train.passed_over] == [f"{i}.jpg" for i in range(11, 16)]
    shutil.rmtree(path / "images")
    with pytest.raises(MaxViTError, match=r"none of the 8 images of .*AVA\.txt exists: .* does not hold 11\.jpg, 12"):
        load(path)


def test_what_is_no_data_set_is_refused(tmp_path, table):
    with pytest.raises(MaxViTError, match="does not exist: check"):
        load(tmp_path / "nowhere")
    with pytest.raises(MaxViTError, match=r"holds neither scores\.csv"):
        load(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(MaxViTError, match=r"neither a CSV file nor AVA\.txt"):
        load(tmp_path / "a.jpg")
    (tmp_path / "scores.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MaxViTError, match="not UTF-8 text"):
        load(tmp_path)
    (tmp_path / "scores.csv").write_text("")
    with pytest.raises(MaxViTError, match="is an empty list: its first line must name image"):
        load(tmp_path)
    (tmp_path / "scores.csv").write_text(HEADER + "\n\n")
    with pytest.raises(MaxViTError, match="is an empty list: its first line must name image"):
        load(tmp_path)
    (tmp_path / "AVA.txt").write_text("")
    with pytest.raises(MaxViTError, match="holds both"):
        load(tmp_path)


def test_a_network_with_other_scores_is_refused(table):
    path = table(f"a.png,{votes(1)}")
    with pytest.raises(MaxViTError, match="the network tells 1, 2 apart"):
        TASK.load_eval(path, ["1", "2"])
