"""Predict any number of images into one file: by several processes, and going on where one was killed."""

import csv
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from maxvit.config import check_known
from maxvit.data.describing import describe_images
from maxvit.data.inputs import Gathered, gather
from maxvit.data.loading import Batch, part_loader
from maxvit.errors import MaxViTError
from maxvit.hub.download import sha256
from maxvit.inference.bulk.part_files import Parts, plan_file
from maxvit.inference.engines import TorchEngine, say
from maxvit.inference.predictor import Predictor
from maxvit.inference.progress import counting
from maxvit.inference.records import versions
from maxvit.storage import weight_files, write_atomically

if TYPE_CHECKING:
    from maxvit.inference.bulk.tables import Answers

KINDS = (".parquet", ".csv", ".jsonl")
PART = 4096  # images


@dataclass(frozen=True, slots=True)
class Written:
    """What `predict_to_file` left.

    Attributes:
        out: A row for each image that could be read.
        errors: CSV: path and reason of each that could not.
        images: How many there were.
        failed: How many of them could not be read.
        engine: What computed, in a few words.
    """

    out: Path
    errors: Path
    images: int
    failed: int
    engine: str


def predict_to_file(
    checkpoint: str | Path,
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    top_k: int = 5,
    batch_size: int = 32,
    workers: int = 0,
    embeddings: bool = False,
    part_size: int = PART,
    device: torch.device | str | None = None,
    engine: str = "auto",
    precision: str = "auto",
    show_progress: bool = False,
) -> Written:
    """Classify images, and write a row for each: in parts, so that the same call goes on where it was killed.

    Any number of processes, on any number of machines that share the folder of `out`, may make the same call at once;
    each takes parts that nobody has, and all return when the file is there. Where it is there already, nothing is done.

    Args:
        checkpoint: As for `Predictor`.
        images: Files and folders; or one list, or shards: see `maxvit.data.inputs.gather`.
        out: The file to make, .parquet, .csv or .jsonl, with columns path, label (where a list or shards say it),
            answer (of a multi-label network: the classes that reach its threshold, joined by |), class_1, probability_1
            and so on, the most probable first, and embedding. Beside it come OUT.plan.json and the errors,
            NAME.errors.csv.
        top_k: How many classes to name for each image.
        batch_size: Images per forward.
        workers: Processes that decode.
        embeddings: Also the features that the classifier sees, float32; not for CSV, and in PyTorch alone.
        part_size: Images that are written at a time.
        device: As for `Predictor`.
        engine: As for `Predictor`.
        precision: As for `Predictor`.
        show_progress: Draw a bar on standard error.

    Raises:
        MaxViTError: If an argument is out of range, the checkpoint or the images cannot be used, `out` cannot be
            written, or exists and is not of this call.
    """
    out = Path(out)
    _check(out, workers, embeddings, part_size)
    from maxvit.inference.bulk.tables import as_table, as_utf8, join, schema, write_part

    places = [images] if isinstance(images, str | Path) else images
    found = gather(places)
    predictor = Predictor(checkpoint, top_k, batch_size, device, engine, precision)
    if embeddings and not isinstance(predictor.engine, TorchEngine):
        raise MaxViTError(f"{predictor.engine.name} gives no embeddings: use the checkpoint, with engine torch")
    plan = {
        "checkpoint (sha256)": _digest(Path(checkpoint)),
        "number of images": len(found),
        "images (sha256 of their names)": _digest_names(found),
        "top_k": predictor.top_k,
        "embeddings": embeddings,
        "labels": found.labels is not None,
        "part size": part_size,
    }
    about = {
        "checkpoint": str(checkpoint),
        "images": [as_utf8(str(place)) for place in places],
        "engine": predictor.engine.name,
        "versions": versions(),
    }
    config = predictor.engine.config
    channels = config.channels[-1] if embeddings else None
    columns = schema(predictor.top_k, found.labels is not None, channels, config.multi_label)
    errors = out.with_name(f"{out.stem}.errors.csv")
    if errors.exists() and not plan_file(out).exists():
        raise MaxViTError(f"{errors}, where the errors would go, exists already: choose another name, or remove it")
    with Parts(out, len(found), part_size, plan, about) as parts:
        if show_progress:
            say(describe_images(len(found), found.passed_over))
        with counting("predicting", len(found), show_progress) as tell:
            for claimed in parts.rounds():
                loader = part_loader(found.unlabelled(), predictor.engine.preprocessing, batch_size, workers, claimed)
                for answers in _answer(predictor, loader, parts, embeddings, tell):
                    table = as_table(answers, columns, found, predictor.class_names)
                    parts.write(answers.part.start // part_size, partial(write_part, table))

        def write(files: list[Path]) -> dict[Path, Path]:
            rows, failures = parts.folder / "rows", parts.folder / "errors"
            write_atomically(
                rows, lambda r: write_atomically(failures, lambda f: join(files, columns, r, out.suffix, f))
            )
            return {failures: errors, rows: out}

        parts.join(write)
    failed = 0
    if errors.exists():  # it may have been removed since
        with errors.open(encoding="utf-8", newline="") as file:
            failed = sum(1 for _ in csv.reader(file)) - 1
    return Written(out, errors, len(found), failed, predictor.engine.name)


def _answer(
    predictor: Predictor, loader: Iterable[Batch], parts: Parts, embeddings: bool, tell: Callable[[int], None]
) -> Iterator["Answers"]:
    """Each part as soon as its last batch is done."""
    from maxvit.inference.bulk.tables import Answers

    engine, finished = predictor.engine, parts.finished()
    answers: Answers | None = None
    for batch in loader:
        part = parts.part_of(int(batch.indices[0]) if len(batch.indices) else batch.skipped_indices[0])
        if answers is None or answers.part != part:
            answers = Answers(part)
        answers.errors |= dict(zip(batch.skipped_indices, batch.skipped, strict=True))
        if len(batch.indices):
            if embeddings:
                assert isinstance(engine, TorchEngine)
                logits, features = engine.with_embeddings(batch.images)
                answers.embeddings.append(features)
            else:
                logits = engine(batch.images)
            probabilities = engine.config.probabilities(logits)
            best = probabilities.topk(predictor.top_k)
            answers.indices.append(batch.indices)
            if engine.config.multi_label:
                answers.answered += [engine.config.answered(row) for row in probabilities]
            answers.probabilities.append(best.values)
            answers.classes.append(best.indices)
        tell(finished + answers.done)
        if answers.done == len(part):
            yield answers
            finished = parts.finished()


def _check(out: Path, workers: int, embeddings: bool, part_size: int) -> None:
    check_known("ending of the file", [out.suffix], KINDS)
    if workers < 0 or part_size < 1:
        raise MaxViTError(f"workers is {workers} and part_size {part_size}; they take numbers from 0 and from 1 up")
    if embeddings and out.suffix == ".csv":
        raise MaxViTError(f"{out}: a CSV file has no room for embeddings: write .parquet or .jsonl")
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError as error:
        raise MaxViTError(
            "the parts of a file are Parquet, which needs pyarrow: pip install 'maxvit[lists]'"
        ) from error


def _digest(checkpoint: Path) -> str:
    """Of its content, whether it is one file, a folder, or several files with a common beginning."""
    files = weight_files(checkpoint)
    if not files[0].is_file():
        files = sorted(p for p in checkpoint.rglob("*") if p.is_file())
    files = files or sorted(p for p in checkpoint.parent.glob(f"{checkpoint.name}*") if p.is_file())
    return sha256(files[0]) if len(files) == 1 else hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()


def _digest_names(images: Gathered) -> str:
    digest = hashlib.sha256()
    for name in images.names:
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()
