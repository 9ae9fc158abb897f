"""TensorBoard: files of events in the run folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maxvit.training.trackers.tracker import About, Shown


class TensorBoard:
    """Scalars and pictures, in RUN/events.*.

    Args:
        about: The run.
    """

    identity: str | None = None

    def __init__(self, about: About) -> None:
        self._folder = about.folder
        self._writer: Any = None
        self._update = 0

    def log(self, values: Mapping[str, float], update: int) -> None:
        """Points; the first of a file takes the place of all from there on in earlier files."""
        self._update = update
        writer = self._open()
        for name, value in values.items():
            writer.add_scalar(name, value, update)
        writer.flush()

    def rewind(self) -> None:
        """Begin another file."""
        self.close(done=False)

    def finish(self, best: Mapping[str, float], shown: Sequence[Shown], checkpoint: Path | None) -> None:
        """Metrics as best/NAME, pictures and their captions as predictions/NAME."""
        self.log({f"best/{name}": value for name, value in best.items()}, self._update)
        for one in shown:
            self._open().add_image(f"predictions/{one.name}", np.array(one.picture), self._update, dataformats="HWC")
            self._open().add_text(f"predictions/{one.name}", one.caption, self._update)

    def close(self, done: bool) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> Any:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=self._update)
        return self._writer
