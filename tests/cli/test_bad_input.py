"""A mistake of the user's: one sentence, exit code 2, and nothing half-written."""

import errno
import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from maxvit import storage
from maxvit.cli import main
from maxvit.create import load_model
from maxvit.data import folder as data_folder
from maxvit.inference.device import choose_device
from maxvit.kernels.optimize import optimize
from maxvit.training.choose import _quoted
from small import write_images, write_truncated_jpeg


@pytest.fixture
def refused(capsys):
    """Run a command that must fail, and give its sentence: refused("predict", checkpoint, image)."""

    def call(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        while err.startswith(
            ("data: ", "evaluated on ", "the published weights ", "starts from ", "training by ")
        ):  # it had begun
            err = err.split("\n", 1)[1]
        assert err.startswith("error: ")
        assert err.count("\n") == 1, err
        assert "Traceback" not in err
        return err.removeprefix("error: ").rstrip("\n")

    return call


@pytest.fixture
def refused_training(refused, small, tmp_path):
    """Train on a folder that cannot be used, and give the sentence."""

    def call(data, *options):
        sentence = refused("train", data, *small, "--out", tmp_path / "out" / "run", *options)
        assert not (tmp_path / "out").exists()
        return sentence

    return call


def temporary_files(folder):
    return [path.name for path in folder.rglob(".*")]


# training data


def test_a_data_folder_that_is_missing(refused_training, tmp_path):
    assert refused_training(tmp_path / "none") == f"{tmp_path / 'none'} does not exist: check the path"


def test_a_data_folder_that_is_a_file(refused_training, images):
    assert "is a file: give a folder that holds a folder of images for each class" in refused_training(
        images / "red" / "0.png"
    )


def test_a_data_folder_that_is_empty(refused_training, tmp_path):
    (tmp_path / "data").mkdir()
    sentence = refused_training(tmp_path / "data")
    assert "must hold a folder of images for each class" in sentence
    assert sentence.endswith("it holds nothing")


def test_a_run_folder_that_would_be_a_class_of_the_next_run(refused, images, small, monkeypatch):
    sentence = refused("train", images, *small, "--out", images / "runs" / "one")
    assert sentence.startswith(f"{images / 'runs' / 'one'} is in {images}, whose folders are data")
    monkeypatch.chdir(images)
    assert "runs/" in refused("train", ".", *small)
    assert not (images / "runs").exists()


def test_a_folder_of_one_s_own_that_is_called_digits(refused, images, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(images, "digits")
    assert "write ./digits for the folder" in refused("train", "digits", *small, "--out", tmp_path / "run")
    (tmp_path / "digits" / "config.yaml").touch()  # a run of that name is none
    assert "--out" in refused("train", "digits", *small, "--out", tmp_path / "digits")


def test_a_path_of_any_characters_is_that_path(refused_training, tmp_path):
    assert refused_training(tmp_path / "p\U0001f600").startswith(f"{tmp_path / 'p'}\U0001f600 does not exist")
    for name in ("p\U0001f600", os.fsdecode(b"caf\xe9"), "a\x85b #: 'c'", "2024", 200 * "long "):
        assert yaml.safe_load(_quoted(name)) == name
        assert "\n" not in _quoted(name)


def test_a_data_folder_of_loose_files(refused_training, images):
    assert refused_training(images / "red").endswith("it holds only loose files")


def test_a_data_folder_with_one_class(refused_training, images, tmp_path):
    shutil.copytree(images / "red", tmp_path / "data" / "red")
    assert refused_training(tmp_path / "data").endswith("it holds one class only, 'red': add a second one")


def test_a_class_folder_that_is_empty(refused_training, images, tmp_path):
    data = shutil.copytree(images, tmp_path / "data")
    (data / "yellow").mkdir()
    assert refused_training(data) == f"class folder {data / 'yellow'} holds no images: fill it or remove it"


def test_a_data_folder_without_an_image_that_can_be_read(refused_training, images, tmp_path):
    data = shutil.copytree(images, tmp_path / "data")
    for path in data.rglob("*.png"):
        path.write_text("hello")
    sentence = refused_training(data)
    assert "0 of the 19 training images can be read, at least 2 must be" in sentence
    assert "is not an image that can be read" in sentence


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_held_out_folder_without_an_image_that_can_be_read(refused_training, images, tmp_path, part):
    data = tmp_path / "data"
    for name in ("train", "val", "test"):
        shutil.copytree(images, data / name)
    for path in (data / part).rglob("*.png"):
        path.write_text("hello")
    assert "images can be read, at least 1 must be; the first: " in refused_training(data)


def test_a_data_folder_that_may_not_be_read(refused_training, images, monkeypatch):
    def forbidden(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(data_folder, "find_images", forbidden)
    assert refused_training(images) == f"{images / 'blue'}: Permission denied; check permissions and free space"


def test_broken_images_of_a_data_folder_are_counted_and_the_training_goes_on(images, small, tmp_path, capsys):
    data = shutil.copytree(images, tmp_path / "data")
    write_truncated_jpeg(data / "blue" / "half.jpg")
    for i in range(12):  # more than are named one by one
        (data / "red" / f"text_{i}.png").write_text("hello")
    options = [*small, "--set", "data.max_unreadable_fraction=0.5"]
    code = main(["train", str(data), *options, "--out", str(tmp_path / "run")])
    out, err = capsys.readouterr()
    assert code == 0
    assert out.startswith("accuracy ")
    assert err.count("left out: ") == 10
    assert err.endswith("13 of the images could not be read and were left out\n")
    assert (tmp_path / "run" / "report.html").is_file()


def test_too_many_broken_images_end_the_training(refused, images, small, tmp_path):
    data = shutil.copytree(images, tmp_path / "data")
    for i in range(12):
        (data / "red" / f"text_{i}.png").write_text(f"hello {i}")
    sentence = refused("train", data, *small, "--out", tmp_path / "run")
    assert re.fullmatch(
        r"more than data.max_unreadable_fraction \(10%\) of the images cannot be read; \d of 29, the first: "
        r".*text_\d+.png is not an image that can be read: mend them, or raise the limit",
        sentence,
    )


# images to predict


def test_an_image_that_is_missing(refused, trained):
    assert refused("predict", trained.checkpoint, "none.png") == "none.png does not exist: check the path"


def test_an_image_that_is_text(refused, trained, tmp_path):
    (tmp_path / "text.png").write_text("hello")
    sentence = refused("predict", trained.checkpoint, tmp_path / "text.png")
    assert sentence == f"{tmp_path / 'text.png'} is not an image that can be read"


def test_an_image_that_is_truncated(refused, trained, tmp_path):
    path = write_truncated_jpeg(tmp_path / "half.jpg")
    assert refused("predict", trained.checkpoint, path).startswith(f"{path} is damaged: ")


def test_a_folder_without_images(refused, trained, tmp_path):
    assert refused("predict", trained.checkpoint, tmp_path) == f"folder {tmp_path} holds no images"


def test_a_list_or_shards_to_print(refused, trained, tmp_path):
    (tmp_path / "list.csv").write_text("path\n1.png\n")
    (tmp_path / "train-0.tar").touch()
    wanted = {tmp_path / "list.csv": "a list", tmp_path: "a folder of shards"}
    for place, what in wanted.items():
        sentence = (
            f"{place} is read as {what}, whose predictions go into a file: add --out, such as --out predicted.csv"
        )
        assert refused("predict", trained.checkpoint, place) == sentence


def test_a_file_in_place_of_the_folder_of_pictures(refused, trained, images, tmp_path):
    (tmp_path / "file").touch()
    sentence = refused("predict", trained.checkpoint, images, "--pictures", tmp_path / "file")
    assert sentence == f"{tmp_path / 'file'} is a file, and a folder to write to is wanted: choose another name"


def test_the_other_images_are_predicted(trained, images, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("hello")
    good, here = [images / "red" / "0.png", images / "blue" / "1.png"], choose_device()
    given = [good[0], tmp_path / "text.png", tmp_path / "empty", "none.png", good[1]]
    code = main(["predict", str(trained.checkpoint), *map(str, given)])
    out, err = capsys.readouterr()
    assert code == 2
    assert [line.split(": ")[0] for line in out.splitlines()] == [str(path) for path in good]
    assert err.splitlines() == [
        f"error: folder {tmp_path / 'empty'} holds no images",
        "data: 4 images",
        f"error: {tmp_path / 'text.png'} is not an image that can be read",
        "error: none.png does not exist: check the path",
        f"engine: {optimize(load_model(trained.checkpoint).to(here)).engine}, optimised on {here.type}",
        "2 of 4 images could not be read",
    ]


def test_a_folder_without_images_beside_good_ones_is_still_a_mistake(trained, images, tmp_path, capsys):
    assert main(["predict", str(trained.checkpoint), str(images), str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 24
    assert err.startswith(f"error: folder {tmp_path} holds no images\n")


# names and options


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["info", "maxvit_tinny"], "unknown model 'maxvit_tinny': did you mean 'maxvit_tiny'?"),
        (["info", "resnet50"], "unknown model 'resnet50': known are maxvit_micro, maxvit_pico, "),
        (["info", "maxvit_tiny", "--image-size", "0"], "image_size is (0, 0)"),
        (["train", "--model", "maxvit_huge"], "model.name is 'maxvit_huge': input should be 'maxvit_micro', "),
        (["train", "--recipe", "digit"], "unknown recipe 'digit': did you mean 'digits'?"),
        (["train", "--recipe", "none.yaml"], "recipe none.yaml does not exist: check the path"),
        (["train", "--set", "data.batch_size"], "'data.batch_size' is not a setting; write section.key=value"),
        (["train", "--set", "data.batchsize=3"], "unknown setting 'data.batchsize': did you mean 'data.batch_size'?"),
        (["train", "--set", "data.batch_size=1"], "data.batch_size is 1: input should be greater than or equal to 2"),
        (
            ["train", "--set", "task.augmentation=fotos"],
            "task.augmentation is 'fotos': input should be 'none', 'characters' or 'photos'",
        ),
        (["train", "--set", "data.mean=[1"], "'data.mean=[1' has a value that cannot be read"),
        (["train", "--set", "data.image_size=31"], "image_size is (31, 31); the smallest side is 32 pixels"),
        (["train", "--resume", "none"], "none does not exist; give a run folder"),
        (["train", "photos", "--resume", "run"], "--resume continues a run with its own recipe; DATA was given too"),
        (["train", "--resume", "run", "--set", "seed=1"], "--resume continues a run with its own recipe; --set was"),
        (["train", "--resume", "run", "--workers", "0"], "--resume continues a run with its own recipe; --workers was"),
        (
            ["train", "photos", "--epochs", "-1"],
            "optimization.epochs is -1: input should be greater than or equal to 0",
        ),
        (["train", "--resume", "run", "--out", "run2"], "--resume continues a run with its own recipe; --out was"),
        (["report", "none"], "none does not exist; give a run folder"),
        (["convert", "a", "b.pt"], "b.pt does not end in .safetensors: name it b.safetensors"),
        (
            ["convert", "none", "b.safetensors"],
            "none is not a file or a folder here, nor the name of published weights",
        ),
    ],
)
def test_a_name_or_value_that_does_not_exist(refused, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    assert refused(*arguments).startswith(sentence)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bogus"], ["'bogus'", "see maxvit --help"]),
        (["train", "--bogus"], ["--bogus", "see maxvit train --help"]),
        (["predict"], ["checkpoint", "see maxvit predict --help"]),
        (["predict", "c.safetensors", "i.png", "--top-k", "0"], ["--top-k", "1", "see maxvit predict --help"]),
        (["evaluate", "c.safetensors", "--batch-size", "x"], ["--batch-size", "integer", "see maxvit evaluate --help"]),
        (["evaluate", "c.safetensors", "--workers", "-1"], ["--workers", "0", "see maxvit evaluate --help"]),
    ],
)
def test_a_wrong_command_or_option(refused, arguments, words):
    sentence = refused(*arguments)
    assert [word for word in words if word not in sentence.lower()] == []


# checkpoints


def changed(trained, path, **metadata):
    """The checkpoint with another description."""
    tensors, before = storage.load(trained.checkpoint)
    storage.save(path, tensors, {**before, **metadata})
    return path


@pytest.fixture(params=["predict", "evaluate", "info", "convert"])
def refused_checkpoint(request, refused, images, tmp_path):
    """Hand a checkpoint that cannot be used to each command that takes one, and give the sentence."""
    others = {
        "predict": [images / "red" / "0.png"],
        "evaluate": [images],
        "info": [],
        "convert": [tmp_path / "new.safetensors"],
    }

    def call(path):
        sentence = refused(request.param, path, *others[request.param])
        assert not (tmp_path / "new.safetensors").exists()
        return sentence

    return call


def test_a_checkpoint_that_is_missing(refused_checkpoint, tmp_path):
    path = tmp_path / "none.safetensors"
    assert refused_checkpoint(path) == f"{path} does not exist: check the path"


def test_a_checkpoint_that_is_a_folder(refused_checkpoint, images):
    sentence = (
        f"{images} is a folder without best.safetensors or model.safetensors; give the .safetensors file inside it"
    )
    assert refused_checkpoint(images) == sentence


@pytest.mark.parametrize("length", [0, 7, 1000, 100_000, -1])
def test_a_checkpoint_that_is_truncated(refused, trained, tmp_path, length):
    path = tmp_path / "half.safetensors"
    path.write_bytes(trained.checkpoint.read_bytes()[:length])
    sentence = refused("info", path)
    assert sentence.startswith(f"{path} is " + ("not a complete safetensors file" if length else "empty"))
    assert sentence.endswith("copy it again")


def test_a_checkpoint_of_random_bytes(refused_checkpoint, tmp_path):
    path = tmp_path / "random.safetensors"
    path.write_bytes(bytes(torch.randint(256, (5000,)).tolist()))
    assert refused_checkpoint(path).startswith(f"{path} is not a complete safetensors file")


def test_random_bytes_by_the_name_of_a_pytorch_file(refused_checkpoint, tmp_path):
    path = tmp_path / "random.pth"
    path.write_bytes(b"\1\2garbage" * 99)
    assert refused_checkpoint(path) == (
        f"{path} is neither a file of PyTorch nor of safetensors: it may be damaged, copy it again"
    )


def test_a_checkpoint_of_another_program(refused_checkpoint, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"layer1.weight": torch.zeros(3)}, path)
    sentence = refused_checkpoint(path)
    assert sentence.startswith(f"{path} is not a MaxViT that is known (it holds layer1.weight); readable are ")


def test_a_checkpoint_that_describes_another_network_than_it_holds(refused_checkpoint, trained, tmp_path):
    config = storage.load_metadata(trained.checkpoint)["config"]
    path = changed(trained, tmp_path / "d.safetensors", config={**config, "depths": [1, 1, 1, 1]})
    sentence = refused_checkpoint(path)
    assert sentence.startswith(f"{path} does not hold the network that it describes: stages.1.1.")
    assert sentence.endswith(" more")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("config", {"dpths": [1, 1, 1, 1]}, "unknown configuration key 'dpths': did you mean 'depths'?"),
        ("config", {"channels": ["many"]}, "channels is ('many',); it takes positive whole numbers"),
        ("config", "tiny", "config is 'tiny'; it takes a dictionary of settings"),
        ("preprocessing", {"image_size": [8, 8]}, "image_size is (8, 8); it takes (height, width) from 32 up"),
        ("preprocessing", 7, "preprocessing is 7; it takes a dictionary of settings"),
        ("preprocessing", {"mean": ["a", 0, 0]}, "mean is ('a', 0, 0); it takes numbers that are finite"),
        ("class_names", ["red"], "1 class names were given for 3 classes"),
        ("class_names", 5, "'int' has no len()"),
        ("class_names", "abc", "class_names is 'abc'; it takes a list"),
    ],
)
def test_a_checkpoint_whose_description_makes_no_sense(refused, trained, tmp_path, key, value, reason):
    path = changed(trained, tmp_path / "d.safetensors", **{key: value})
    sentence = refused("info", path)
    assert sentence.startswith(f"the description in {path} cannot be used: ")
    assert reason in sentence


