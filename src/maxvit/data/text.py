"""Small files of text that come with a data set: names, lists, tables, annotations."""

import json
from pathlib import Path
from typing import Any

from maxvit.errors import MaxViTError


def read_text(file: Path) -> str:
    """The text of a file in UTF-8, with or without a mark before it. Raises `MaxViTError` if it cannot be read."""
    try:
        return file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise MaxViTError(f"{file} cannot be read as text: {error}") from error


def read_lines(file: Path) -> list[tuple[int, str]]:
    """The lines that are not empty, with their numbers from 1 on, without blanks around them. Raises as `read_text`."""
    return [(number, line.strip()) for number, line in enumerate(read_text(file).splitlines(), 1) if line.strip()]


def read_json(file: Path) -> Any:
    """What a file of JSON holds. Raises `MaxViTError` if it cannot be read, or is not JSON."""
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise MaxViTError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise MaxViTError(f"{file} is not JSON: {error}") from error
