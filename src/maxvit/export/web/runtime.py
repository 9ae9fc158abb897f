"""The files of ONNX Runtime Web, which are part of every page: from npm, from a folder, or from the cache."""

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from maxvit.errors import MaxViTError
from maxvit.storage import cache_folder, write_bytes

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
MODULE, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
SHA256 = {  # of the files of this version: what a page runs is what was tested
    MODULE: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}


def runtime_files(folder: Path | None, tell: Callable[[str], object]) -> dict[str, bytes]:
    """The runtime's files by name, each of the content that is wanted.

    Args:
        folder: Where they are, or where they are in `dist` or in `node_modules/onnxruntime-web/dist`; None: the cache,
            which npm fills the first time.
        tell: Called with a sentence before npm downloads.

    Raises:
        MaxViTError: If they are not there, are of another version, or npm is missing or fails.
    """
    if folder is not None:
        return _in_folder(folder)
    cache = cache_folder() / f"{PACKAGE}-{VERSION}"
    found = _content(cache)
    if _others(found):
        npm = _find_npm()
        tell(f"npm downloads {PACKAGE} {VERSION} to {cache}: 33 MB, once")
        found = _from_npm(npm)
        for name in SHA256:
            write_bytes(cache / name, found[name])
    return found


def _content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in SHA256 if (folder / name).is_file()}


def _others(found: Mapping[str, bytes]) -> list[str]:
    """Names of files that are missing or of other content."""
    return [name for name, wanted in SHA256.items() if hashlib.sha256(found.get(name, b"")).hexdigest() != wanted]


def _in_folder(folder: Path) -> dict[str, bytes]:
    places = (folder, folder / "dist", folder / "node_modules" / PACKAGE / "dist")
    found = next((content for place in places if len(content := _content(place)) == len(SHA256)), None)
    if found is None:
        raise MaxViTError(f"{folder} does not hold {MODULE} and {WASM}: give the folder of {PACKAGE} {VERSION}")
    if others := _others(found):
        raise MaxViTError(f"{others[0]} in {folder} is not that of {PACKAGE} {VERSION}: give that version's folder")
    return found


def _find_npm() -> str:
    npm = shutil.which("npm")
    if npm is None:
        raise MaxViTError(
            f"npm, which downloads {PACKAGE} {VERSION}, was not found: install Node.js, or copy the package from "
            "another machine and give its folder with --runtime"
        )
    return npm


def _from_npm(npm: str) -> dict[str, bytes]:
    """Downloaded from the registry that npm is set to, and compared."""
    with tempfile.TemporaryDirectory() as temporary:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--pack-destination", temporary, "--json", "--ignore-scripts"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=temporary, check=False)
        packed = list(Path(temporary).glob("*.tgz"))
        if done.returncode or len(packed) != 1:
            raise MaxViTError(f"npm could not download {PACKAGE} {VERSION} ({_reason(done)}): is there a connection?")
        with tarfile.open(packed[0]) as archive:
            members = {name: archive.extractfile(f"package/dist/{name}") for name in SHA256}
            found = {name: file.read() for name, file in members.items() if file is not None}
    if others := _others(found):
        raise MaxViTError(
            f"{others[0]} is not what {PACKAGE} {VERSION} holds: the registry that npm is set to gives something else"
        )
    return found


def _reason(done: "subprocess.CompletedProcess[str]") -> str:
    """npm's own words in a line."""
    try:
        said: object = json.loads(done.stdout)["error"]["summary"]
    except (ValueError, LookupError, TypeError):
        said = ""
    lines = str(said or done.stderr).strip().splitlines()
    return lines[0] if lines else f"it ended with code {done.returncode}"
