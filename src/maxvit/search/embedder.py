"""What makes an embedding of a picture: the network of a checkpoint, or the one that comes with the package."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from maxvit.checking.features import MODEL, FrozenFeatures
from maxvit.checking.fingerprints import SIDE, fingerprints
from maxvit.checking.looks import Squeezed, squeeze
from maxvit.checkpoints.sources import locate
from maxvit.config import Preprocessing, Size
from maxvit.create import shipped_weights
from maxvit.data.band_count import first_count
from maxvit.data.dataset import LabelledImages
from maxvit.data.images import ImageLike
from maxvit.data.loading import part_batches_of
from maxvit.data.value_range import measure_range
from maxvit.errors import MaxViTError
from maxvit.inference.engines import Engine, open_engine, say
from maxvit.search.manifest import Manifest, Origin
from maxvit.search.rows import Embeddings, Rows, make_looks
from maxvit.tasks.examples import TaskExamples
from maxvit.training.start import ON_CPU, ON_GPU, why_not

BATCH = 64  # pictures at once, of the network that comes with the package


class Embedder:
    """A network that is ready to embed pictures.

    The network that comes with the package has no classifier and its last stage has not learned: the fields
    of its inner maps are taken, as `maxvit check` does. For any other see `search_features`.

    Args:
        model: A checkpoint, the folder of a run, or published weights.
        device: Where to compute.
        spec: How pictures are read by the network that comes with the package; any other knows.

    Attributes:
        origin: Which network it is.
        spec: How pictures are read.
        width: Features of a picture.

    Raises:
        MaxViTError: If the network cannot be read, or gives no embeddings.
    """

    def __init__(self, model: str, device: torch.device, spec: Preprocessing | None = None) -> None:
        path = Path(model)
        self._engine = None if is_shipped(model) else open_engine(model, device=device)
        if self._engine is None:
            self._fields = FrozenFeatures(device)
            self.spec, self.width = spec or Preprocessing(), self._fields.width
        else:
            self.spec, self._task = self._engine.preprocessing, self._engine.task
            blank = torch.zeros(1, len(self.spec.mean), *self.spec.image_size)
            self.width = search_features(self._engine, blank).shape[1]
        self.origin = Origin(
            model=str(path.absolute()) if path.exists() else model,
            sha256=locate(model).sha256(),
            features="fields" if self._engine is None else "embedding",
        )

    def rows(
        self,
        sources: Sequence[ImageLike],
        names: Sequence[str],
        states: npt.NDArray[np.int64],
        size: int,
        workers: int,
        batch_size: int | None = None,
    ) -> Iterator[tuple[Rows, dict[int, str]]]:
        """Rows of pictures, a batch at a time; batches are not of more than one part.

        Args:
            sources: The pictures.
            names: What to call each in its row.
            states: (n, 2), the state of each.
            size: Pictures of a part.
            workers: Processes that decode.
            batch_size: Pictures at once; None: the task's.

        Yields:
            Rows of those that can be read, and a sentence for each that cannot, by its index.
        """
        images = LabelledImages(sources, np.zeros(len(sources), np.float32), [], [str(source) for source in sources])
        examples = _Photos(images, self.spec, None if self._engine is None else self._task)
        parts = [range(i, min(i + size, len(sources))) for i in range(0, len(sources), size)]
        at_once = batch_size or (BATCH if self._engine is None else self._task.batch_size)
        for batch in part_batches_of(examples, examples.prepared_sizes, at_once, workers, parts):
            seen: list[Squeezed] = list(batch.targets)
            places, number = batch.indices.numpy(), len(seen)
            looks = make_looks(
                np.array([one.size for one in seen], np.int32).reshape(number, 2),
                np.array([one.file for one in seen], "S32"),
                np.array([one.seen for one in seen], "S32"),
                fingerprints(np.array([one.pixels for one in seen], np.uint8).reshape(number, SIDE, SIDE, 3)),
            )
            embeddings = self._embed(batch.images) if number else np.zeros((0, self.width), np.float16)
            rows = Rows([names[i] for i in places], states[places], embeddings, looks)
            yield rows, dict(zip(map(int, batch.skipped_indices), batch.skipped, strict=True))

    def _embed(self, images: Tensor) -> Embeddings:
        if self._engine is None:
            return normalised(self._fields(images))
        return normalised(search_features(self._engine, images).numpy())


def search_features(engine: Engine, images: Tensor) -> Tensor:
    """What pictures are compared by, (B, F) float32: what the network sees, and where it tells classes apart, its say.

    What a classifier sees holds much that it does not go by. Its logits, less their mean where they are for a softmax,
    say what it goes by, and count as much.

    Args:
        engine: The network.
        images: Prepared, (B, C, H, W).

    Raises:
        MaxViTError: If the engine cannot tell what the network sees.
    """
    config = engine.config
    classifies = len(engine.task.image_classes(engine.class_names, config)) > 1

    def compute(part: slice) -> Tensor:
        outputs, seen = engine.with_embeddings(images[part])
        if not classifies:
            return seen
        logits: Tensor = outputs[0] if isinstance(outputs, tuple) else outputs
        said = logits.cpu() if config.multi_label else (logits - logits.mean(1, keepdim=True)).cpu()
        return torch.cat([normalize(seen), normalize(said)], 1)

    return torch.cat(engine.portions(compute, images))


class _Photos:
    """`maxvit.data.loading.EvaluationExamples`: a picture as the network takes it, and small, which is its target."""

    def __init__(self, images: LabelledImages, spec: Preprocessing, task: Any) -> None:
        self.names, self.spec, self.sources = images.names, spec, images.sources
        self.prepared = None if task is None else TaskExamples(task, images, spec, labelled=False)

    def prepared_sizes(self, indices: range) -> Sequence[Hashable]:
        """As `TaskExamples.prepared_sizes`."""
        return [(SIDE, SIDE)] * len(indices) if self.prepared is None else self.prepared.prepared_sizes(indices)

    def sizes(self, training: bool) -> Sequence[Hashable]:
        """As `TaskExamples.sizes`."""
        return self.prepared_sizes(range(len(self.names)))

    def evaluation(self, index: int) -> tuple[list[Tensor], Size, Squeezed]:
        """The picture as the network takes it, its size, and what was seen of it."""
        seen = squeeze(self.sources[index], self.spec)
        tensors = [torch.from_numpy(seen.pixels)] if self.prepared is None else self.prepared.evaluation(index)[0]
        return tensors, seen.size, seen


def normalised(features: npt.NDArray[Any]) -> Embeddings:
    """Features (n, F), each divided by its length; what is nothing stays so."""
    values = features.astype(np.float32)
    return (values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)).astype(np.float16)


def is_shipped(model: str) -> bool:
    """Whether the network that comes with the package is meant."""
    return not Path(model).exists() and shipped_weights(model) is not None


def open_embedder(model: str | None, sources: Sequence[ImageLike], device: torch.device) -> Embedder:
    """The network that a person wants; None: published weights, and where they cannot be had those of the package.

    Args:
        model: See `Embedder`.
        sources: Some of the pictures, which say how deep they are.
        device: Where to compute.

    Raises:
        MaxViTError: As `Embedder`.
    """
    if model is None:
        wanted = ON_GPU if device.type == "cuda" else ON_CPU
        reason = why_not(wanted)
        model = MODEL if reason else wanted
        say(f"network: {model}" + (f", which comes with the package: {reason}" if reason else ""))
    spec = None
    if is_shipped(model):
        plain = Preprocessing().for_channels(first_count(sources, False))
        measured = measure_range(sources, plain, False)
        spec = replace(plain, value_range=measured[0]) if measured else plain
    return Embedder(model, device, spec)


def reopen(manifest: Manifest, model: str | None, index: Path, device: torch.device) -> Embedder:
    """The network that made an index.

    Args:
        manifest: What the index says of it.
        model: Where it is now; None: where it was.
        index: The index, for messages.
        device: Where to compute.

    Raises:
        MaxViTError: If it is not there, or is another one.
    """
    origin = manifest.origin
    given = model or origin.model
    if model is None and Path(given).is_absolute() and not Path(given).exists():
        raise MaxViTError(f"{given}, which made {index}, is not there: say where it is with --model")
    embedder = Embedder(given, device, manifest.spec)
    check_same(origin, embedder.origin, index)
    return embedder


def maker_among(manifest: Manifest, checkpoints: Mapping[str, Sequence[str]], index: Path) -> str:
    """The name of the network that made an index, among some that are given by their checkpoints.

    Raises:
        MaxViTError: If it is none of them.
    """
    origin = manifest.origin
    for name, paths in checkpoints.items():
        if len(paths) == 1 and origin.features == "embedding" and locate(paths[0]).sha256() == origin.sha256:
            return name
    raise MaxViTError(
        f"{index} was made by {origin.model} ({origin.sha256[:12]}), which is not served: give maxvit index one of "
        f"{', '.join(path for paths in checkpoints.values() for path in paths)} as --model, and another --out"
    )


def check_same(origin: Origin, other: Origin, index: Path) -> None:
    """Refuse, by `MaxViTError`, another network than the one that made an index."""
    if (origin.sha256, origin.features) != (other.sha256, other.features):
        raise MaxViTError(
            f"{index} was made by {origin.model} ({origin.sha256[:12]}), and {other.model} ({other.sha256[:12]}) is "
            "another network, whose embeddings cannot be compared: give the first, or build another index"
        )
