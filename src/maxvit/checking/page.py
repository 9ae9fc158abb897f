"""One self-contained HTML page that shows what was found, pictures side by side."""

from pathlib import Path

from maxvit.checking.cards import SHOWN, Card, Picture, Section, picture_of, write_cards
from maxvit.checking.check import DataCheck
from maxvit.checking.duplicates import Pair
from maxvit.checking.words import SPLIT


def write_page(path: Path, found: DataCheck, data: str, apply: str) -> None:
    """Write the page: one HTML file that loads nothing from anywhere.

    Args:
        path: Where to; a file that is there is replaced in one step.
        found: What it shows. Names may hold any characters: all are escaped.
        data: What to call the data.
        apply: The command that applies the decisions, which lie beside the page.

    Raises:
        MaxViTError: If the file cannot be written, or jinja2 (an optional dependency) is missing.
    """
    left_out = [f"{sentence[0].upper()}{sentence[1:]}." for sentence in found.left_out]
    write_cards(
        path,
        f"Images of {Path(data).name or data}",
        _tiles(found),
        _sections(found),
        list(found.unreadable.values()),
        left_out,
        _next_step(found, apply),
    )


def _next_step(found: DataCheck, apply: str) -> tuple[str, str] | None:
    """What to do and with which command; None where nothing was found, or --apply does not take the data."""
    is_taken = found.images.classes is not None and found.images.are_files
    is_any = found.unreadable or found.pairs or found.suspicions or found.outliers
    return ("Decide in decisions.csv beside this page, then:", apply) if is_taken and is_any else None


def _tiles(found: DataCheck) -> dict[str, str]:
    """What is told in numbers."""
    images = found.images
    tiles = {"images": f"{len(images):,}"}
    if len(parts := list(dict.fromkeys(images.parts))) > 1:
        tiles["parts"] = ", ".join(f"{images.parts.count(part):,} {part}" for part in parts)
    if found.counts:
        ordered = sorted(found.counts.items(), key=lambda item: item[1])
        tiles["classes"] = f"{len(ordered):,}"
        ends = {"smallest class": ordered[0], "largest class": ordered[-1]}
        tiles |= {what: f"{name}: {number:,}" for what, (name, number) in ends.items()}
    tiles |= {f"{name} size": f"{height} × {width}" for name, (height, width) in found.three_sizes().items()}
    tiles |= {"unreadable": f"{len(found.unreadable):,}", "duplicates": f"{len(found.pairs):,}"}
    return tiles


def _sections(found: DataCheck) -> list[Section]:
    images = found.images
    between, two = found.between_parts(), found.under_two_classes()
    told = {*between, *two}
    rest = [pair for pair in found.pairs if pair not in told]
    split = "" if "val" in images.parts else f" {SPLIT[0].upper()}{SPLIT[1:]}."
    titles = {
        "parts": (
            "Duplicates in two parts",
            "What was learned by heart counts as known: the result is too good.",
            between,
        ),
        "classes": ("Duplicates under two classes", "One of both labels is wrong, or both classes are right.", two),
        "duplicates": ("Other duplicates" if told else "Duplicates", f"They count twice.{split}", rest),
    }
    sections = [
        Section(id, title, sentence, [_pair(found, pair) for pair in pairs[:SHOWN]], len(pairs))
        for id, (title, sentence, pairs) in titles.items()
    ]
    suspicious = [
        Card(
            [_picture(found, one.image)],
            [
                ("label", images.class_of(one.image), True),
                ("looks like", f"{images.class_names[one.likely]} ({one.likely_probability:.0%})", False),
            ],
        )
        for one in found.suspicions[:SHOWN]
    ]
    words = (
        "Judged by the other photographs, these look like another class. Often the label is right all the same: "
        "look at each."
    )
    sections.append(Section("labels", "Labels that look wrong", words, suspicious, len(found.suspicions)))
    far = [
        Card([_picture(found, one.image)], [("distance", f"{one.distance:.1f} times the usual", False)])
        for one in found.outliers
    ]
    words = "The images that are furthest from their nearest neighbours; there are always some."
    return [s for s in [*sections, Section("outliers", "Unlike all others", words, far, len(far))] if s.cards]


def _pair(found: DataCheck, pair: Pair) -> Card:
    images = found.images
    classes = [images.class_of(i) for i in (pair.first, pair.second)]
    facts = [("as", pair.kind, False), ("alike", f"{pair.similarity:.4f}", False)]
    if classes[0] != classes[1]:
        facts.append(("labels", " / ".join(classes), True))
    return Card([_picture(found, pair.first), _picture(found, pair.second)], facts)


def _picture(found: DataCheck, index: int) -> Picture:
    return picture_of(found.images.names[index], found.images.sources[index], found.spec)