def test_a_checkpoint_evaluated_on_data_of_other_classes(refused, trained, images, tmp_path):
    for name in ("cat", "dog"):
        shutil.copytree(images / "red", tmp_path / name)
    sentence = refused("evaluate", trained.checkpoint, tmp_path)
    assert sentence == f"{tmp_path / 'cat'} is not a class of the model; its 3 classes are blue, green, red"


def test_a_checkpoint_evaluated_on_data_of_more_classes(refused, trained, images, tmp_path):
    data = shutil.copytree(images, tmp_path / "data")
    shutil.copytree(images / "red", data / "yellow")
    sentence = refused("evaluate", trained.checkpoint, data)
    assert sentence == f"{data / 'yellow'} is not a class of the model; its 3 classes are blue, green, red"


def test_a_checkpoint_of_three_classes_evaluated_on_the_ten_digits(refused, trained):
    sentence = refused("evaluate", trained.checkpoint, "digits")
    assert sentence == "digits: '0' is not a class of the model; its 3 classes are blue, green, red"


def test_data_to_evaluate_on_that_is_missing(refused, trained, tmp_path):
    assert (
        refused("evaluate", trained.checkpoint, tmp_path / "none")
        == f"{tmp_path / 'none'} does not exist: check the path"
    )


def test_a_setting_that_the_task_has_not(refused, trained, images, tmp_path):
    for words in (["evaluate", trained.checkpoint, images], ["predict", trained.checkpoint, images / "red" / "0.png"]):
        assert refused(*words, "--set", "topk=3") == "unknown setting 'task.topk': did you mean 'task.top_k'?"
        assert refused(*words, "--set", "name=detection").startswith("--set cannot change the task of a checkpoint")
        assert "is for classification, and --task aesthetics was given" in refused(*words, "--task", "aesthetics")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--size", "0"], "image_size is (0, 0); it takes (height, width) from 32 up"),
        (["--size", "31x64"], "image_size is (31, 64); it takes (height, width) from 32 up"),
        (["--size", "0", "--scale-windows"], "image_size is (0, 0); it takes positive whole numbers"),
        (["--size", "x"], "size 'x' cannot be read: write pixels a side, 224, or HEIGHTxWIDTH, 224x320"),
        (["--size", "-64"], "size '-64' cannot be read"),
        (["--size", "64x"], "size '64x' cannot be read"),
        (["--size", "64x64x3"], "size '64x64x3' cannot be read"),
        (["--size", "64.5"], "size '64.5' cannot be read"),
        (["--size", "9" * 5000], "size '999"),
        (["--size", "64", "--size", "64x64"], "size 64 x 64 is given twice: give each size once"),
        (["--scale-windows"], "--scale-windows is for --size, which was not given: add it, or leave --scale-windows"),
        (["--size", "64", "--scale-windows", "--engine", "onnxruntime"], "windows are built into an exported file"),
        (["--tta", "rotate"], "unknown test-time augmentation 'rotate': known are none, flip"),
        (["--tta", "flips"], "unknown test-time augmentation 'flips': did you mean 'flip'?"),
    ],
)
def test_a_way_to_evaluate_that_does_not_exist(refused, trained, images, tmp_path, options, sentence):
    assert refused("evaluate", trained.checkpoint, images, *options, "--out", tmp_path / "out").startswith(sentence)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "deeper"])
