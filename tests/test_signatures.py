"""A file that holds something else than its name says is called what it is, in one sentence."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from maxvit import MaxViTError, load_model

UNPACK = "unpack it, and give the file inside"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n"


def written(write, *arguments):
    buffer = io.BytesIO()
    write(buffer, *arguments)
    return buffer.getvalue()


def tar(buffer):
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.pth"))


def keras(buffer):
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("config.json", "{}")


KINDS = {
    "HDF5": (b"\x89HDF\r\n\x1a\n\0\0", "an HDF5 file, as Keras writes them", "give another file"),
    "pointer": (POINTER, "a pointer of Git LFS to a file that was not fetched", "run git lfs pull"),
    "HTML": (b"\n<!DOCTYPE html>\n<html>", "a web page (HTML), perhaps one that asks to log in", "download the file"),
    "XML": (b'<?xml version="1.0"?><Error>', "an XML document", "download the file itself"),
    "OpenVINO": (b'<?xml version="1.0"?><net name="m">', "a network of OpenVINO", "give the checkpoint that it was"),
    "gzip": (gzip.compress(b"a" * 99), "compressed with gzip", UNPACK),
    "bzip2": (bz2.compress(b"a" * 99), "compressed with bzip2", UNPACK),
    "xz": (lzma.compress(b"a" * 99), "compressed with xz", UNPACK),
    "tar": (written(tar), "a tar archive", UNPACK),
    "ONNX": (b"\x08\x0a\x12\x06maxvit\x3a\x10", "an ONNX file", "give the checkpoint that it was made from"),
    "GGUF": (b"GGUF\3\0\0\0", "a GGUF file of a language model", "give another file"),
    "NumPy": (written(np.save, np.zeros(3)), "an array of NumPy", "give another file"),
    "PNG": (written(Image.new("RGB", (3, 5)).save, "PNG"), "a PNG image", "give another file"),
    "zeros": (bytes(999), "nothing but zeros at its beginning, as a download that broke off leaves it", "copy it"),
    "text": (b"Entry not found\nsorry", "text ('Entry not found')", "download the file itself"),
    "empty": (b"", "empty", "copy it again"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["model.safetensors", "model.pth"])
def test_a_file_of_another_kind_is_called_what_it_is(tmp_path, kind, name):
    content, what, todo = KINDS[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MaxViTError) as raised:
        load_model(tmp_path / name)
    sentence = str(raised.value)
    assert sentence.startswith(f"{tmp_path / name} is {what}, and not a file of weights: {todo}")
    assert sentence.isprintable()


@pytest.mark.parametrize("content", [written(keras), written(np.savez, np.zeros(3))])
def test_an_archive_of_something_else_is_one(tmp_path, content):
    (tmp_path / "model.keras").write_bytes(content)
    with pytest.raises(MaxViTError, match=r"is a zip archive, and not one of PyTorch: unpack it, and give the file of"):
        load_model(tmp_path / "model.keras")


@pytest.mark.parametrize("content", [b"\xc4\xd2 not a signature", b"\n\n", b"\x08", b"{}"])
def test_what_has_no_signature_is_not_a_complete_file(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(MaxViTError, match=r"(is not a complete safetensors file; it may be truncated|is text)"):
        load_model(tmp_path / "model.safetensors")
