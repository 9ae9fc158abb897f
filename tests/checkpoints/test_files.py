"""Files of PyTorch: what is inside counts, nothing inside is run, and what cannot be read is named."""

import argparse
import builtins
import io
import os
import pickle
import zipfile

import pytest
import torch
from torch import nn

from maxvit import MaxViT, MaxViTConfig, MaxViTError, load_model
from maxvit.checkpoints.files import read_weights
from maxvit.checkpoints.timm import to_timm

CONFIG = MaxViTConfig(
    stem_channels=4, channels=(4, 8, 8, 8), depths=(1, 1, 1, 1), head_dim=4, num_classes=3, image_size=(64, 64),
    window_size=(2, 2), grid_size=(2, 2),
)  # fmt: skip
FIRST = "stem.conv1.weight"
TENSORS = {FIRST: torch.randn(3, 5), "b": torch.arange(7)}


def read(path, averaged=True):
    tensors, metadata, _ = read_weights(path, averaged)
    assert metadata == {}
    return tensors


def same(found, wanted=TENSORS):
    return found.keys() == wanted.keys() and all(torch.equal(found[n], wanted[n]) for n in wanted)


def under(prefix, tensors=TENSORS):
    return {prefix + name: tensor for name, tensor in tensors.items()}


OTHERS = {name: tensor + 1 for name, tensor in TENSORS.items()}  # weights that are not wanted
WRAPPED = {  # what training programs leave, and whether averaged weights are among it
    "plain": (TENSORS, False),
    "timm": ({"epoch": 3, "state_dict": OTHERS, "optimizer": {0: torch.ones(1)}, "state_dict_ema": TENSORS}, True),
    "torchvision": ({"model": OTHERS, "model_ema": {"n_averaged": torch.tensor(7), **under("module.")}}, True),
    "Lightning": ({"state_dict": {"loss.weight": torch.ones(2), **under("model.")}, "loops": {"a": [1]}}, False),
    "Lightning, averaged beside": ({"state_dict": {**under("net.", OTHERS), **under("ema_net.module.")}}, True),
    "averaged in place": ({"current_model_state": under("net.", OTHERS), "state_dict": under("net.")}, False),
    "compiled, on several GPUs": ({"model": under("module._orig_mod.")}, False),
    "AveragedModel": ({"n_averaged": torch.tensor(7), **under("module.")}, False),
    "in one another": ({"last": {"checkpoint": {"net": under("_orig_mod.module.model.")}}}, False),
}  # fmt: skip


@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.parametrize("new_format", [True, False])
def test_weights_are_found_where_training_programs_put_them_and_averaged_ones_first(tmp_path, name, new_format):
    content, averaged = WRAPPED[name]
    arguments = argparse.Namespace(lr=0.1, model="maxvit_t")
    path = tmp_path / "model.pth.tar"
    torch.save({**content, "args": arguments}, path, _use_new_zipfile_serialization=new_format)
    found = read_weights(path)
    assert same(found.tensors)
    assert found.averaged == averaged


def test_the_raw_weights_beside_averaged_ones_are_read_where_they_are_wanted(tmp_path):
    torch.save({"state_dict": OTHERS, "state_dict_ema": TENSORS}, tmp_path / "model.pth")
    assert same(read(tmp_path / "model.pth", averaged=False), OTHERS)
    torch.save(TENSORS, tmp_path / "model.pth")
    with pytest.raises(MaxViTError, match=r"it holds one set of weights, and not averaged and raw ones: do not ask"):
        read(tmp_path / "model.pth", averaged=False)


def test_of_several_networks_none_is_chosen(tmp_path):
    torch.save({"state_dict": {**under("student."), **under("teacher.")}}, tmp_path / "model.pth")
    with pytest.raises(
        MaxViTError, match=r"several networks \(state_dict\.student\., state_dict\.teacher\.\): save the"
    ):
        read(tmp_path / "model.pth")


def test_a_file_that_holds_itself_is_read_once(tmp_path):
    content = {"model": TENSORS}
    content["again"] = content
    torch.save(content, tmp_path / "model.pth")
    assert same(read(tmp_path / "model.pth"))


@pytest.mark.parametrize("name", ["weights", "weights.bin", "weights.txt"])
def test_a_file_is_what_it_holds_and_not_what_it_is_called(tmp_path, name):
    model = MaxViT(CONFIG).eval()
    torch.save(to_timm(model.state_dict(), CONFIG), tmp_path / name)
    assert load_model(tmp_path / name).config == CONFIG
    model.save(tmp_path / "ours.pth")
    assert load_model(tmp_path / "ours.pth").config == CONFIG


def test_tensors_no_longer_need_their_file(tmp_path):
    torch.save(TENSORS, tmp_path / "model.pth")
    found = read(tmp_path / "model.pth")
    (tmp_path / "model.pth").write_bytes(b"")
    assert same(found)
    assert all(tensor.is_contiguous() for tensor in found.values())


