"""What a file is, by its first bytes: for the sentence about a file that is not what its name or its place says."""

import re
import zipfile
from pathlib import Path

ONNX, OPENVINO, EXECUTORCH = "an ONNX file", "a network of OpenVINO", "a program of ExecuTorch"
_UNPACK = "unpack it, and give the file inside"
_AGAIN = "download the file itself"
_EXPORTED = "give the checkpoint that it was made from"
_OTHER = "give another file"
_PYTORCH = ("a file of PyTorch", "name it .pth")
_READ = 512  # bytes: a tar archive calls itself so at 257
_KINDS = (  # where, what stands there, what the file is, what to do
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes them", _OTHER),
    (0, b"version https://git-lfs", "a pointer of Git LFS to a file that was not fetched", "run git lfs pull"),
    (0, b"\x1f\x8b", "compressed with gzip", _UNPACK),
    (0, b"BZh", "compressed with bzip2", _UNPACK),
    (0, b"\xfd7zXZ\0", "compressed with xz", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "compressed with Zstandard", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"PK\3\4", "a zip archive", _UNPACK),
    (0, b"\x80\2", *_PYTORCH),
    (0, b"GGUF", "a GGUF file of a language model", _OTHER),
    (0, b"\x93NUMPY", "an array of NumPy", _OTHER),
    (4, b"TFL3", "a TensorFlow Lite file", _OTHER),
    (4, b"ET12", EXECUTORCH, _EXPORTED),
    (0, b"PAR1", "a Parquet table", _OTHER),
    (0, b"SQLite format 3\0", "a SQLite database", _OTHER),
    (0, b"%PDF", "a PDF document", _OTHER),
    (0, b"\x89PNG", "a PNG image", _OTHER),
    (0, b"\xff\xd8\xff", "a JPEG image", _OTHER),
)


def other_kind(path: Path, wanted: str) -> str | None:
    """What a file is and what to do, where it is not a file of the kind that is wanted.

    Args:
        path: A file that can be opened.
        wanted: What it should be, such as "a file of weights".

    Returns:
        One sentence without a full stop; None where its first bytes say nothing, or just that.
    """
    with path.open("rb") as file:
        head = file.read(_READ)
    if head.startswith(b"PK") and not zipfile.is_zipfile(path):  # its table of contents stands at its end
        return f"{path} is a part of a zip archive, as a copy that broke off leaves it: copy it again"
    what, todo = _kind(head) or (wanted, "")
    if what == wanted:
        return None
    return f"{path} is {what}, and not {wanted}: {todo}"


def _kind(head: bytes) -> tuple[str, str] | None:
    """What begins so, and what to do with it."""
    if not head:
        return "empty", "copy it again"
    if head.startswith(b"PK") and b"data.pkl" in head:
        return _PYTORCH
    for at, mark, what, todo in _KINDS:
        if head[at:].startswith(mark):
            return what, todo
    if not head.strip(b"\0"):
        return "nothing but zeros at its beginning, as a download that broke off leaves it", "copy it again"
    # the version of the format, which is small, then a field of text (who made it, or what for) or the graph
    if re.match(rb"\x08[\x01-\x1f][\x12\x1a\x22\x32\x3a\x42]", head):
        return ONNX, _EXPORTED
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page (HTML), perhaps one that asks to log in", _AGAIN
    if text.startswith(b"<?xml"):
        return (OPENVINO, _EXPORTED) if b"<net" in text else ("an XML document", _AGAIN)
    return _plain_text(head)


def _plain_text(head: bytes) -> tuple[str, str] | None:
    try:
        line = head.decode().strip().splitlines()[0]
    except (UnicodeDecodeError, IndexError):  # binary; or nothing but white space
        return None
    return (f"text ({line[:40]!r})", _AGAIN) if line.isprintable() else None
