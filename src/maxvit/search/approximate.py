"""Indices of many pictures: FAISS finds candidates, which are compared exactly then."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maxvit.errors import MaxViTError, require
from maxvit.inference.engines import say
from maxvit.search.manifest import Manifest
from maxvit.search.rows import read_embeddings
from maxvit.storage import write_atomically

LARGE = 100_000  # pictures, from which on not all are compared
CELLS, LOOKED_AT = 512, 32  # cells that they are sorted into, and how many of them are searched
LEARNED_FROM = 20_000  # pictures, spread over all
DIMENSIONS = 256  # that embeddings are reduced to
CANDIDATES = 10  # times as many as are wanted are compared exactly
SEED = 0
Floats = npt.NDArray[np.float32]


def load_faiss(what: str) -> Any:
    """The library. Raises `MaxViTError` where faiss (an optional dependency) is missing."""
    require(what, "faiss")
    import faiss

    return faiss


def make_approximate(folder: Path, manifest: Manifest) -> str | None:
    """Write what a large index is searched by, and give its name; None: it is small, or faiss is missing.

    One that fits the parts of the manifest is kept.
    """
    total = sum(part.images for part in manifest.parts)
    if total < LARGE or manifest.approximate is not None:
        return manifest.approximate
    try:
        faiss = load_faiss(f"fast search among {total:,} pictures")
    except MaxViTError as error:
        say(f"{error}; until then each is compared")
        return None
    width = manifest.width
    cells = max(1, min(CELLS, total // 39))  # as faiss wants pictures of a cell, to learn from
    kind = f"PCAR{min(DIMENSIONS, width)},IVF{cells},SQ8"
    index = faiss.index_factory(width, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(spread(folder, manifest, LEARNED_FROM))
    for part in manifest.parts:
        index.add(read_embeddings(folder / part.file).astype(np.float32))
    used = [int(path.stem.partition("-")[2]) for path in folder.glob("approximate-*.faiss")]
    name = f"approximate-{max(used, default=-1) + 1:06d}.faiss"
    write_atomically(folder / name, lambda path: faiss.write_index(index, str(path)))
    return name


def spread(folder: Path, manifest: Manifest, number: int) -> Floats:
    """Embeddings of so many pictures, or of all, in equal shares of the parts; the same for the same index."""
    random, total = np.random.default_rng(SEED), sum(part.images for part in manifest.parts)
    chosen = np.sort(random.permutation(total)[:number])
    found, start = [], 0
    for part in manifest.parts:
        inside = chosen[(chosen >= start) & (chosen < start + part.images)] - start
        found.append(read_embeddings(folder / part.file)[inside].astype(np.float32))
        start += part.images
    return np.concatenate(found)


def candidates(folder: Path, name: str, queries: Floats, number: int) -> npt.NDArray[np.int64]:
    """Rows (q, number) that are probably nearest to each query; -1 where there are fewer.

    Raises:
        MaxViTError: If the file is missing or damaged, or faiss is not installed.
    """
    path = folder / name
    try:
        index = _read(str(path), path.stat().st_mtime_ns)
    except (OSError, RuntimeError) as error:
        raise MaxViTError(f"{path} cannot be read: build the index anew in another folder") from error
    rows: npt.NDArray[np.int64] = index.search(queries, number)[1]
    return rows


@lru_cache(maxsize=1)  # for a server
def _read(path: str, _: int) -> Any:
    faiss = load_faiss("search among so many pictures")
    index = faiss.read_index(path)
    faiss.extract_index_ivf(index).nprobe = LOOKED_AT
    return index
