"""Groups of similar pictures."""

from pathlib import Path

import numpy as np

from maxvit.search.approximate import SEED, load_faiss, spread
from maxvit.search.manifest import Manifest
from maxvit.search.rows import read_embeddings

_OF_EACH = 256  # pictures of a cluster, that its centre is learned from
_STEPS = 25


def find_clusters(folder: Path, manifest: Manifest, number: int) -> list[tuple[list[int], list[float]]]:
    """Rows of each group, the nearest to its centre first, and their cosines with it; the largest group first.

    Centres are learned from a sample of large indices; then each picture goes to its nearest.

    Raises:
        MaxViTError: If faiss (an optional dependency) is missing.
    """
    faiss = load_faiss("clustering")
    sample = spread(folder, manifest, _OF_EACH * number)
    means = faiss.Kmeans(
        manifest.width, number, niter=_STEPS, spherical=True, seed=SEED, min_points_per_centroid=1, nredo=3
    )
    means.train(sample)
    nearest, cosines = [], []
    for part in manifest.parts:
        values = read_embeddings(folder / part.file).astype(np.float32) @ means.centroids.T  # (n, number)
        nearest.append(values.argmax(1))
        cosines.append(values.max(1))
    chosen, alike = np.concatenate(nearest), np.concatenate(cosines)
    order = np.lexsort((-alike, chosen))
    groups = np.split(order, np.flatnonzero(np.diff(chosen[order])) + 1)
    found = [(rows.tolist(), [round(float(value), 4) for value in alike[rows]]) for rows in groups]
    return sorted(found, key=lambda group: -len(group[0]))
