"""One self-contained HTML page of pictures on cards, in sections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from maxvit.config import Preprocessing
from maxvit.data.images import Source, decode_shown
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
    return environment.get_template("cards.html.j2")


def write_cards(
    path: Path,
    title: str,
    tiles: Mapping[str, str],
    sections: Sequence[Section],
    unreadable: Sequence[str] = (),
    notes: Sequence[str] = (),
    next_step: tuple[str, str] | None = None,
) -> None:
    """Write the page: one HTML file that loads nothing from anywhere.

    Args:
        path: Where to; a file that is there is replaced in one step.
        title: Its heading.
        tiles: What is told in numbers.
        sections: What is shown. Names may hold any characters: all are escaped.
        unreadable: A sentence for each image that cannot be read.
        notes: Sentences below the numbers.
        next_step: What to do after the last section, in a sentence, and the command for it.

    Raises:
        MaxViTError: If the file cannot be written, or jinja2 (an optional dependency) is missing.
    """
    page = load_template().render(
        title=title, tiles=tiles, sections=sections, unreadable=unreadable, notes=notes, next_step=next_step
    )
    # a file name that is not UTF-8 reaches us with lone surrogates, which no UTF-8 page can hold
    write_text(path, page.encode("utf-8", "replace").decode("utf-8"))


def picture_of(name: str, source: Source, spec: Preprocessing) -> Picture:
    """An image, small. Raises `MaxViTError` if it cannot be read."""
    image = decode_shown(source, spec)
    is_small = max(image.size) < _SMALL
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return Picture(name, data_uri(image), is_small)
