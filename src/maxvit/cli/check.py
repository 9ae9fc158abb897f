"""maxvit check: what state a data set is in."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maxvit.cli.errors import complain
from maxvit.cli.options import Device, ImageColumn, LabelColumn
from maxvit.errors import MaxViTError

if TYPE_CHECKING:
    from maxvit.checking.check import DataCheck

_SHOWN = 5  # images of each kind that are named


def check(
    data: Annotated[str, typer.Argument(help="As for maxvit train: a folder of class folders, shards, a list, ...")],
    task: Annotated[
        str, typer.Option(help="classification, segmentation, detection, aesthetics, regression, or a module of yours.")
    ] = "classification",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write check.html there, and decisions.csv to edit."),
    ] = None,
    apply: Annotated[
        Path | None,
        typer.Option(metavar="LIST", help="decisions.csv: write what stays next to it, as a list for maxvit train."),
    ] = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode images.")] = 0,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Everything that was found, as JSON.")] = False,
) -> None:
    """Look for images that cannot be read or come twice, labels that look wrong, and images unlike all others.

    Nothing in DATA is changed. Images come twice as the same file, with the same pixels, encoded anew, smaller or
    mirrored: within a part, in several parts, and under two classes. The labels of images with one class are judged by
    features of the network that comes with the package.
    """
    if apply is not None:
        given = {"--out": out, "--json": as_json, "--workers": workers, "--device": device != "auto"}
        if extra := [name for name, value in given.items() if value]:
            raise MaxViTError(f"--apply writes a list next to its own and looks at no image: leave {extra[0]} out")
        from maxvit.checking.decisions import apply_decisions
        from maxvit.data.columns import ListColumns

        kept, dropped, path = apply_decisions(apply, data, task, ListColumns.of(image_column, label_column))
        typer.echo(f"{kept:,} images stay, {dropped:,} do not: maxvit train {shlex.quote(str(path))}")
        return
    from maxvit.checking.cards import load_template
    from maxvit.checking.check import check as check_data
    from maxvit.checking.decisions import write_decisions
    from maxvit.checking.page import write_page
    from maxvit.storage import check_folder

    if out is not None:
        check_folder(out)
        load_template()  # before all is looked at
    found = check_data(data, task, image_column=image_column, label_column=label_column, workers=workers, device=device)
    if as_json:
        typer.echo(json.dumps(found.to_json()))
    else:
        typer.echo("\n".join(_in_words(found)))
    if out is not None:
        page, decisions = out / "check.html", out / "decisions.csv"
        chosen = [] if task == "classification" else ["--task", task]
        chosen += ["--image-column", image_column] if image_column is not None else []
        for column in label_column or ():
            chosen += ["--label-column", column]
        write_page(page, found, data, shlex.join(["maxvit", "check", data, *chosen, "--apply", str(decisions)]))
        before = write_decisions(decisions, found)
        complain(f"wrote {page} and {decisions}")
        if before is not None:
            complain(f"{decisions} was there and held something else: it is kept as {before}, which --apply takes too")


def _in_words(found: "DataCheck") -> list[str]:
    from maxvit.checking.words import paragraphs

    lines: list[str] = []
    for sentence, rows in paragraphs(found):
        lines += [sentence, *(f"  {row}" for row in rows[:_SHOWN])]
        if len(rows) > _SHOWN:
            lines.append(f"  and {len(rows) - _SHOWN:,} more")
    return lines
