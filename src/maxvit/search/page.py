"""What was found, as one page of pictures."""

from collections.abc import Sequence
from pathlib import Path

from maxvit.checking.cards import SHOWN, Card, Picture, Section, picture_of, write_cards
from maxvit.checking.duplicates import RULE
from maxvit.errors import MaxViTError
from maxvit.search.index import Answer, Cluster, Duplicate, ImageIndex
from maxvit.search.manifest import place_of


def write_answers(path: Path, index: ImageIndex, answers: Sequence[Answer]) -> None:
    """A section for each query that could be read: itself, then what is similar.

    Raises:
        MaxViTError: If the page cannot be written, or jinja2 (an optional dependency) is missing.
    """
    sections, unreadable = [], [answer.error for answer in answers if answer.error]
    shown = _Shown(index)
    for i, answer in enumerate(answers):
        if answer.error:
            continue
        cards = [Card([picture_of(answer.name, answer.name, index.manifest.spec)], [("query", "this picture", False)])]
        for match in answer.matches[: SHOWN - 1]:
            facts = [("similarity", f"{match.similarity:.4f}", False)]
            if match.note:
                facts.append(("since indexed", match.note, True))
            cards += [Card([picture], facts) for picture in shown.pictures([match.name])]
        title = f"Similar to {Path(answer.name).name}"
        words = "The query, then the pictures that the network sees most like it. 1: seen alike."
        sections.append(Section(f"query-{i}", title, words, cards, len(answer.matches)))
    write_cards(
        path, f"Similar pictures of {index.photos.name}", _tiles(index, answers), sections, unreadable, shown.notes()
    )


def write_duplicates(path: Path, index: ImageIndex, found: Sequence[Duplicate], stale: Sequence[str]) -> None:
    """Each duplicate beside what it repeats. Raises `MaxViTError` as `write_answers`."""
    shown = _Shown(index)
    cards = [
        Card(pictures, [("as", one.kind, False), ("alike", f"{one.similarity:.4f}", False)])
        for one in found[:SHOWN]
        if len(pictures := shown.pictures([one.of, one.name])) == 2
    ]
    sections = [Section("duplicates", "Duplicates", "An earlier picture, and one that repeats it.", cards, len(found))]
    notes = [f"{RULE[0].upper()}{RULE[1:]}.", *shown.notes()]
    if stale:
        notes.append(f"{len(stale):,} pictures have changed or gone since, and were left out: call maxvit index again.")
    tiles = {**_tiles(index), "duplicates": f"{len(found):,}"}
    write_cards(path, f"Duplicates of {index.photos.name}", tiles, sections if cards else [], notes=notes)


def write_clusters(path: Path, index: ImageIndex, found: Sequence[Cluster], k: int) -> None:
    """The most typical pictures of each group. Raises `MaxViTError` as `write_answers`."""
    sections, shown = [], _Shown(index)
    for i, cluster in enumerate(found, 1):
        cards = [
            Card([picture], [("similarity", f"{similarity:.4f}", False)])
            for name, similarity in list(zip(cluster.members, cluster.similarities, strict=True))[: min(k, SHOWN)]
            for picture in shown.pictures([name])
        ]
        if cards:
            words = "The pictures nearest to the centre."
            sections.append(Section(f"cluster-{i}", f"Cluster {i}", words, cards, len(cluster.members)))
    tiles = {**_tiles(index), "clusters": f"{len(found):,}"}
    write_cards(path, f"Clusters of {index.photos.name}", tiles, sections, notes=shown.notes())


def _tiles(index: ImageIndex, answers: Sequence[Answer] = ()) -> dict[str, str]:
    tiles = {"pictures": f"{len(index):,}", "network": Path(index.manifest.origin.model).name}
    return {**tiles, "queries": f"{len(answers):,}"} if answers else tiles


class _Shown:
    """Pictures of an index, small, and a count of those that cannot be read any more."""

    def __init__(self, index: ImageIndex) -> None:
        self.index, self.missing = index, set[str]()

    def pictures(self, names: Sequence[str]) -> list[Picture]:
        """Those that can be read."""
        found = []
        for name in names:
            try:
                place = place_of(self.index.photos, name)
                found.append(picture_of(name, place, self.index.manifest.spec))
            except MaxViTError:
                self.missing.add(name)
        return found

    def notes(self) -> list[str]:
        """A sentence, where some are not shown."""
        if not self.missing:
            return []
        return [f"Not shown, because they have gone or cannot be read any more: {', '.join(sorted(self.missing))}."]
