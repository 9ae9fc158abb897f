"""maxvit shard: a folder of images as a few large files."""

import json
from pathlib import Path
from typing import Annotated

import typer

from maxvit.cli.console import say_left_out
from maxvit.cli.errors import complain
from maxvit.cli.options import ImageColumn, LabelColumn


def shard(
    folder: Annotated[
        Path, typer.Argument(help="A folder with a folder of images per class, split already or not; or a list.")
    ],
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
    shard_size: Annotated[int, typer.Option(min=1, metavar="MB", help="A shard is full at this size.")] = 256,
    val_fraction: Annotated[float, typer.Option(help="Held out where FOLDER has no val.")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="Seed for shuffling and for the validation split.")] = 0,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
) -> None:
    """Write a data set as shards: tar files that training reads fast, from disk or object storage.

    JPEG, PNG and WebP files, and all of more than 8 bits, are copied as they are, other formats become PNG; images that
    cannot be read are left out.
    The tar files have WebDataset's layout. If it is interrupted, the same command starts over.
    """
    from maxvit.data.columns import ListColumns
    from maxvit.data.dataset import describe
    from maxvit.data.load import load_images
    from maxvit.data.shards.write import write_shards
    from maxvit.errors import MaxViTError
    from maxvit.inference.progress import track
    from maxvit.tasks import DEFAULT, find_task, refuse_other_tasks

    if not 0 < val_fraction < 1:
        raise MaxViTError(f"--val-fraction is {val_fraction}: give a share between 0 and 1")
    advice = "shards hold classes; maxvit train takes the folder as it is, with --task {task}"
    refuse_other_tasks(folder, find_task(DEFAULT), advice)
    splits = load_images(str(folder), val_fraction, seed, ListColumns.of(image_column, label_column))
    if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
        raise MaxViTError(f"{out} is in {folder}, where each folder is a class: choose a folder outside")
    complain(describe(splits))
    done = write_shards(
        splits, out, shard_size * 2**20, seed, lambda order, split: track(order, f"writing {split}", show=True)
    )
    for sentence in done.skipped[:10]:
        complain(f"left out: {sentence}")
    if done.skipped:
        complain(say_left_out(len(done.skipped)))
    if as_json:
        counts = {"images": done.images, "shards": done.shards, "bytes": done.bytes, "skipped": len(done.skipped)}
        typer.echo(json.dumps({"out": str(out), **counts}))
        return
    for split, images in done.images.items():
        number = done.shards[split]
        typer.echo(f"{split:5} {images:,} image{'s' * (images != 1)} in {number:,} shard{'s' * (number != 1)}")
    typer.echo(f"wrote {out}: {done.bytes / 2**20:,.1f} MB")
