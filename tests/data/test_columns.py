"""Lists are read as people have them: which column holds what is said, or guessed where one choice makes sense."""

import numpy as np
import pytest

from maxvit.data.columns import ListColumns, name_beside
from maxvit.data.dataset import describe
from maxvit.data.finding import Names
from maxvit.data.inputs import gather
from maxvit.data.load import load_eval, load_images, read_parts
from maxvit.data.table import load_list, read_list
from maxvit.errors import MaxViTError


@pytest.fixture
def write(tmp_path):
    """A list of this text, and empty files: write("id,class", "a,cat", images=["photos/a.png"])."""

    def call(*lines, images, name="list.csv"):
        for image in images:
            (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / image).touch()
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
        return tmp_path / name

    return call


def labels_of(file, *columns, image=None):
    """Class of each image by its name."""
    images = read_list(file, ListColumns(image, columns))["all"]
    return {name: images.class_names[label] for name, label in zip(images.names, images.labels, strict=True)}


def said(file, *columns, image=None):
    return describe(read_list(file, ListColumns(image, columns))["all"])


# where the images are


def test_names_without_endings_in_a_folder_below_are_found_and_the_folder_is_told(write, tmp_path):
    file = write("id_code,diagnosis", "0a1,2", "0b3,0", images=["train_images/0a1.png", "train_images/0b3.jpg"])
    assert [p.name for p in read_list(file)["all"].sources] == ["0a1.png", "0b3.jpg"]
    assert labels_of(file) == {"0a1": "2", "0b3": "0"}
    assert said(file) == (
        "data: 2 images of 2 classes; columns 'id_code' (image), 'diagnosis' (class) (guessed; --image-column and "
        "--label-column choose others); images found in train_images/"
    )


def test_names_with_endings_in_a_folder_below_are_found_too(write, tmp_path):
    file = write("image,kind", "1.png,a", "2.png,b", images=["photos/1.png", "photos/1.jpg", "photos/2.png"])
    assert read_list(file)["all"].sources == [tmp_path / "photos" / "1.png", tmp_path / "photos" / "2.png"]


def test_of_two_folders_that_of_the_lists_name_is_meant(write, tmp_path):
    images = ["train_images/1.png", "test_images/1.png", "train_images/2.png"]
    file = write("id,kind", "1,a", "2,b", images=images, name="train.csv")
    assert read_list(file)["all"].sources == [tmp_path / "train_images" / "1.png", tmp_path / "train_images" / "2.png"]


@pytest.mark.parametrize("images", [["x/1.png", "y/1.png"], ["1.png", "1.jpg"], ["x/1.png", "x/1.jpg"]])
def test_a_name_that_several_files_fit_is_refused(write, images):
    file = write("id,kind", "1,a", "2,b", images=[*images, "2.png"])
    with pytest.raises(MaxViTError, match=r"1 may be .*1\.\w+ or .*1\.\w+: write its folder and ending into the list"):
        read_list(file)


def test_an_exact_name_comes_before_an_ending_and_the_lists_folder_before_those_below(write, tmp_path):
    names = Names(write("a,b", images=["1", "1.png", "x/2.png", "2.png", "y/3.txt", "y/.hidden/4.png"]))
    found = {name: names.find(name) for name in ("1", "2", "2.png", "x/2", "3", "4", "")}
    places = {"1": "1", "2": "2.png", "2.png": "2.png", "x/2": "x/2.png"}
    assert {name: path for name, path in found.items() if path} == {n: tmp_path / p for n, p in places.items()}
    assert names.folders == set()


def test_one_image_by_two_names_is_refused(write):
    with pytest.raises(MaxViTError, match=r"line 3 of .*1\.png was on line 2 already: give each image once"):
        read_list(write("path,label", "1,a", "1.png,b", images=["1.png"]))


# which column holds what


@pytest.mark.parametrize(
    ("separator", "name"), [(";", "list.csv"), ("\t", "list.csv"), ("\t", "list.tsv"), (",", "list.tsv")]
)
def test_the_separator_is_that_of_the_first_line(write, separator, name):
    lines = [separator.join(cells) for cells in (("image_id", "label"), ("1", "a"), ("2", "b"))]
    assert labels_of(write(*lines, images=["1.png", "2.png"], name=name)) == {"1": "a", "2": "b"}


@pytest.mark.parametrize("ending", [".png", ""])
def test_a_class_that_is_the_name_of_an_image_does_not_make_its_column_one_of_images(write, ending):
    lines = [f"{digit},{i}{ending}" for i, digit in enumerate((1, 2, 1))]
    file = write("digit,file", *lines, images=["0.png", "1.png", "2.png"])
    assert labels_of(file) == {f"0{ending}": "1", f"1{ending}": "2", f"2{ending}": "1"}


