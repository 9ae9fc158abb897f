"""Make an index of a folder of pictures, or bring one up to date: only what is new or changed is embedded."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from maxvit.data.dataset import describe_images
from maxvit.data.finding import PassedOver, find_images, say_passed_over
from maxvit.errors import MaxViTError
from maxvit.inference.device import choose_device
from maxvit.inference.engines import say
from maxvit.inference.progress import counting
from maxvit.search.approximate import make_approximate
from maxvit.search.embedder import Embedder, open_embedder, reopen
from maxvit.search.manifest import FILE, Manifest, Part, read_manifest
from maxvit.search.rows import Rows, State, read_states
from maxvit.storage import check_folder

PART = 1024  # pictures of a file, and what an interruption may cost at most


@dataclass(frozen=True, slots=True)
class Built:
    """What `build_index` did.

    Attributes:
        images: Pictures in the index now.
        new: Of these, how many were not in it before.
        changed: How many had changed, and were embedded anew.
        removed: How many were in it, and are not in the folder any more or cannot be read any more.
        unreadable: A sentence for each picture that cannot be read.
        passed_over: What else is in the folder.
        model: The network.
    """

    images: int
    new: int
    changed: int
    removed: int
    unreadable: Sequence[str]
    passed_over: Sequence[PassedOver]
    model: str


def build_index(
    photos: str | Path,
    out: str | Path,
    model: str | Path | None = None,
    *,
    workers: int = 0,
    batch_size: int | None = None,
    device: str = "auto",
    show_progress: bool = False,
) -> Built:
    """Make an index, or bring it up to date; the same call goes on where another was interrupted.

    Args:
        photos: A folder; every picture below it is taken.
        out: The folder to make, or an index.
        model: A checkpoint, the folder of a run, or published weights. None: of an index that is there its own, else
            published weights, and where they cannot be had those that come with the package.
        workers: Processes that decode.
        batch_size: Pictures at once; None: the task's.
        device: As for `maxvit.inference.device.choose_device`.
        show_progress: Draw a bar on standard error.

    Raises:
        MaxViTError: If the folder holds no picture that can be read, `out` is something else, is being written, or was
            made by another network, or the network cannot be used.
    """
    photos, out = Path(photos), Path(out)
    if not photos.is_dir():
        raise MaxViTError(f"{photos} is not a folder: give the folder of the pictures")
    found = find_images(photos)
    if not found.images:
        raise MaxViTError(f"folder {photos} holds no images{say_passed_over(found.passed_over)}")
    check_folder(out)
    if out.is_dir() and not (out / FILE).exists() and any(p.name != "lock" for p in out.iterdir()):
        raise MaxViTError(f"{out} is a folder of something else: give a name that is free, or an index")
    if show_progress:
        say(describe_images(len(found.images), found.passed_over))
    with _alone(out):
        before = read_manifest(out) if (out / FILE).exists() else None
        place = choose_device(device)
        given = None if model is None else str(model)
        embedder = open_embedder(given, found.images, place) if before is None else reopen(before, given, out, place)
        update = _Update(photos.absolute(), out, before, embedder)
        listed = {path.relative_to(photos).as_posix(): state for path in found.images if (state := state_of(path))}
        kept = update.keep(listed)
        wanted = [name for name in listed if name not in kept]
        unreadable = update.add(wanted, listed, workers, batch_size, show_progress)
        if not update.manifest.parts:
            raise MaxViTError(f"none of the {len(wanted):,} images of {photos} can be read: {unreadable[0]}")
        update.finish()
    readable = len(wanted) - len(unreadable)
    changed = sum(name in update.dropped for name in update.added)
    return Built(
        sum(part.images for part in update.manifest.parts),
        readable - changed,
        changed,
        len(update.dropped) - changed,
        unreadable,
        found.passed_over,
        embedder.origin.model,
    )


def state_of(path: Path) -> State | None:
    """Bytes of a file and when it was changed, in nanoseconds; None: it is not there."""
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_size, found.st_mtime_ns
    return None


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Refuse where another process writes the index; the system frees the lock of one that died."""
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / "lock", timeout=0):
            yield
    except Timeout as error:
        raise MaxViTError(f"{out} is being written by another process: wait until it ends") from error


