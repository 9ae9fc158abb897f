"""Predict any number of images into one file: by several processes, and going on where one was killed."""

import csv
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from maxvit.checkpoints.sources import locate
from maxvit.data.columns import ListColumns
from maxvit.data.dataset import describe_images
from maxvit.data.inputs import Gathered, gather
from maxvit.data.loading import Batch, part_batches_of
from maxvit.errors import MaxViTError, require
from maxvit.inference.bulk.part_files import Parts, plan_file
from maxvit.inference.engines import say
from maxvit.inference.ensemble import Ensemble, as_several
from maxvit.inference.evaluation_files import versions
from maxvit.inference.pictures import Pictures
from maxvit.inference.predictor import Predictor
from maxvit.inference.progress import counting
from maxvit.tasks.examples import TaskExamples
from maxvit.tasks.protocols import Predicted

if TYPE_CHECKING:
    from maxvit.inference.bulk.tables import Columns, Features, Part

PART, LARGE = 4096, 64  # images of a part; where their predictions are kept whole, such as masks


@dataclass(frozen=True, slots=True)
class Written:
    """What `predict_to_file` left.

    Attributes:
        out: What was predicted for each image that could be read.
        errors: CSV: path and reason of each that could not.
        images: How many there were.
        failed: How many of them could not be read.
        engine: What computed, in a few words.
        was_there: Whether `out` was there already, so that nothing was computed.
    """

    out: Path
    errors: Path
    images: int
    failed: int
    engine: str
    was_there: bool = False


def predict_to_file(
    checkpoint: str | Path | Sequence[str | Path],
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    batch_size: int | None = None,
    image_column: str | None = None,
    workers: int = 0,
    embeddings: bool = False,
    part_size: int | None = None,
    pictures: str | Path | None = None,
    device: torch.device | str | None = None,
    engine: str = "auto",
    precision: str = "auto",
    settings: Mapping[str, Any] | None = None,
    tta: str = "none",
    show_progress: bool = False,
) -> Written:
    """Predict images, and write what is predicted for each: in parts, so that the same call goes on after a kill.

    Any number of processes, on any number of machines that share the folder of `out`, may make the same call at once;
    each takes parts that nobody has, and all return when the file is there. Where it is there already, nothing is done.

    Args:
        checkpoint: As for `Predictor`; several in a list predict together.
        images: Files and folders; or one list, or shards: see `maxvit.data.inputs.gather`.
        out: The file to make. .parquet, .csv or .jsonl, with columns path, label (where a list or shards say it), the
            other columns of a list as text, those of `Task.row`, such as class_1 and probability_1, and embedding.
            Where a prediction does not fit into a row: .jsonl, with an object of `Task.to_json` each; or what
            `Task.write` writes, such as a folder of masks. Next to it come OUT.plan.json and the errors,
            NAME.errors.csv.
        batch_size: As for `Predictor`.
        image_column: Column of a list that names the images; None: path, else the only one that fits.
        workers: Processes that decode.
        embeddings: Also the features that the last layers see, float32: into .parquet and .jsonl, and in PyTorch alone.
        part_size: Images that are written at a time; None: 4096, or 64 where a prediction is not a row.
        pictures: A folder, where each prediction is drawn over its image; None: none is.
        device: As for `Predictor`.
        engine: As for `Predictor`.
        precision: As for `Predictor`.
        settings: As for `Predictor`.
        tta: As for `Predictor`.
        show_progress: Draw a bar on standard error.

    Raises:
        MaxViTError: If an argument is out of range, the checkpoint or the images cannot be used, `out` cannot be
            written, or exists and is not of this call.
    """
    predictor = Predictor(checkpoint, batch_size, device, engine, precision, settings, tta)
    return write_predictions(
        predictor, checkpoint, images, out, image_column, workers, embeddings, part_size, pictures, show_progress
    )