def test_a_column_with_a_usual_name_is_the_label_and_others_are_kept(write):
    file = write("image,Class,fold", "1.png,a,0", "2.png,b,1", "3.png,b,0", images=["1.png", "3.png"])
    images = read_list(file)["all"]
    assert images.others == {"fold": ["0", "0"]}
    assert said(file).startswith(
        "data: 2 images of 2 classes; columns 'image' (image), 'Class' (class) (guessed; --image-column and "
        "--label-column choose others); other columns: 'fold'; skipped"
    )


def test_the_documented_names_are_read_without_a_word(write):
    assert said(write("path,label", "1.png,a", "2.png,b", images=["1.png", "2.png"])) == "data: 2 images of 2 classes"


def test_what_a_person_says_is_read_and_not_called_a_guess(write):
    file = write("path,label,real,group", "1.png,a,x.png,u", "2.png,b,y.png,v", images=["x.png", "y.png"])
    assert labels_of(file, "group", image="real") == {"x.png": "u", "y.png": "v"}
    assert said(file, "group", image="real") == (
        "data: 2 images of 2 classes; columns 'real' (image), 'group' (class); other columns: 'path', 'label'"
    )


@pytest.mark.parametrize(
    ("header", "columns", "says"),
    [
        (
            "a,b,c",
            ListColumns(),
            "has the columns 'a', 'b', 'c', and 'b', 'c' could be labels: name the columns of the",
        ),
        (
            "a,class,label_name",
            ListColumns(labels=("d",)),
            "has no column 'd': its columns are 'a', 'class', 'label_name",
        ),
        ("a,class,label", ListColumns(), "and 'class' could be labels"),
        ("a,b,c", ListColumns("d"), "has no column 'd'"),
        ("a,b,c", ListColumns("a", ("a",)), "column 'a' of .* holds the images, and cannot be a label too"),
        ("a,b,c", ListColumns(labels=("b", "b")), "names 'b' twice"),
    ],
)
def test_what_is_not_plain_is_asked_for(write, header, columns, says):
    file = write(header, "1.png,x,y", "2.png,z,w", images=["1.png", "2.png"])
    if "label" in header.split(","):
        file = write(header.replace("label", "category"), "1.png,x,y", "2.png,z,w", images=[])
        says = "and 'class', 'category' could be labels"
    with pytest.raises(MaxViTError, match=says):
        read_list(file, columns)


def test_a_list_without_a_line_of_names_is_refused(write):
    file = write("1.png,a", "2.png,b", "3.png,a", images=["1.png", "2.png", "3.png"])
    with pytest.raises(MaxViTError, match=r"the first line of .* names an image, 1\.png, and not the columns"):
        read_list(file)


def test_a_first_line_for_excel_says_the_separator_and_is_no_header(write):
    file = write("sep=;", "path;label", "1.png;a", "2.png;b", "3.png;", images=["1.png", "2.png", "3.png"])
    with pytest.raises(MaxViTError, match=r"line 5 of .*: label is empty"):
        read_list(file)


def test_two_columns_of_images_are_asked_for(write):
    file = write("left,right,label", "1.png,3.png,a", "2.png,4.png,b", images=[f"{i}.png" for i in (1, 2, 3, 4)])
    with pytest.raises(MaxViTError, match="'left', 'right' all name files that exist: name the column of the images"):
        read_list(file)
    assert labels_of(file, image="right") == {"3.png": "a", "4.png": "b"}


# a column for each class


ONE_HOT = ("filename,dog,cat", "1.png,0,1", "2.png,1.0,0.0", "3.png,0,1")


def test_columns_with_exactly_one_1_a_row_are_one_class(write):
    file = write(*ONE_HOT, images=["1.png", "2.png", "3.png"])
    assert labels_of(file) == {"1.png": "cat", "2.png": "dog", "3.png": "cat"}
    assert "'dog', 'cat' (classes)" in said(file)


def test_columns_with_any_number_of_1s_are_several_classes(write):
    file = write(*ONE_HOT, "4.png,1,1", "5.png,0,0", images=[f"{i}.png" for i in range(1, 6)])
    images = read_list(file)["all"]
    assert images.class_names == ["cat", "dog"]
    assert images.labels.dtype == bool
    assert images.labels.astype(int).tolist() == [[1, 0], [0, 1], [1, 0], [1, 1], [0, 0]]


def test_another_column_beside_them_is_not_taken_for_a_class_and_they_can_be_named(write):
    file = write("filename,dog,cat,age", "1.png,0,1,7", "2.png,1,0,1", images=["1.png", "2.png"])
    with pytest.raises(MaxViTError, match="'dog', 'cat', 'age' could be labels"):
        read_list(file)
    assert labels_of(file, "cat", "dog") == {"1.png": "cat", "2.png": "dog"}


