"""An index and its photos, copied so that a test may change them, without embedding anything."""

import json
import shutil


def edit(index, **values):
    """Change what an index says of itself."""
    path = index / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def copy_index(photos, index, to):
    """The copies: the photos, with their times, and their index."""
    copies = [shutil.copytree(place, to / place.name) for place in (photos, index)]
    edit(copies[1], photos=str(copies[0]))
    return copies
