"""Labels of training images that look wrong: what the first look has found, kept with the run for its report."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maxvit import storage
from maxvit.data.dataset import LabelledImages
from maxvit.errors import MaxViTError
from maxvit.tasks.suspicion import Suspicion

FILE = "suspicious_labels.json"
KEYS = {"image", "class", "probability", "likely", "likely_probability"}


def write_suspicious(run: Path, found: Sequence[Suspicion] | None, images: LabelledImages) -> None:
    """Write what looks wrong, the least probable label first, or remove what was written before.

    Args:
        run: The run folder.
        found: By the index among `images`; None: labels were not judged.
        images: Those that were looked at.

    Raises:
        MaxViTError: If it cannot be written.
    """
    if found is None:
        (run / FILE).unlink(missing_ok=True)
        return
    rows = [one.to_json(images.names, images.class_names) for one in found]
    storage.write_text(run / FILE, json.dumps(rows, indent=1) + "\n")


def read_suspicious(run: Path) -> list[dict[str, Any]] | None:
    """What `Suspicion.to_json` gave for each label that looks wrong; None: they were not judged.

    Raises:
        MaxViTError: If the file is damaged.
    """
    path = run / FILE
    if not path.is_file():
        return None
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_bytes())
        if not all(row.keys() >= KEYS for row in rows):
            raise ValueError("keys are missing")
    except (ValueError, TypeError, AttributeError) as error:
        raise MaxViTError(
            f"{path} is damaged: {error}; delete it, and the report will say nothing of labels"
        ) from error
    return rows
