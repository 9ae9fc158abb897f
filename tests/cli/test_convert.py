"""maxvit convert: what was read and what was written, in two or three lines."""

import dataclasses
import json

import pytest
import timm
import torch
from safetensors.torch import load_file

import maxvit
from healthy import fill
from maxvit.checkpoints.timm import to_timm
from maxvit.config import TORCHVISION, VARIANTS
from official import CHECKPOINT, difference, golden


@pytest.fixture
def tiny(tmp_path):
    """timm's tiny network for small images, as one of its pickles."""
    theirs = fill(timm.create_model("maxvit_tiny_tf_224", img_size=64, num_classes=7))
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "tiny.pth")
    return theirs


def test_an_official_checkpoint_becomes_ours_and_what_was_assumed_is_said(run, tmp_path):
    target = tmp_path / "b.safetensors"
    code, out, err = run("convert", CHECKPOINT, target)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"read TensorFlow {CHECKPOINT.name}: a MaxViT of no published variant, 10 classes, 224 x 224 pixels",
        "assumed: made for 224 pixels, which official files do not say; image_size sets another",
        f"wrote {target}: 404,496 parameters; load it with: maxvit.load_model({str(target)!r})",
    ]
    assert "assumed: made for 224 pixels" in run("info", target)[1]
    assert json.loads(run("info", target, "--json")[1])["assumed"].startswith("made for 224 pixels")


def test_image_size_says_what_an_official_checkpoint_was_made_for(run, tmp_path):
    out = run("convert", CHECKPOINT, tmp_path / "b.safetensors", "--image-size", "384")[1]
    assert "384 x 384 pixels" in out
    assert "assumed" not in out + run("info", tmp_path / "b.safetensors")[1]
    expected = golden("micro_384")
    with torch.inference_mode():
        logits = maxvit.load_model(tmp_path / "b.safetensors")(expected["images"])
    assert difference(logits, expected["logits"]) < 2e-5


def test_raw_weights_are_written_when_asked(run, tmp_path):
    assert run("convert", CHECKPOINT, tmp_path / "b.safetensors", "--raw")[0] == 0
    expected = golden("micro_224")
    with torch.inference_mode():
        logits = maxvit.load_model(tmp_path / "b.safetensors")(expected["images"])
    assert difference(logits, expected["logits_of_raw_weights"]) < 2e-5


def test_a_pickle_of_timm_becomes_ours_and_then_timms_again(run, tiny, tmp_path):
    ours, again = tmp_path / "ours.safetensors", tmp_path / "again.safetensors"
    code, out, _ = run("convert", tmp_path / "tiny.pth", ours)
    assert code == 0
    assert out.startswith("read timm tiny.pth: maxvit_tiny, 7 classes, 64 x 64 pixels\nwrote ")
    code, out, err = run("convert", ours, again, "--to", "timm")
    assert (code, err) == (0, "")
    call = "timm.create_model('maxvit_tiny_tf_224', num_classes=7, img_size=(64, 64))"
    assert out.splitlines()[-1].endswith(f"load it with: {call}")
    state = load_file(again)
    assert state.keys() == tiny.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in tiny.state_dict().items())


def test_another_size_is_materialised_for_timm(run, tiny, tmp_path):
    run("convert", tmp_path / "tiny.pth", tmp_path / "b.safetensors", "--to", "timm", "--image-size", "96")
    larger = maxvit.load_model(tmp_path / "tiny.pth", image_size=96)
    theirs = timm.create_model("maxvit_tiny_tf_224", img_size=96, num_classes=7).eval()
    theirs.load_state_dict(load_file(tmp_path / "b.safetensors"), strict=True)
    x = torch.randn(1, 3, 96, 96)
    with torch.inference_mode():
        assert difference(theirs(x), larger(x)) < 2e-5


