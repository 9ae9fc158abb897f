"""Searching by example: how many of the ten most similar pictures are of the query's class.

Each held-out picture of a run's data is a query, and the others are searched; the mean share of its ten most similar
that have its class, by class. Pixels: the cosine of 32 x 32 grey pictures without their mean. Shipped: what `maxvit
index` takes where no published weights can be had. Trained: the network of the run, which has learned from other
pictures of the same classes. Then pictures of Fashion-MNIST: what indexing takes, and a search where
each picture is compared and where FAISS finds candidates. Seconds are those that one
core computed.

    python benchmarks/search.py RUN... --work FOLDER --out benchmarks/results/search_HARDWARE_YYYY-MM
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from check_duplicates import clothes
from note import table, write_note
from PIL import Image

from maxvit.data.finding import find_images
from maxvit.search import approximate
from maxvit.search.build import build_index
from maxvit.search.index import ImageIndex
from maxvit.search.manifest import Manifest
from maxvit.search.nearest import exact, nearest
from maxvit.search.rows import read_embeddings, read_states
from maxvit.training.files import read_recipe

K, SIDE, SHIPPED = 10, 32, "maxvit_micro"
Floats = npt.NDArray[np.float32]


def pixels(photos: Path) -> tuple[Floats, list[str]]:
    """Directions of grey pictures, and their classes."""
    paths = find_images(photos).images
    grey = [Image.open(path).convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC) for path in paths]
    values = np.array([np.asarray(picture, np.float32).ravel() for picture in grey])
    values -= values.mean(1, keepdims=True)
    return values / np.linalg.norm(values, axis=1, keepdims=True), [path.parent.name for path in paths]


def embeddings(photos: Path, model: str, work: Path) -> tuple[Floats, list[str]]:
    """Those of an index, and the classes of its pictures."""
    manifest = index(photos, model, work).manifest
    names = [name for part in manifest.parts for name in read_states(work / part.file)[0]]
    found = np.concatenate([read_embeddings(work / part.file) for part in manifest.parts])
    return found.astype(np.float32), [Path(name).parent.name for name in names]


def index(photos: Path, model: str, out: Path) -> ImageIndex:
    """An index of a folder."""
    build_index(photos, out, model, device="cpu")
    return ImageIndex.open(out)


def precision(values: Floats, classes: Sequence[str]) -> dict[str, float]:
    """Of the K most similar others of each picture, the share that is of its class; by class, and of all."""
    every = np.array(classes)
    rows, _ = exact([values.astype(np.float16)], values, K + 1)
    others = np.array([[row for row in found if row != i][:K] for i, found in enumerate(rows)])
    right = (every[others] == every[:, None]).mean(1)
    return {**{name: float(right[every == name].mean()) for name in sorted(set(classes))}, "all": float(right.mean())}


def compare(run: Path) -> list[str]:
    """The table of a run."""
    photos = Path(str(read_recipe(run).data.path)) / "test"
    with tempfile.TemporaryDirectory() as folder:
        values, classes = embeddings(photos, str(run), Path(folder) / "trained")
        seen = values[:, : -len(set(classes))]  # its logits come last
        found = {
            "pixels": precision(*pixels(photos)),
            "shipped": precision(*embeddings(photos, SHIPPED, Path(folder) / "shipped")),
            "trained, without its logits": precision(seen / np.linalg.norm(seen, axis=1, keepdims=True), classes),
            "trained": precision(values, classes),
        }
    number = len(find_images(photos).images)
    learned = len(find_images(photos.parent / "train").images)
    rows = [[name, *(f"{found[way][name]:.3f}" for way in found)] for name in found["pixels"]]
    return [
        f"{photos.parent.name.partition('-')[0]}: {number:,} pictures; trained on {learned:,} others.",
        "",
        *table(["precision@10", *found], rows),
        "",
    ]


def measure(work: Path, number: int) -> list[str]:
    """Seconds and recall on so many pictures."""
    images = clothes(work)[0][:number]
    with tempfile.TemporaryDirectory() as folder:
        photos, out = Path(folder) / "photos", Path(folder) / "index"
        photos.mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image).save(photos / f"{i:05d}.png")
        begin = time.process_time()
        opened = index(photos, SHIPPED, out)
        took = time.process_time() - begin
        begin = time.process_time()
        build_index(photos, out, device="cpu")
        again = time.process_time() - begin
        queries = approximate.spread(out, opened.manifest, 200)
        begin = time.process_time()
        slow, _ = nearest(out, opened.manifest, queries, K)
        exact_ms = 1000 * (time.process_time() - begin) / len(queries)
        one_ms = _one(out, opened.manifest, queries)
        approximate.LARGE = 1
        begin = time.process_time()
        name = approximate.make_approximate(out, opened.manifest)
        built = time.process_time() - begin
        fast = opened.manifest.model_copy(update={"approximate": name})
        quick, _ = nearest(out, fast, queries, K)
        recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(slow, quick, strict=True)])
        size = sum(path.stat().st_size for path in out.glob("part-*")) / len(images)
        rows = [
            ["indexing, pictures a second", f"{len(images) / took:.0f}"],
            ["indexing again where nothing has changed, s", f"{again:.1f}"],
            ["bytes of a picture in the index", f"{size:,.0f}"],
            ["one query, each picture compared, ms", f"{one_ms:.0f}"],
            ["a query of 200 at once, ms", f"{exact_ms:.1f}"],
            ["building what FAISS searches, s", f"{built:.1f}"],
            [
                "one query, candidates by FAISS and their embeddings read from the files, ms",
                f"{_one(out, fast, queries):.0f}",
            ],
            ["of the exact ten nearest, found by FAISS", f"{recall:.3f}"],
        ]
    return [f"Pictures of Fashion-MNIST's test part: {len(images):,}, shipped network.", "", *table(["", ""], rows)]


def _one(folder: Path, manifest: Manifest, queries: Floats) -> float:
    """Milliseconds of a query alone, the median."""
    seconds = []
    for query in queries[:20]:
        begin = time.process_time()
        nearest(folder, manifest, query[None], K)
        seconds.append(time.process_time() - begin)
    return 1000 * float(np.median(seconds))


def main() -> None:
    """Measure, and write the note."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--work", type=Path, required=True, help="where what is fetched is kept")
    parser.add_argument("--pictures", type=int, default=10_000, help="of Fashion-MNIST, whose indexing is timed")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    body = [line for run in options.runs for line in compare(run)] + measure(options.work, options.pictures)
    chosen = ["--pictures", str(options.pictures)]
    command = ["benchmarks/search.py", "RUN...", "--work", "FOLDER", *chosen, "--out", str(options.out)]
    print(write_note(options.out, __doc__, body, command, ["faiss-cpu", "numpy"]).read_text())


if __name__ == "__main__":
    sys.exit(main())