def write_predictions(
    predictor: Predictor,
    checkpoint: str | Path | Sequence[str | Path],
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    image_column: str | None = None,
    workers: int = 0,
    embeddings: bool = False,
    part_size: int | None = None,
    pictures: str | Path | None = None,
    show_progress: bool = False,
) -> Written:
    """`predict_to_file` with a predictor that is there already; `checkpoint` says where it comes from."""
    out = Path(out) if Path(out).name else Path(out).resolve()
    _check(out, workers, embeddings, part_size)
    from maxvit.inference.bulk.tables import Columns, as_utf8, join

    places = [images] if isinstance(images, str | Path) else images
    found = gather(places, ListColumns(image_column))
    task, ensemble, checkpoints = predictor.task, predictor.ensemble, as_several(checkpoint)
    prediction, features = _predict_blank(ensemble, embeddings)
    labelled = found.labels is not None
    columns = Columns(task, predictor.class_names, out, labelled, list(found.others), prediction, features)
    part_size = part_size or (PART if columns.as_rows else LARGE)
    drawn = None
    if pictures is not None:
        if out.resolve() == Path(pictures).resolve():
            raise MaxViTError(f"out and pictures are both {out}: give each a place of its own")
        drawn = Pictures(Path(pictures), found.sources, found.names, predictor)
    digests = [locate(path).sha256() for path in checkpoints]
    plan = {
        "checkpoint (sha256)": digests[0] if len(digests) == 1 else digests,
        "number of images": len(found),
        "images (sha256 of their names)": _digest_names(found),
        **{f"task.{name}": value for name, value in task.settings.model_dump(mode="json").items()},
        "tta": None if ensemble.tta == "none" else ensemble.tta,  # nothing, as in plans of older versions
        "embeddings": embeddings,
        "pictures": drawn is not None,
        "labels": labelled,
        "columns that are kept": list(found.others),
        "part size": part_size,
    }
    about = {
        "checkpoint": ",".join(map(str, checkpoints)),
        "images": [as_utf8(str(place)) for place in places],
        "engine": ensemble.name,
        "versions": versions(),
    }
    errors = out.with_name(f"{out.stem}.errors.csv")
    if errors.exists() and not plan_file(out).exists() and not _lists_errors(errors):
        raise MaxViTError(f"{errors}, where the errors would go, exists already: choose another name, or remove it")
    with Parts(out, len(found), part_size, plan, about) as parts:
        was_there = parts.is_made()
        if show_progress:
            say(describe_images(len(found), found.passed_over, found.columns))
        spec, *others = ensemble.specs
        examples = TaskExamples(task, found.unlabelled(), spec, labelled=False, others=others)
        with counting("predicting", len(found), show_progress) as tell:
            for claimed in parts.rounds():
                batches = part_batches_of(examples, examples.prepared_sizes, predictor.batch_size, workers, claimed)
                for part in _predict(ensemble, batches, parts, columns, embeddings, drawn, tell):
                    parts.write(part.images.start // part_size, partial(part.write, columns=columns, images=found))

        def write(files: list[Path]) -> dict[Path, Path]:
            joined = parts.folder / "joined"
            if joined.exists():
                shutil.rmtree(joined)  # of a process that died here
            join(files, columns, joined / out.name, joined / errors.name)
            return {joined / errors.name: errors, joined / out.name: out}

        parts.join(write)
    failed = 0
    if errors.exists():  # it may have been removed since
        with errors.open(encoding="utf-8", newline="") as file:
            failed = sum(1 for _ in csv.reader(file)) - 1
    return Written(out, errors, len(found), failed, ensemble.name, was_there)


def _predict_blank(ensemble: Ensemble, embeddings: bool) -> "tuple[Predicted, Features | None]":
    """The prediction for a blank image, and its features: they say what a row is before there is one."""
    size = ensemble.specs[0].image_size
    images = [torch.zeros(1, len(spec.mean), *spec.image_size) for spec in ensemble.specs]
    if not embeddings:
        return ensemble.predict(images, [size])[0], None
    predictions, features = ensemble.predict_and_embed(images, [size])
    return predictions[0], features[0].numpy()


def _predict(
    ensemble: Ensemble,
    batches: Iterable[Batch],
    parts: Parts,
    columns: "Columns",
    embeddings: bool,
    pictures: Pictures | None,
    tell: Callable[[int], None],
) -> "Iterator[Part]":
    """Each part as soon as its last batch is done."""
    from maxvit.inference.bulk.tables import Part

    finished = parts.finished()
    part: Part | None = None
    for batch in batches:
        images = parts.part_of(int(batch.indices[0]) if len(batch.indices) else batch.skipped_indices[0])
        if part is None or part.images != images:
            part = Part(images)
        part.errors |= dict(zip(batch.skipped_indices, batch.skipped, strict=True))
        if len(batch.indices):
            images_of_batch = [batch.images, *batch.others]
            features: Iterable[Features | None] = [None] * len(batch.indices)
            if embeddings:
                predictions, found = ensemble.predict_and_embed(images_of_batch, batch.sizes)
                features = found.numpy()
            else:
                predictions = ensemble.predict(images_of_batch, batch.sizes)
            rows = zip(batch.indices.tolist(), batch.sizes, predictions, features, strict=True)
            for index, size, prediction, seen in rows:
                part.rows[index] = columns.cells(size, prediction, seen)
                if pictures is not None:
                    pictures.draw(index, prediction)
        tell(finished + part.done)
        if part.done == len(images):
            yield part
            finished = parts.finished()


def _check(out: Path, workers: int, embeddings: bool, part_size: int | None) -> None:
    if workers < 0 or (part_size is not None and part_size < 1):
        raise MaxViTError(f"workers is {workers} and part_size {part_size}; they take numbers from 0 and from 1 up")
    if embeddings and out.suffix == ".csv":
        raise MaxViTError(f"{out}: a CSV file has no room for embeddings: write .parquet or .jsonl")
    require("a file of predictions, whose parts are Parquet,", "pyarrow")


def _lists_errors(file: Path) -> bool:
    """Whether a file is a list of errors of ours, which stays where a person has removed the rest to begin again."""
    from maxvit.inference.bulk.tables import ERROR_COLUMNS

    with file.open("rb") as lines:
        return lines.readline(100).strip() == ",".join(f'"{name}"' for name in ERROR_COLUMNS.names).encode()


def _digest_names(images: Gathered) -> str:
    digest = hashlib.sha256()
    for name in images.names:
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()