def test_what_timm_computes_otherwise_is_refused_and_nothing_is_written(run, tmp_path):
    config = dataclasses.replace(VARIANTS["maxvit_micro"], dialect=TORCHVISION)
    maxvit.MaxViT(config).save(tmp_path / "a.safetensors")
    code, out, err = run("convert", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--to", "timm")
    assert (code, out) == (2, "")
    assert err.startswith(
        "error: timm's networks compute as the official one or as its own, and this one differs in gelu"
    )
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("multi_label", [True, False])
def test_what_the_outputs_mean_is_said_where_timms_file_does_not_hold_it(run, tmp_path, multi_label):
    config = dataclasses.replace(VARIANTS["maxvit_micro"], multi_label=multi_label, threshold=0.375)
    maxvit.MaxViT(config).save(tmp_path / "a.safetensors")
    assert run("convert", tmp_path / "a.safetensors", tmp_path / "ours.safetensors")[::2] == (0, "")
    code, _, err = run("convert", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--to", "timm")
    said = (
        "timm's files do not hold what the outputs mean: take the sigmoid of each, not a softmax over all; a class is "
        "predicted from 0.375 up\n"
    )
    assert (code, err) == (0, said if multi_label else "")


def test_a_format_that_is_unknown_is_named(run, tiny, tmp_path):
    code, _, err = run("convert", tmp_path / "tiny.pth", tmp_path / "b.safetensors", "--to", "tim")
    assert code == 2
    assert err == "error: unknown format 'tim': did you mean 'timm'?\n"


def test_a_file_that_exists_is_replaced_only_with_force_for_timm_too(run, tiny, tmp_path):
    target = tmp_path / "b.safetensors"
    target.write_text("mine")
    code, _, err = run("convert", tmp_path / "tiny.pth", target, "--to", "timm")
    assert (code, target.read_text()) == (2, "mine")
    assert err.startswith(f"error: {target} exists already")
    assert run("convert", tmp_path / "tiny.pth", target, "--to", "timm", "--force")[0] == 0


def test_timms_own_networks_are_read_and_written_back(run, tmp_path):
    theirs = fill(timm.create_model("test_maxvit"))
    torch.save(theirs.state_dict(), tmp_path / "test.pth")
    assert run("convert", tmp_path / "test.pth", tmp_path / "ours.safetensors")[0] == 0
    assert run("convert", tmp_path / "ours.safetensors", tmp_path / "back.safetensors", "--to", "timm")[0] == 0
    back = load_file(tmp_path / "back.safetensors")
    assert back.keys() == theirs.state_dict().keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in theirs.state_dict().items())


def test_other_architectures_of_timm_are_refused_in_one_sentence(run, tmp_path):
    torch.save(timm.create_model("test_coatnet").state_dict(), tmp_path / "test.pth")
    code, out, err = run("convert", tmp_path / "test.pth", tmp_path / "b.safetensors")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "are in none of timm's MaxViTs (maxvit_*), which alone can be read" in err


def test_the_micro_network_has_no_name_in_timm(run, tmp_path):
    model = maxvit.create_model("maxvit_micro")
    model.save(tmp_path / "a.safetensors")
    out = run("convert", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--to", "timm")[1]
    assert "timm.models.maxxvit.MaxxVit with img_size=(128, 128), as timm has no name for these blocks" in out
    state = load_file(tmp_path / "b.safetensors")
    assert all(torch.equal(state[n], t) for n, t in to_timm(model.state_dict(), model.config).items())


def test_the_name_of_a_published_checkpoint_says_its_size(run, tmp_path):
    by_name, by_size = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    code, out, _ = run("convert", CHECKPOINT, by_name, "--name", "in1k-384")
    assert code == 0
    assert "384 x 384 pixels" in out
    assert "assumed" not in out
    run("convert", CHECKPOINT, by_size, "--image-size", "384")
    assert maxvit.load_model(by_name).metadata() == maxvit.load_model(by_size).metadata()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--name", "in1k-383"), "unknown published checkpoint 'in1k-383': did you mean 'in1k-384'?"),
        (("--name", "in1k-384", "--image-size", "512"), "in1k-384 says the image size, and 512 was given too"),
    ],
)
def test_a_name_that_says_nothing_or_too_much_is_refused(run, tmp_path, options, says):
    code, _, err = run("convert", CHECKPOINT, tmp_path / "a.safetensors", *options)
    assert code == 2
    assert says in err
    assert not (tmp_path / "a.safetensors").exists()


def test_raw_weights_of_a_file_of_one_set_are_refused_in_words_of_the_command(run, tmp_path):
    maxvit.create_model("maxvit_micro").save(tmp_path / "a.safetensors")
    code, _, err = run("convert", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--raw")
    assert (code, err) == (
        2,
        f"error: {tmp_path / 'a.safetensors'}: it holds one set of weights, and not averaged and raw ones: do not ask "
        "for the raw ones\n",
    )
