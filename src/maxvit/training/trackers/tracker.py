"""The one interface of trackers, and what they are told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

PROJECT = "maxvit"  # where neither the recipe nor the tracker's own environment variables name one


@dataclass(frozen=True, slots=True)
class About:
    """A run, as a tracker is told of it when it opens.

    Attributes:
        folder: The run folder.
        name: What people see.
        project: Where the run is listed; None: as the tracker's own environment variables say.
        recipe: Its values, by section.
        facts: What else is known before training, in words, by name.
        identity: Of the tracker's run that is to go on; None: a new one.
    """

    folder: Path
    name: str
    project: str | None
    recipe: Mapping[str, Any]
    facts: Mapping[str, str]
    identity: str | None


@dataclass(frozen=True, slots=True)
class Shown:
    """A validation image, with what is predicted for it.

    Attributes:
        name: Of the image.
        picture: The image, with target and prediction beside it where the task draws them.
        caption: The prediction in words, and the target where it is not drawn.
    """

    name: str
    picture: Image.Image
    caption: str


class Tracker(Protocol):
    """Takes what a run measures. Any of its methods may raise whatever the library raises.

    Attributes:
        identity: By which the tracker's run goes on after the training was stopped; None: it needs none.
    """

    identity: str | None

    def log(self, values: Mapping[str, float], update: int) -> None:
        """Take values after so many updates. A point that is there already is not taken twice."""

    def rewind(self) -> None:
        """The run goes back to an earlier update, as training has diverged."""

    def finish(self, best: Mapping[str, float], shown: Sequence[Shown], checkpoint: Path | None) -> None:
        """Take the metrics of the best epoch, some predictions, and the checkpoint if it is to be sent."""

    def close(self, done: bool) -> None:
        """End it; not done: the run was stopped, and may go on."""
