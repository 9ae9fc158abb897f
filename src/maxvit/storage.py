"""A dictionary of tensors and its metadata, to and from one safetensors file, atomically. Knows no network."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from maxvit.errors import MaxViTError
from maxvit.signatures import other_kind

BEST, RUN_CONFIG = "best.safetensors", "config.yaml"  # of a run
WEIGHTS, CONFIG = "model.safetensors", "config.json"  # the names that the hub knows
INDEX = "model.safetensors.index.json"  # of weights in several files


def cache_folder() -> Path:
    """Where what can be made or fetched again is kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maxvit"


def write_atomically(path: Path, write: Callable[[Path], object], rest: Path | None = None) -> None:
    """Write a file under its own name in a temporary folder next to it, then move it out: a reader sees the old or new.

    The content is on the disk before the name is, so that a machine that dies leaves one of both as well. A file that
    needs a second one goes first if `path` replaces it, and the new one comes last, so that there is never one next to
    a `rest` of another time: a reader sees the old two, or no `path`, or the new two.

    Args:
        path: The file that a reader opens.
        write: Called with `path` in the temporary folder; what else it leaves there goes away.
        rest: Its second file, in the same folder; None: there is none, and where `path` had one of that name it stays.

    Raises:
        MaxViTError: If the folder cannot be written to or the disk is full; or what `write` raises. Nothing is left
            behind then.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise MaxViTError(f"cannot write {path}: {error.strerror}; choose a folder that can be written to") from error
    try:
        write(folder / path.name)
        made = [folder / final.name for final in (rest, path) if final is not None]
        for file in made:
            os.chmod(file, 0o666 & ~_umask())  # some libraries make private files; these are for sharing
            _sync(file)
        if rest is not None:
            path.unlink(missing_ok=True)
        for file in made:
            os.replace(file, path.parent / file.name)
        _sync(path.parent)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MaxViTError(f"cannot write {path}: {reason}; free some space or choose another folder") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be written to, before hours are spent on what was to be there.

    Raises:
        MaxViTError: If it, or one above it, is a file or may not be written to.
    """
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists() or place.is_symlink())
    if not nearest.is_dir():
        raise MaxViTError(f"{nearest} is a file, and a folder to write to is wanted: choose another name")
    if not os.access(nearest, os.W_OK):
        raise MaxViTError(f"{nearest} may not be written to: choose another folder")


