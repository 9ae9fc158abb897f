"""Files of PyTorch: what is inside counts, nothing inside is run, and what cannot be read is named."""

import builtins
import io
import os
import pickle
import zipfile

import pytest
import torch
from torch import nn

from maxvit import MaxViT, MaxViTConfig, MaxViTError, load_model
from maxvit.checkpoints.files import read_tensors
from maxvit.checkpoints.timm import to_timm

CONFIG = MaxViTConfig(
    stem_channels=4, channels=(4, 8, 8, 8), depths=(1, 1, 1, 1), head_dim=4, num_classes=3, image_size=(64, 64),
    window_size=(2, 2), grid_size=(2, 2),
)  # fmt: skip
TENSORS = {"a.weight": torch.randn(3, 5), "b": torch.arange(7)}


def read(path):
    tensors, metadata = read_tensors(path)
    assert metadata == {}
    return tensors


def same(found, wanted=TENSORS):
    return found.keys() == wanted.keys() and all(torch.equal(found[n], wanted[n]) for n in wanted)


@pytest.mark.parametrize("key", ["state_dict", "model", "state_dict_ema", "model_ema"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("new_format", [True, False])
def test_weights_are_found_where_training_scripts_put_them(tmp_path, key, prefix, new_format):
    inside = {prefix + name: tensor for name, tensor in TENSORS.items()}
    path = tmp_path / "model.pth.tar"
    torch.save({"epoch": 3, key: inside}, path, _use_new_zipfile_serialization=new_format)
    assert same(read(path))


def test_averaged_weights_come_before_the_others(tmp_path):
    others = {name: tensor + 1 for name, tensor in TENSORS.items()}
    torch.save({"state_dict": others, "state_dict_ema": TENSORS}, tmp_path / "model.pth")
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
    content = {"a.weight": TENSORS["b"], "b": CALLS[call](canary)}
    if write == "bare":
        path.write_bytes(pickle.dumps(content["b"]))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=write == "zip")
    with pytest.raises(MaxViTError, match=r"is not opened, because a pickle can run code .*as safetensors$"):
        load_model(path)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("content", [TENSORS, {"a": CALLS["__import__"](None)}])
def test_a_pickle_in_the_clothes_of_safetensors_is_not_opened(tmp_path, content):
    torch.save(content, tmp_path / "model.pth")
    (tmp_path / "model.pth").rename(tmp_path / "model.safetensors")
    with pytest.raises(MaxViTError, match=r"is a pickle, and no safetensors file: rename it to model\.pth$"):
        load_model(tmp_path / "model.safetensors")


def test_the_canary_does_sing_where_a_pickle_is_run(tmp_path):
    pickle.loads(pickle.dumps(CALLS["open"](tmp_path / "canary"))).close()
    assert (tmp_path / "canary").exists()


def test_a_whole_network_is_not_opened(tmp_path):
    torch.save(nn.Linear(2, 3), tmp_path / "model.pt")
    with pytest.raises(MaxViTError, match="holds more than tensors, or is damaged, and is not opened"):
        load_model(tmp_path / "model.pt")


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
    with pytest.raises(MaxViTError, match="is a zip archive, and none of PyTorch: unpack it"):
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
        (b"", "model.pth is empty: it may be damaged, copy it again"),
        (b"Dear reader", "model.pth is no file of PyTorch and no safetensors file: it may be damaged"),
        (b"PK\3\4 and so on", "model.pth (cannot be read|holds more than tensors)"),
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
        ([torch.zeros(3)], "holds a list and no tensors by name"),
        ({}, "holds a dict and no tensors by name"),
        ({"state_dict": {"a": torch.zeros(1), "epoch": 3}}, "holds something that is no tensor under 'epoch'"),
        ({"a": torch.zeros(1).expand(10**12)}, "holds no plain tensor under 'a'"),
        ({"a": torch.zeros(3, device="meta")}, "holds no plain tensor under 'a'"),
        ({"a": torch.eye(3).to_sparse()}, "holds no plain tensor under 'a'"),
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