class Canary:
    """Unpickled, it would write a file."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


CALLS = {
    "os.system": lambda path: Canary(os.system, f"touch {path}"),
    "eval": lambda path: Canary(eval, f"open({str(path)!r}, 'w')"),
    "exec": lambda path: Canary(exec, f"open({str(path)!r}, 'w')"),
    "open": lambda path: Canary(open, str(path), "w"),
    "os.mkdir": lambda path: Canary(os.mkdir, str(path)),
    "__import__": lambda path: Canary(builtins.__import__, "antigravity"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("write", ["zip", "old", "bare"])
@pytest.mark.parametrize("name", ["model.pth", "model", "model.txt"])
def test_a_pickle_that_would_run_code_is_never_run(tmp_path, call, write, name):
    canary, path = tmp_path / "canary", tmp_path / name
    content = {**TENSORS, "b": CALLS[call](canary), "args": argparse.Namespace(lr=0.1)}
    if write == "bare":
        path.write_bytes(pickle.dumps(content["b"]))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=write == "zip")
    with pytest.raises(MaxViTError, match=r"is not opened, because a pickle can run code; .*as safetensors$"):
        load_model(path)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("content", [TENSORS, {"a": CALLS["__import__"](None)}])
def test_a_pickle_in_the_clothes_of_safetensors_is_not_opened(tmp_path, content):
    torch.save(content, tmp_path / "model.pth")
    (tmp_path / "model.pth").rename(tmp_path / "model.safetensors")
    with pytest.raises(MaxViTError, match=r"is a pickle, not a safetensors file: rename it to model\.pth$"):
        load_model(tmp_path / "model.safetensors")


def test_the_canary_does_sing_where_a_pickle_is_run(tmp_path):
    pickle.loads(pickle.dumps(CALLS["open"](tmp_path / "canary"))).close()
    assert (tmp_path / "canary").exists()


def test_a_whole_network_is_not_opened(tmp_path):
    torch.save(nn.Linear(2, 3), tmp_path / "model.pt")
    with pytest.raises(MaxViTError) as raised:
        load_model(tmp_path / "model.pt")
    assert str(raised.value) == (
        f"{tmp_path / 'model.pt'} holds more than tensors (torch.nn.modules.linear.Linear), and is not opened, because "
        "a pickle can run code; save the weights alone, as safetensors"
    )


def test_a_class_in_the_arguments_of_a_program_is_not_opened(tmp_path):
    torch.save({"model": TENSORS, "args": argparse.Namespace(act=nn.GELU)}, tmp_path / "model.pth")
    with pytest.raises(MaxViTError, match=r"holds more than tensors \(torch\.nn\.modules\.activation\.GELU\), and is"):
        load_model(tmp_path / "model.pth")


def test_a_torchscript_program_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        for name in ("model/data.pkl", "model/constants.pkl", "model/code/__torch__.py"):
            archive.writestr(name, b"")
    with pytest.raises(MaxViTError, match="is a TorchScript program, and not weights: save the state_dict"):
        load_model(tmp_path / "model.pt")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
def test_a_real_torchscript_program_is_named(tmp_path):
    torch.jit.save(torch.jit.trace(nn.Linear(2, 3), torch.zeros(1, 2)), tmp_path / "model.pt")
    with pytest.raises(MaxViTError, match="is a TorchScript program"):
        load_model(tmp_path / "model.pt")


def test_an_archive_of_something_else_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pth", "w") as archive:
        archive.writestr("letter.txt", "Dear reader")
    with pytest.raises(MaxViTError, match="is a zip archive, and not one of PyTorch: unpack it"):
        load_model(tmp_path / "model.pth")


def test_a_compressed_archive_is_not_unpacked(tmp_path):
    torch.save(TENSORS, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(
        tmp_path / "model.pth", "w", zipfile.ZIP_DEFLATED
    ) as packed:  # fmt: skip
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry))
    with pytest.raises(MaxViTError, match="is a compressed archive, which PyTorch does not write"):
        load_model(tmp_path / "model.pth")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "model.pth is empty, and not a file of weights: copy it again"),
        (b"PK\3\4 and so on", "model.pth cannot be read: it is truncated or damaged; copy it again"),
        (b"\x80\x02}.", "model.pth (cannot be read|holds more than tensors)"),
    ],
)
def test_what_is_no_file_of_weights_is_named(tmp_path, content, says):
    (tmp_path / "model.pth").write_bytes(content)
    with pytest.raises(MaxViTError, match=says):
        load_model(tmp_path / "model.pth")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("new_format", [True, False])
def test_a_truncated_pickle_is_named(tmp_path, share, new_format):
    file = io.BytesIO()
    torch.save({"w": torch.randn(1000)}, file, _use_new_zipfile_serialization=new_format)
    (tmp_path / "model.pth").write_bytes(file.getvalue()[: int(len(file.getvalue()) * share)])
    with pytest.raises(MaxViTError, match="damaged"):
        load_model(tmp_path / "model.pth")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([torch.zeros(3)], "it holds no tensors"),
        ({}, "it holds no tensors"),
        ({FIRST: torch.zeros(1).expand(10**12)}, f"holds no plain tensor under '{FIRST}'"),
        ({FIRST: torch.zeros(3, device="meta")}, f"holds no plain tensor under '{FIRST}'"),
        ({FIRST: torch.eye(3).to_sparse()}, f"holds no plain tensor under '{FIRST}'"),
    ],
)
def test_contents_that_are_no_state_dict_are_named(tmp_path, content, says):
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(MaxViTError, match=says):
        load_model(tmp_path / "model.pth")


def test_a_tensor_that_claims_more_than_its_file_holds_is_refused(tmp_path):
    torch.save({"a": torch.zeros(100)}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(tmp_path / "model.pth", "w") as larger:
        for entry in plain.infolist():
            content = plain.read(entry)
            if entry.filename.endswith("data.pkl"):  # 100 as one byte (K) becomes 2**30 as four (J)
                assert content.count(b"Kd") == 2  # of the storage and of the shape
                content = content.replace(b"Kd", b"J\0\0\0\x40")
            larger.writestr(entry.filename, content)
    with pytest.raises(MaxViTError, match="cannot be read"):
        load_model(tmp_path / "model.pth")


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    path = tmp_path / "model.pth"
    path.write_bytes(b"x")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(MaxViTError, match=r"model\.pth cannot be read: Permission denied"):
        load_model(path)