class _Update:
    """Changes to an index; after each the manifest is whole, and what it does not name goes at the end.

    Args:
        photos: Where the pictures are.
        out: The index.
        before: What it said; None: it is new.
        embedder: What makes embeddings.

    Attributes:
        manifest: What it says.
        dropped: Pictures whose rows were taken out.
        added: Pictures whose rows were put in.
    """

    def __init__(self, photos: Path, out: Path, before: Manifest | None, embedder: Embedder) -> None:
        self.photos, self.out, self.embedder = photos, out, embedder
        self.dropped, self.added = set[str](), set[str]()
        self.manifest = Manifest(
            photos=str(photos),
            origin=embedder.origin,
            preprocessing=embedder.spec.to_dict(),
            width=embedder.width,
            parts=before.parts if before else (),
            approximate=before.approximate if before else None,
        )
        used = [int(path.stem.partition("-")[2]) for path in out.glob("part-*.safetensors")]
        self._next = max(used, default=-1) + 1
        if before is not None and before != self.manifest:
            self.manifest.write(out)  # the photos, or the checkpoint, have moved

    def keep(self, listed: Mapping[str, State]) -> set[str]:
        """Take out what has gone or changed, and give what stays.

        A file stays as it is where all of it does. Small ones are put together where more is to come.
        """
        names, whole, loose = set[str](), list[Part](), list[tuple[Part, list[int]]]()
        for part in self.manifest.parts:
            there, states = read_states(self.out / part.file)
            stays = [i for i, name in enumerate(there) if listed.get(name) == states[i]]
            names |= {there[i] for i in stays}
            self.dropped |= set(there) - names
            if len(stays) == len(there) and 2 * len(stays) >= PART:
                whole.append(part)
            else:
                loose.append((part, stays))
        if self.dropped or (len(loose) > 1 and names < listed.keys()):
            pieces = (Rows.read(self.out / part.file).take(np.array(stays, np.int64)) for part, stays in loose if stays)
            self._set([*whole, *(self._write(rows) for rows in _in_parts(pieces))])
        return names

    def add(
        self,
        names: Sequence[str],
        states: Mapping[str, State],
        workers: int,
        batch_size: int | None,
        show_progress: bool,
    ) -> list[str]:
        """Embed pictures, and give a sentence for each that cannot be read; what is done stays, however this ends."""
        unreadable: list[str] = []
        held: list[Rows] = []
        every = np.array([states[name] for name in names], np.int64).reshape(-1, 2)
        done = 0
        try:
            with counting("indexing", len(names), show_progress) as tell:
                sources = [self.photos / name for name in names]
                for rows, failed in self.embedder.rows(sources, names, every, PART, workers, batch_size):
                    unreadable += failed.values()
                    held.append(rows)
                    done += len(rows) + len(failed)
                    tell(done)
                    if sum(map(len, held)) >= PART:
                        held = self._append(held)
        finally:
            if any(map(len, held)):
                self._append(held)
        return unreadable

    def finish(self) -> None:
        """Write what large indices are searched by, and remove the files that are not needed any more."""
        if (name := make_approximate(self.out, self.manifest)) != self.manifest.approximate:
            self.manifest = self.manifest.model_copy(update={"approximate": name})
            self.manifest.write(self.out)
        named = {part.file for part in self.manifest.parts} | {self.manifest.approximate}
        for path in chain(self.out.glob("part-*.safetensors"), self.out.glob("approximate-*.faiss")):
            if path.name not in named:
                path.unlink(missing_ok=True)

    def _append(self, held: Sequence[Rows]) -> list[Rows]:
        rows = Rows.joined(held)
        self.added |= set(rows.names)
        self._set([*self.manifest.parts, self._write(rows)])
        return []

    def _write(self, rows: Rows) -> Part:
        part = Part(file=f"part-{self._next:06d}.safetensors", images=len(rows))
        self._next += 1
        rows.write(self.out / part.file)
        return part

    def _set(self, parts: Sequence[Part]) -> None:
        if tuple(parts) != self.manifest.parts:
            self.manifest = self.manifest.model_copy(update={"parts": tuple(parts), "approximate": None})
            self.manifest.write(self.out)


def _in_parts(pieces: Iterator[Rows]) -> Iterator[Rows]:
    """Few rows at a time as parts, of which the last may be small."""
    held: list[Rows] = []
    for piece in pieces:
        held.append(piece)
        if sum(map(len, held)) >= PART:
            *whole, rest = Rows.joined(held).pieces(PART)
            yield from whole
            held = [rest]
    if held:
        yield Rows.joined(held)
