"""What an index says of itself: which pictures, which network, which files."""

import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from maxvit.config import Preprocessing
from maxvit.errors import MaxViTError
from maxvit.storage import write_text

FILE = "index.json"
File = Annotated[str, StringConstraints(pattern=r"^(part|approximate)-[0-9]{6,}\.(safetensors|faiss)$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Origin(_Section):
    """Which network made the embeddings.

    Attributes:
        model: What was given for it, an absolute path where it is one.
        sha256: Digest of its weights.
        features: "embedding": what `search_features` gives; "fields": what `FrozenFeatures` gives.
    """

    model: str
    sha256: str
    features: Literal["embedding", "fields"]


class Part(_Section):
    """A file of rows, and how many."""

    file: File
    images: Annotated[int, Field(ge=1)]


class Manifest(_Section):
    """The file `index.json`. It is replaced in one step, and the files that it names are never changed.

    Attributes:
        format: Of the whole index.
        photos: The folder of the pictures, an absolute path.
        origin: What made the embeddings.
        preprocessing: How pictures were read.
        width: Features of a picture.
        parts: In order.
        approximate: A file by which these parts are searched faster; None: there is none.
    """

    format: Literal[1] = 1
    photos: str
    origin: Origin
    preprocessing: dict[str, Any]
    width: Annotated[int, Field(ge=1)]
    parts: tuple[Part, ...] = ()
    approximate: File | None = None

    @property
    def spec(self) -> Preprocessing:
        """How pictures are read."""
        return Preprocessing.from_dict(self.preprocessing)

    def write(self, folder: Path) -> None:
        """Write it. Raises `MaxViTError` if it cannot be written."""
        write_text(folder / FILE, json.dumps(self.model_dump(), indent=2) + "\n")  # in ASCII, any name of a folder


def read_manifest(folder: Path) -> Manifest:
    """Read that of an index.

    Raises:
        MaxViTError: If there is none, or it is damaged or of a newer version.
    """
    if not folder.exists():
        raise MaxViTError(f"{folder} does not exist: make an index with maxvit index PHOTOS --out {folder}")
    try:
        text = (folder / FILE).read_bytes()
    except OSError as error:
        raise MaxViTError(
            f"{folder} is not an index, which is a folder with {FILE}: make one with maxvit index PHOTOS --out INDEX"
        ) from error
    try:
        found = Manifest.model_validate(json.loads(text))
        Preprocessing.from_dict(found.preprocessing)
    except (ValidationError, ValueError, RecursionError) as error:
        problem = error.errors()[0]["loc"] if isinstance(error, ValidationError) else error
        raise MaxViTError(
            f"{folder / FILE} is damaged or of another version ({problem}): build the index anew in another folder"
        ) from error
    return found


def place_of(photos: Path, name: str) -> Path:
    """Where a picture is. Raises `MaxViTError` if its name leads out of the folder: the index was tampered with."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name[:2]:
        raise MaxViTError(f"the index names {name[:80]!r}, which is not in the folder of its photos: build it anew")
    return photos / path