def test_an_evaluation_is_not_written_over_a_file(refused, trained, images, tmp_path, below):
    (tmp_path / "file").write_text("mine")
    sentence = refused("evaluate", trained.checkpoint, images, "--out", tmp_path / "file" / below)
    assert sentence == f"{tmp_path / 'file'} is a file, and a folder to write to is wanted: choose another name"
    assert (tmp_path / "file").read_text() == "mine"


# run folders


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_folder_that_exists_is_left_as_it_is(refused, trained, images, small):
    before = contents(trained.run)
    sentence = refused("train", images, *small, "--out", trained.run)
    assert sentence.startswith(f"{trained.run} exists already: choose another --out, or continue that run with")
    assert contents(trained.run) == before


def test_a_finished_run_is_not_resumed(refused, trained):
    before = contents(trained.run)
    assert refused("train", "--resume", trained.run).startswith(
        f"{trained.run} is finished: it has done all of its epochs (1)"
    )
    assert contents(trained.run) == before


def test_a_run_folder_below_a_file(refused, images, small, tmp_path):
    (tmp_path / "file").write_text("mine")
    sentence = refused("train", images, *small, "--out", tmp_path / "file" / "run")
    assert sentence.startswith(f"cannot write {tmp_path / 'file' / 'run' / 'config.yaml'}: Not a directory")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_folder_that_is_a_file(refused, images, small, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "exists already" in refused("train", images, *small, "--out", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_folder_that_may_not_be_made(refused_training, images, monkeypatch, tmp_path):
    def forbidden(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", forbidden)
    sentence = refused_training(images)
    assert sentence.endswith("config.yaml: Permission denied; choose a folder that can be written to")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to(refused_training, images, tmp_path):
    tmp_path.chmod(0o500)
    sentence = refused_training(images)
    tmp_path.chmod(0o700)
    assert sentence.endswith("config.yaml: Permission denied; choose a folder that can be written to")


# full disks


@pytest.fixture
def full_disk(monkeypatch):
    """No file whose name ends so can be put in its place."""

    def arm(ending):
        def replace(source, target):
            if str(target).endswith(ending):
                raise OSError(errno.ENOSPC, "No space left on device")
            original(source, target)

        original = os.replace
        monkeypatch.setattr(os, "replace", replace)

    return arm


def test_a_full_disk_leaves_the_earlier_file(refused, trained, tmp_path, full_disk):
    target = tmp_path / "b.safetensors"
    target.write_text("mine")
    full_disk("b.safetensors")
    sentence = refused("convert", trained.checkpoint, target, "--force")
    assert sentence == f"cannot write {target}: No space left on device; free some space or choose another folder"
    assert contents(tmp_path) == {target: b"mine"}


def test_a_file_that_may_not_grow_leaves_the_earlier_file(refused, trained, tmp_path):
    resource = pytest.importorskip("resource", reason="limits of the operating system")
    target = tmp_path / "b.safetensors"
    target.write_text("mine")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))  # the checkpoint has five million bytes
    try:
        sentence = refused("convert", trained.checkpoint, target, "--force")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sentence.startswith(f"cannot write {target}: ")
    assert "free some space or choose another folder" in sentence
    assert contents(tmp_path) == {target: b"mine"}


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors", "metrics.csv"])
def test_a_disk_that_fills_while_training(refused, images, small, tmp_path, full_disk, name):
    full_disk(name)
    sentence = refused("train", images, *small, "--out", tmp_path / "run")
    assert sentence.startswith(f"cannot write {tmp_path / 'run' / name}: No space left on device; free some space")
    assert not (tmp_path / "run" / name).exists()
    assert temporary_files(tmp_path) == []


def test_a_disk_that_fills_while_a_state_is_written_leaves_the_last_good_one(refused, images, small, tmp_path):
    resource = pytest.importorskip("resource", reason="limits of the operating system")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (13_000_000, before[1]))  # the first state has 10 million, others 20
    try:
        sentence = refused("train", images, *small, "--out", tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sentence.startswith(f"cannot write {tmp_path / 'run' / 'states' / '000000003.state'}: ")
    assert [path.name for path in (tmp_path / "run" / "states").iterdir()] == ["000000000.state"]
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0


def test_a_run_that_a_full_disk_ended_can_be_resumed(refused, images, small, tmp_path, full_disk, monkeypatch):
    full_disk(".state")
    sentence = refused("train", images, *small, "--out", tmp_path / "run")
    assert sentence.startswith(
        f"cannot write {tmp_path / 'run' / 'states' / '000000000.state'}: No space left on device"
    )
    assert temporary_files(tmp_path) == []
    monkeypatch.undo()
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_full_disk_leaves_the_earlier_report(refused, trained, tmp_path, full_disk):
    run = shutil.copytree(trained.run, tmp_path / "run")
    before = contents(run)
    full_disk("report.html")
    assert refused("report", run).startswith(f"cannot write {run / 'report.html'}: No space left on device")
    assert contents(run) == before


def test_a_disk_without_room_for_a_new_file_leaves_none(refused, trained, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    sentence = refused("convert", trained.checkpoint, tmp_path / "b.safetensors")
    assert "No space left on device" in sentence
    assert list(tmp_path.iterdir()) == []


# runs that are damaged


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("config.yaml", "data: [1", ["config.yaml is not YAML"]),
        ("config.yaml", "- 1", ["holds no sections"]),
        ("config.yaml", "data: 3", ["data is 3", "section"]),
        ("metrics.csv", "epoch\nx\n", ["metrics.csv is damaged"]),
        ("best.safetensors", "hello", ["best.safetensors is text ('hello'), and not a file of weights"]),
    ],
)
def test_a_run_with_a_damaged_file_has_no_report(refused, trained, tmp_path, name, text, words):
    run = shutil.copytree(trained.run, tmp_path / "run")
    (run / name).write_text(text)
    before = contents(run)
    sentence = refused("report", run)
    assert [word for word in words if word not in sentence] == []
    assert contents(run) == before


def test_a_run_whose_data_is_gone(refused, small, tmp_path):
    data = write_images(tmp_path / "data", number=4)
    assert main(["train", str(data), *small, "--out", str(tmp_path / "run")]) == 0
    data.rename(tmp_path / "elsewhere")
    assert refused("report", tmp_path / "run") == f"{data} does not exist: check the path"
