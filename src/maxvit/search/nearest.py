"""The pictures of an index that are most similar to queries."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maxvit import storage
from maxvit.search.approximate import CANDIDATES, candidates
from maxvit.search.manifest import Manifest
from maxvit.search.rows import Embeddings, read_embeddings

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


def nearest(folder: Path, manifest: Manifest, queries: Floats, k: int) -> tuple[Places, Floats]:
    """Rows (q, k) of the most similar pictures, the most similar first, and the cosines of their angles.

    Args:
        folder: Of the index.
        manifest: What it says.
        queries: (q, F), each of length 1.
        k: How many for each, at most as many as there are.
    """
    if manifest.approximate is None:
        return exact((read_embeddings(folder / part.file) for part in manifest.parts), queries, k)
    number = min(CANDIDATES * k, sum(part.images for part in manifest.parts))
    likely = candidates(folder, manifest.approximate, queries, number)
    rows, cosines = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf, np.float32)
    for i, found in enumerate(likely):
        places = np.sort(found[found >= 0])
        values = _of(folder, manifest, places).astype(np.float32) @ queries[i]
        order = np.argsort(-values, kind="stable")[:k]
        rows[i, : len(order)], cosines[i, : len(order)] = places[order], values[order]
    return rows, cosines


def exact(parts: Iterable[Embeddings], queries: Floats, k: int) -> tuple[Places, Floats]:
    """The same by comparing all, a part in memory at a time; of equals the earlier row goes first."""
    rows, cosines = np.zeros((len(queries), 0), np.int64), np.zeros((len(queries), 0), np.float32)
    start = 0
    for part in parts:
        values = queries @ part.astype(np.float32).T  # (q, n)
        places = np.broadcast_to(np.arange(start, start + len(part)), values.shape)
        values, places = np.concatenate([cosines, values], 1), np.concatenate([rows, places], 1)
        order = np.argsort(-values, axis=1, kind="stable")[:, :k]
        rows, cosines = np.take_along_axis(places, order, 1), np.take_along_axis(values, order, 1)
        start += len(part)
    return rows, cosines


def _of(folder: Path, manifest: Manifest, rows: Places) -> Embeddings:
    """Embeddings of some rows, in order."""
    found: list[Embeddings] = []
    start = 0
    for part in manifest.parts:
        inside = rows[(rows >= start) & (rows < start + part.images)] - start
        if len(inside):
            found.append(storage.load_rows(folder / part.file, "embeddings", inside.tolist()).numpy())
        start += part.images
    return np.concatenate(found) if found else np.zeros((0, manifest.width), np.float16)
