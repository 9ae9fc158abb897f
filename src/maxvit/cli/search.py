"""maxvit search: pictures of an index by example, those that come twice, and groups of them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maxvit.cli.errors import USER_MISTAKE, complain
from maxvit.cli.options import Device
from maxvit.errors import MaxViTError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maxvit.search.index import Answer, ImageIndex

LIST = ".txt"  # the ending of a file of paths


def search(
    index: Annotated[Path, typer.Argument(help="What maxvit index made.")],
    queries: Annotated[
        list[Path] | None,
        typer.Argument(metavar="QUERY...", help="Image files, folders of them, or a .txt file with a path a line."),
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Pictures for each query, or to show of each cluster.")] = 10,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="Name pictures that repeat another, in place of a query.")
    ] = False,
    clusters: Annotated[
        int | None, typer.Option(min=1, help="Sort all pictures into so many groups, in place of a query.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="CHECKPOINT", help="Where the network of the index is now, if it has moved.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="PAGE.html", help="Also write a page of pictures.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode queries.")] = 0,
    device: Device = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON: a line a query or cluster; one object of duplicates.")
    ] = False,
) -> None:
    """Find the pictures of an index that are most similar to others; or duplicates; or clusters.

    What cannot be read is named and the others are done; the exit code is then 2.
    """
    given = {"QUERY": bool(queries), "--duplicates": duplicates, "--clusters": clusters is not None}
    if sum(given.values()) != 1:
        named = " and ".join(name for name, is_given in given.items() if is_given) or "none"
        raise MaxViTError(f"give QUERY, --duplicates or --clusters, one of the three; {named} is given")
    if not queries and (extra := [n for n, v in {"--model": model, "--workers": workers}.items() if v]):
        raise MaxViTError(f"{extra[0]} is for queries: leave it out")
    from maxvit.search.index import ImageIndex

    opened = ImageIndex.open(index)
    if out is not None:
        from maxvit.checking.cards import load_template
        from maxvit.storage import check_folder

        check_folder(out.parent)
        load_template()
    failed = 0
    if queries:
        failed = _answer(opened, queries, k, model, workers, device, out, as_json)
    elif duplicates:
        _duplicates(opened, out, as_json)
    else:
        _clusters(opened, clusters or 1, k, out, as_json)
    if out is not None:
        complain(f"wrote {out}")
    if failed:
        raise typer.Exit(USER_MISTAKE)


def _answer(
    index: "ImageIndex",
    queries: "Sequence[Path]",
    k: int,
    model: str | None,
    workers: int,
    device: str,
    out: Path | None,
    as_json: bool,
) -> int:
    """Search, and give the number of queries that could not be read."""
    paths, empty = _paths(queries)
    for sentence in empty:
        complain(f"error: {sentence}")
    if not paths:
        return len(empty)
    if k > len(index):
        complain(f"k is {k}, and the index holds {len(index):,} pictures: all of them are given")
    answers = index.search(paths, k, model=model, workers=workers, device=device)
    for answer in answers:
        if answer.error:
            complain(f"error: {answer.error}")
        elif as_json:
            typer.echo(json.dumps(answer.to_json()))
        else:
            _print(answer)
    if out is not None:
        from maxvit.search.page import write_answers

        write_answers(out, index, answers)
    failed = sum(answer.error is not None for answer in answers)
    if failed and len(answers) > 1:
        complain(f"{failed} of {len(answers)} queries could not be read")
    return failed + len(empty)


def _print(answer: "Answer") -> None:
    typer.echo(answer.name)
    for match in answer.matches:
        note = f" ({match.note} since it was indexed)" if match.note else ""
        typer.echo(f"  {match.similarity:.4f}  {match.name}{note}")


def _paths(queries: "Sequence[Path]") -> tuple[list[Path], list[str]]:
    """The images that are meant, and a sentence for what means none."""
    from maxvit.data.finding import find_images, say_passed_over

    found: list[Path] = []
    empty: list[str] = []
    for query in queries:
        if query.is_dir():
            below = find_images(query)
            found += below.images
            if not below.images:
                empty.append(f"folder {query} holds no images{say_passed_over(below.passed_over)}")
        elif query.suffix.lower() == LIST:
            try:
                lines = query.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                empty.append(f"{query} cannot be read ({error}): give a text file with a path a line")
                continue
            paths = [query.parent / line.strip() for line in lines if line.strip()]
            found += paths
            if not paths:
                empty.append(f"{query} names no image: write a path a line, counted from its folder")
        else:
            found.append(query)
    return found, empty


def _duplicates(index: "ImageIndex", out: Path | None, as_json: bool) -> None:
    from maxvit.checking.duplicates import RULE
    from maxvit.checking.words import SAID

    found, stale = index.duplicates(show_progress=True)
    if as_json:
        said = {"duplicates": [one.to_json() for one in found], "rule": RULE, "left_out": stale}
        typer.echo(json.dumps(said))
    else:
        for one in found:
            typer.echo(f"{one.name}: {SAID[one.kind]} {one.of}")
        typer.echo(f"{len(found):,} of {len(index):,} pictures repeat another ({RULE})")
    if stale:
        complain(
            f"{len(stale):,} pictures have changed or gone since, and were left out (the first: {stale[0]}): call "
            "maxvit index again"
        )
    if out is not None:
        from maxvit.search.page import write_duplicates

        write_duplicates(out, index, found, stale)


def _clusters(index: "ImageIndex", number: int, k: int, out: Path | None, as_json: bool) -> None:
    found = index.clusters(number)
    for i, cluster in enumerate(found, 1):
        if as_json:
            typer.echo(json.dumps({"cluster": i, **cluster.to_json()}))
        else:
            typer.echo(f"cluster {i}: {len(cluster.members):,} pictures")
            for name, similarity in list(zip(cluster.members, cluster.similarities, strict=True))[:k]:
                typer.echo(f"  {similarity:.4f}  {name}")
    if len(found) < number:
        complain(f"{number - len(found)} of the {number} clusters would be empty, and are left out")
    if out is not None:
        from maxvit.search.page import write_clusters

        write_clusters(out, index, found, k)
