"""An index of pictures, and what can be asked of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from maxvit.checking.duplicates import Kind, find_duplicates
from maxvit.data.images import ImageLike, decode, decode_shown
from maxvit.errors import MaxViTError
from maxvit.inference.device import choose_device
from maxvit.inference.predictor import is_one
from maxvit.inference.progress import track
from maxvit.search.build import Built, build_index, state_of
from maxvit.search.clusters import find_clusters
from maxvit.search.embedder import reopen
from maxvit.search.manifest import Manifest, place_of, read_manifest
from maxvit.search.nearest import nearest
from maxvit.search.rows import join_looks, read_looks, read_states

AT_ONCE = 1024  # queries that are compared with a part at once
THUMBNAIL = 160  # pixels of a side


@dataclass(frozen=True, slots=True)
class Match:
    """A picture of an index that is similar to a query.

    Attributes:
        name: Its path, relative to the folder of the photos.
        path: Where it is.
        similarity: Cosine of the angle between both embeddings, up to 1.
        note: "changed" or "gone": since it was indexed; else nothing.
    """

    name: str
    path: Path
    similarity: float
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"image": self.name, "path": str(self.path), "similarity": self.similarity, "note": self.note}


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found for one query.

    Attributes:
        name: The query's path, or "image 3" for what has none.
        matches: The most similar first.
        error: Why the query could not be read; None: it could.
    """

    name: str
    matches: Sequence[Match]
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"query": self.name, "results": [match.to_json() for match in self.matches], "error": self.error}


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A picture that repeats an earlier one.

    Attributes:
        name: The later picture.
        of: The earlier one.
        kind: What they share.
        similarity: Correlation of their grey pictures in the detail that both have.
    """

    name: str
    of: str
    kind: Kind
    similarity: float

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"image": self.name, "of": self.of, "kind": self.kind, "similarity": round(self.similarity, 4)}


@dataclass(frozen=True, slots=True)
class Cluster:
    """Pictures that are similar to one another.

    Attributes:
        members: All of them; the one that is nearest to their centre first.
        similarities: Cosine of the angle between each and the centre.
    """

    members: Sequence[str]
    similarities: Sequence[float]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"images": len(self.members), "members": list(self.members)}


class ImageIndex:
    """An index of pictures by what a network sees of them: a folder that `build` made. `len` counts its pictures.

    Args:
        path: The folder.

    Raises:
        MaxViTError: If it is not an index, is damaged, or is empty.

    Attributes:
        photos: The folder of the pictures.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest: Manifest = read_manifest(self.path)
        self.photos = Path(self.manifest.photos)
        if not self.manifest.parts:
            raise MaxViTError(f"{self.path} holds no pictures: call maxvit index again")

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open an index. Raises as the class does."""
        return cls(path)

    @classmethod
    def build(
        cls,
        photos: str | Path,
        out: str | Path,
        model: str | Path | None = None,
        *,
        workers: int = 0,
        batch_size: int | None = None,
        device: str = "auto",
        show_progress: bool = False,
    ) -> tuple[Self, Built]:
        """Make an index or bring it up to date, see `maxvit.search.build.build_index`: it, and what was done."""
        built = build_index(
            photos,
            out,
            model,
            workers=workers,
            batch_size=batch_size,
            device=device,
            show_progress=show_progress,
        )
        return cls(out), built

    def __len__(self) -> int:
        return sum(part.images for part in self.manifest.parts)

    @cached_property
    def _known(self) -> tuple[list[str], list[tuple[int, int]]]:
        """Name and state of each row."""
        names, states = [], []
        for part in self.manifest.parts:
            some, of_these = read_states(self.path / part.file)
            names += some
            states += of_these
        return names, states

    def search(
        self,
        images: ImageLike | Iterable[ImageLike],
        k: int = 10,
        *,
        model: str | Path | None = None,
        workers: int = 0,
        device: str = "auto",
    ) -> list[Answer]:
        """The pictures that are most similar to one image or several; an image of the index finds itself.

        Args:
            images: Paths, bytes of files, PIL images or arrays.
            k: How many for each; all of them, where the index holds fewer.
            model: Where the network that made the index is now; None: where it was then.
            workers: Processes that decode.
            device: As for `maxvit.inference.device.choose_device`.

        Raises:
            MaxViTError: If `k` is not positive, or the network is missing or another one.
        """
        check_number("k", k)
        sources: list[ImageLike] = [images] if is_one(images) else list(images)  # type: ignore[list-item, arg-type]
        given = None if model is None else str(model)
        embedder = reopen(self.manifest, given, self.path, choose_device(device))
        names = [str(s) if isinstance(s, str | Path) else f"image {i}" for i, s in enumerate(sources)]
        answers: dict[int, Answer] = {}
        places = [str(i) for i in range(len(sources))]  # rows say by them which query they are of
        nothing = np.zeros((len(sources), 2), np.int64)
        for rows, failed in embedder.rows(sources, places, nothing, AT_ONCE, workers):
            answers |= {i: Answer(names[i], [], sentence) for i, sentence in failed.items()}
            found = self.nearest(rows.embeddings.astype(np.float32), k) if len(rows) else []
            answers |= {int(i): Answer(names[int(i)], found[j]) for j, i in enumerate(rows.names)}
        return [answers[i] for i in range(len(sources))]

    def nearest(self, embeddings: npt.NDArray[np.float32], k: int) -> list[list[Match]]:
        """The pictures that are most similar to each of some embeddings (q, F), made as those of the index were.

        Raises:
            MaxViTError: If they have another width.
        """
        if embeddings.shape[1] != self.manifest.width:
            raise MaxViTError(
                f"embeddings have {embeddings.shape[1]} features, and those of {self.path} {self.manifest.width}: take "
                "the network that made the index"
            )
        lengths = np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
        rows, cosines = nearest(self.path, self.manifest, embeddings / lengths, min(k, len(self)))
        return [
            [self._match(int(row), float(cosine)) for row, cosine in zip(*each, strict=True) if row >= 0]
            for each in zip(rows, cosines, strict=True)
        ]

    def _match(self, row: int, similarity: float) -> Match:
        names, states = self._known
        path = place_of(self.photos, names[row])
        now = state_of(path)
        note = "gone" if now is None else "" if now == states[row] else "changed"
        return Match(names[row], path, round(min(similarity, 1.0), 4), note)

    def duplicates(self, show_progress: bool = False) -> tuple[list[Duplicate], list[str]]:
        """Pictures that repeat an earlier one, as `maxvit check` finds them; crops are left to it.

        Args:
            show_progress: Draw a bar on standard error.

        Returns:
            The duplicates; and the names of pictures that have changed or gone since, which were left out.
        """
        names, states = self._known
        paths = [place_of(self.photos, name) for name in names]
        stale = [i for i, path in enumerate(paths) if state_of(path) != states[i]]
        looks = join_looks([read_looks(self.path / part.file) for part in self.manifest.parts])
        looks.sizes[stale] = 0  # as if they could not be read
        spec = self.manifest.spec

        def same_pixels(first: int, second: int) -> bool:
            a, b = (np.asarray(decode(paths[i], spec)) for i in (first, second))
            return np.array_equal(a, b)

        pairs = find_duplicates(looks, same_pixels, partial(track, what="comparing", show=show_progress))
        found = [Duplicate(names[p.second], names[p.first], p.kind, p.similarity) for p in pairs]
        return found, [names[i] for i in stale]

    def clusters(self, number: int) -> list[Cluster]:
        """Groups of similar pictures, by k-means on the sphere; the largest first. The same for the same index.

        Args:
            number: How many, at most as many as there are pictures; fewer are given where some would be empty.

        Raises:
            MaxViTError: If the number is out of range, or faiss (an optional dependency) is missing.
        """
        check_number("clusters", number)
        if number > len(self):
            raise MaxViTError(f"clusters is {number}, and the index holds {len(self)} pictures: ask for fewer")
        names, _ = self._known
        return [
            Cluster([names[row] for row in rows], cosines)
            for rows, cosines in find_clusters(self.path, self.manifest, number)
        ]

    def thumbnail(self, name: str, max_pixels: int | None = None, side: int = THUMBNAIL) -> Image.Image:
        """A picture of the index, small.

        Args:
            name: As in a `Match`.
            max_pixels: The most that are decoded; None: as many as the network takes.
            side: Pixels of its longer side, at most.

        Raises:
            MaxViTError: If it cannot be read, has more pixels, or its name leads out of the folder of the photos.
        """
        spec = self.manifest.spec
        limit = min(max_pixels or spec.max_pixels, spec.max_pixels)
        image = decode_shown(place_of(self.photos, name), replace(spec, max_pixels=limit))
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        return image

    def fresh(self) -> "ImageIndex":
        """This index, opened again where it was brought up to date since."""
        return self if read_manifest(self.path) == self.manifest else type(self)(self.path)


def check_number(what: str, number: int) -> None:
    """Refuse, by `MaxViTError`, what is not a number of things."""
    if number < 1:
        raise MaxViTError(f"{what} is {number}; it takes a number from 1 up")