def put_in_place(file: Path, path: Path) -> None:
    """Rename a file that is on the disk, within a file system, in one step; its name is on the disk then, too."""
    os.replace(file, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk and not in a cache."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def leftovers(folder: Path) -> list[Path]:
    """What was being written when its process was killed, if nobody is writing now."""
    return list(folder.glob(".*.????????"))


def remove_leftovers(folder: Path) -> None:
    """Remove what was being written when its process was killed; nobody may be writing now."""
    for path in leftovers(folder):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write a small text file in one step. Raises `MaxViTError` as `write_atomically` does."""
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """The same for bytes."""
    write_atomically(path, lambda p: p.write_bytes(content))


def save(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write one safetensors file; `metadata` values are stored as JSON text.

    Raises:
        MaxViTError: If the file cannot be written; a file that was there before is untouched.
    """
    save_plain(path, tensors, {key: json.dumps(value) for key, value in metadata.items()})


def save_plain(path: str | Path, tensors: Mapping[str, Tensor], text: Mapping[str, str]) -> None:
    """`save` with metadata that is text already, as other programs want it."""
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    write_atomically(Path(path), lambda p: save_file(plain, p, dict(text)))


def weights_of(path: str | Path) -> Path:
    """The file of weights that a path stands for.

    Args:
        path: A file, which is its own; the folder of a run, whose best weights are meant; or a folder with
            `model.safetensors` or `model.safetensors.index.json`, as `save_pretrained` and the hub have them. Any
            other path is given back as it is.
    """
    path = Path(path)
    return next((path / name for name in (BEST, WEIGHTS, INDEX) if (path / name).is_file()), path)


def weight_files(path: str | Path) -> list[Path]:
    """The files that hold the weights of a path, in order: one, or those of an index and the index itself.

    Raises:
        MaxViTError: If the index is damaged, or a file that it names is missing.
    """
    path = weights_of(path)
    return [path, *_shards(path)] if _is_index(path) else [path]


def load_metadata(path: str | Path) -> dict[str, Any]:
    """Read the metadata alone, see `load`: values that are JSON are decoded, others are given as text."""
    path = weights_of(path)
    with _open(_shards(path)[0] if _is_index(path) else path) as file:
        return _described(path, decode(file.metadata()))


def load(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a safetensors file, or several by their index: tensors on the CPU, and the metadata.

    In a file tensors follow one another without a gap. They are copied to addresses as PyTorch allocates them:
    some CPU kernels round otherwise where an address is odd, and a network would not answer as when it was saved.

    Where weights have the hub's name and do not describe a network, as another program rewrote them, what
    `config.json` next to them says is their metadata.

    Args:
        path: As for `weights_of`.

    Raises:
        MaxViTError: If the file is missing, truncated or no safetensors file.
    """
    path = weights_of(path)
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, Any] = {}
    for part in _shards(path) if _is_index(path) else [path]:
        with _open(part) as file:
            try:
                tensors |= {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
                metadata |= decode(file.metadata())
            except (SafetensorError, OSError) as error:
                raise MaxViTError(f"{part} cannot be read: {error}; it may be damaged, copy it again") from error
    return tensors, _described(path, metadata)


def load_some(path: Path, names: Sequence[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Some tensors of one file, the others unread, and its metadata. Raises `MaxViTError` as `load`."""
    with _open(path) as file:
        try:
            return {name: file.get_tensor(name) for name in names}, decode(file.metadata())
        except (SafetensorError, OSError) as error:
            raise MaxViTError(f"{path} cannot be read: {error}; it may be damaged, copy it again") from error


def load_rows(path: Path, name: str, rows: Sequence[int]) -> Tensor:
    """Some rows of one tensor of a file, the others unread. Raises `MaxViTError` as `load`."""
    with _open(path) as file:
        try:
            piece = file.get_slice(name)
            return torch.cat([piece[row : row + 1] for row in rows])
        except (SafetensorError, OSError) as error:
            raise MaxViTError(f"{path} cannot be read: {error}; it may be damaged, copy it again") from error


def _is_index(path: Path) -> bool:
    return path.name.endswith(".safetensors.index.json")


def _shards(index: Path) -> list[Path]:
    """The files that an index names, which are next to it. Raises `MaxViTError` if one does not, or it is damaged."""
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        if not names or any(Path(name).name != name for name in names):
            raise ValueError(f"it names {names[:1]}")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise MaxViTError(f"{index} is not an index of safetensors files: copy it again") from error
    shards = [index.with_name(name) for name in names]
    if gone := [shard for shard in shards if not shard.exists()]:
        raise MaxViTError(
            f"{gone[0]} does not exist, and {index.name} names it: copy all of its {len(shards)} files next to it"
        )
    return shards


def _described(path: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    if "config" in metadata or path.name not in (WEIGHTS, INDEX):
        return metadata
    try:
        described = json.loads(path.with_name(CONFIG).read_bytes())
    except (OSError, ValueError, RecursionError):  # there is none, or none that can be used
        return metadata
    return described if isinstance(described, dict) else metadata


def _open(path: Path) -> Any:
    if not path.exists():
        raise MaxViTError(f"{path} does not exist: check the path")
    if (path / RUN_CONFIG).is_file():
        raise MaxViTError(
            f"the run {path} has no {BEST} yet, which its first epoch writes: go on with maxvit train --resume {path}"
        )
    if not path.is_file():
        raise MaxViTError(f"{path} is a folder without {BEST} or {WEIGHTS}; give the .safetensors file inside it")
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        if (sentence := other_kind(path, "a file of weights")) is not None:
            raise MaxViTError(sentence) from error
        reason = "is not a complete safetensors file; it may be truncated, copy it again"
        if path.suffix in (".onnx", ".xml", ".pt2", ".pte"):
            reason = "is an exported file: give the checkpoint that it was made from"
        elif path.suffix != ".safetensors" and not _begins_as_safetensors(path):
            reason = "is neither a file of PyTorch nor of safetensors: it may be damaged, copy it again"
        raise MaxViTError(f"{path} {reason}") from error
    except OSError as error:
        raise MaxViTError(f"{path} cannot be read: {error.strerror or error}") from error


def _begins_as_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"  # 8 bytes of length, then JSON


def decode(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """Metadata as a file holds them: values that are JSON are decoded, others are left as text."""
    decoded: dict[str, Any] = {}
    for key, text in (metadata or {}).items():
        try:
            decoded[key] = json.loads(text)
        except (ValueError, RecursionError):  # no JSON, or a number of thousands of digits, or nested a thousand deep
            decoded[key] = text  # files of other programs hold plain text
    return decoded
