"""One self-contained HTML page that shows what was found, pictures side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from maxvit.checking.check import DataCheck
from maxvit.checking.duplicates import Pair
from maxvit.checking.words import SPLIT
from maxvit.data.images import decode_shown
from maxvit.errors import require
from maxvit.explain.draw import data_uri
from maxvit.storage import write_text

SHOWN = 60  # cards of a section
_SIDE = 160  # pixels of a picture
_SMALL = 64  # below, pixels are shown as they are


@dataclass(frozen=True, slots=True)
class Picture:
    """An image as text, what it is called, and whether its pixels are shown as they are."""

    name: str
    uri: str
    is_small: bool


@dataclass(frozen=True, slots=True)
class Card:
    """One picture or two, and what is said of them; what is wrong is marked."""

    pictures: Sequence[Picture]
    facts: Sequence[tuple[str, str, bool]]


@dataclass(frozen=True, slots=True)
class Section:
    """Cards under a heading; of `number` that there are."""

    id: str
    title: str
    sentence: str
    cards: Sequence[Card]
    number: int


def load_template() -> Any:
    """What the page is made with. Raises `MaxViTError` where jinja2 (an optional dependency) is missing."""
    require("the page", "jinja2")
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader("maxvit", room) for room in ("checking", "report")]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("check.html.j2")


def write_page(path: Path, found: DataCheck, data: str) -> None:
    """Write the page: one HTML file that loads nothing from anywhere.

    Args:
        path: Where to; a file that is there is replaced in one step.
        found: What it shows. Names may hold any characters: all are escaped.
        data: What to call the data.

    Raises:
        MaxViTError: If the file cannot be written, or jinja2 (an optional dependency) is missing.
    """
    page = load_template().render(
        title=f"Images of {Path(data).name or data}",
        tiles=_tiles(found),
        sections=_sections(found),
        unreadable=list(found.unreadable.values()),
        left_out=found.left_out,
    )
    # a file name that is not UTF-8 reaches us with lone surrogates, which no UTF-8 page can hold
    write_text(path, page.encode("utf-8", "replace").decode("utf-8"))


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
        "duplicates": ("Other duplicates", f"They count twice.{split}", rest),
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
    words = "A regression on the other images takes them for another class. Some are right: look at each."
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
    image = decode_shown(found.images.sources[index], found.spec)
    is_small = max(image.size) < _SMALL
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return Picture(found.images.names[index], data_uri(image), is_small)