def test_two_usual_names_are_not_taken_for_classes(write):
    file = write("filename,class,target", "a.png,0,1", "b.png,1,0", images=["a.png", "b.png"])
    with pytest.raises(MaxViTError, match="'class', 'target' could be labels"):
        read_list(file)


def test_named_columns_of_shares_are_soft_labels(write):
    file = write("filename,dog,cat", "1.png,0.25,0.75", "2.png,1,0", images=["1.png", "2.png"])
    assert np.asarray(read_list(file, ListColumns(labels=("dog", "cat")))["all"].labels).tolist() == [
        [0.75, 0.25],
        [0, 1],
    ]


def test_classes_in_a_cell_are_separated_by_bars(write):
    file = write("filename,findings", "1.png,a|b", "2.png,c", images=["1.png", "2.png"])
    assert np.asarray(read_list(file)["all"].labels).tolist() == [[True, True, False], [False, False, True]]


def test_measured_numbers_are_no_classes(write):
    file = write("filename,age", "1.png,3.5", "2.png,4.25", images=["1.png", "2.png"])
    with pytest.raises(
        MaxViTError, match=r"'age' of .* holds numbers, such as 3\.5, .*: for numbers .* --task regression"
    ):
        read_list(file)


# whoever reads lists


def test_parts_have_their_usual_names(write):
    lines = ["1.png,a,Training", "2.png,b,train", "3.png,a,valid", "4.png,b,TEST"]
    splits = load_list(write("path,label,split", *lines, images=[f"{i}.png" for i in range(1, 5)]))
    assert (splits.train.names, splits.val.names, splits.test.names) == (["1.png", "2.png"], ["3.png"], ["4.png"])


@pytest.mark.parametrize(("header", "told"), [("split", ""), ("Split", "; parts by column 'Split'"), ("set", "'set'")])
def test_the_column_of_the_parts_is_known_in_any_case_and_by_what_it_holds(write, header, told):
    lines = ["1.png,train,a", "2.png,Train,b", "3.png,test,a", "4.png,TEST,b"]
    parts = read_list(write(f"path,{header},kind", *lines, images=[f"{i}.png" for i in range(1, 5)]))
    assert {part: images.names for part, images in parts.items()} == {
        "train": ["1.png", "2.png"],
        "test": ["3.png", "4.png"],
    }
    assert parts["train"].class_names == ["a", "b"]
    assert told in parts["train"].columns


def test_classes_that_are_called_as_parts_are_classes(write):
    file = write("path,kind", "1.png,train", "2.png,test", images=["1.png", "2.png"])
    assert labels_of(file) == {"1.png": "train", "2.png": "test"}


def test_columns_reach_every_way_to_read_a_list(write):
    lines = [f"{i}.png,{'ab'[i % 2]},{i}" for i in range(8)]
    file, columns = (
        write("image,kind,age", *lines, images=[f"{i}.png" for i in range(8)]),
        ListColumns("image", ("kind",)),
    )
    assert load_images(str(file), 0.25, 0, columns).train.class_names == ["a", "b"]
    assert load_eval(str(file), ["b", "a"], columns).labels == [1, 0] * 4
    assert read_parts(str(file), columns)["all"].others == {"age": [str(i) for i in range(8)]}


@pytest.mark.parametrize("columns", [ListColumns("image"), ListColumns(labels=("a",))])
def test_columns_of_what_is_not_a_list_are_refused(tmp_path, columns):
    with pytest.raises(MaxViTError, match=r"is not a list, whose columns could be named: leave --image-column and"):
        load_images(str(tmp_path), 0.2, 0, columns)
    with pytest.raises(MaxViTError, match="the images are not given as a list"):
        gather([tmp_path, tmp_path], columns)


def test_to_predict_the_images_alone_are_looked_for_and_the_rest_is_kept(write):
    found = gather([write("name,label,age", "1,a,3", "2,,4", images=["in/1.png", "in/2.png"])])
    assert ([p.name for p in found.sources], found.names) == (["1.png", "2.png"], ["1", "2"])
    assert (found.labels, found.others) == (["a", ""], {"age": ["3", "4"]})
    assert found.columns == "; columns 'name' (image) (guessed; --image-column chooses others); images found in in/"


def test_a_kept_column_gives_way_to_a_name_that_is_taken():
    names = name_beside(["age", "path", "list_path", "x"], {"path", "x"})
    assert names == {"age": "age", "path": "list_list_path", "list_path": "list_path", "x": "list_x"}
