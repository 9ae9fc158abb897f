"""The number of the format of our checkpoints, recipes and states, and which numbers this version reads."""

import re

from maxvit.errors import MaxViTError

FORMAT_VERSION = "1.0"  # major.minor; a minor one adds what older versions may leave unread, see docs/versioning.md
_MAJOR, _MINOR = (int(part) for part in FORMAT_VERSION.split("."))


def check_version(said: object, source: str) -> None:
    """Refuse a file of a later major format, before it is read.

    Args:
        said: What the file says; None: nothing, as files did before 1.0.
        source: The file, for the message.

    Raises:
        MaxViTError: If it is later, or what it says is not a number of a format.
    """
    if _read(said, source)[0] > _MAJOR:
        raise MaxViTError(
            f"{source} has format {said}, and this version reads {_MAJOR}.x: update maxvit (pip install -U maxvit)"
        )


def why_unknown(said: object, source: str) -> str:
    """What to add to a message about something unknown in a file of a later minor format; nothing in another."""
    if _read(said, source)[1] <= _MINOR:
        return ""
    return f"; it has format {said}, and this version knows {FORMAT_VERSION}: update maxvit (pip install -U maxvit)"


def _read(said: object, source: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,4})\.([0-9]{1,4})", "1.0" if said is None else str(said))
    if found is None:
        raise MaxViTError(f"{source} has format {said!r}, and formats are such as {FORMAT_VERSION}: copy it again")
    return int(found[1]), int(found[2])
