"""MLflow: the server or store that MLFLOW_TRACKING_URI names."""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from maxvit.training.trackers.tracker import PROJECT, About, Shown

AT_ONCE = 100  # parameters of one request


class MLflow:
    """A run of MLflow.

    Args:
        about: The run.
    """

    def __init__(self, about: About) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient()
        self._last: dict[str, int] = {}  # update of the last point, by metric
        if about.identity is not None:
            self.identity: str | None = about.identity
            self._id = about.identity
            self._client.update_run(self._id, status="RUNNING")
            for name in self._client.get_run(self._id).data.metrics:
                self._last[name] = max(point.step for point in self._client.get_metric_history(self._id, name))
            return
        name = about.project or os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        experiment = self._client.get_experiment_by_name(name)
        number = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        self._id = self._client.create_run(number, run_name=about.name, tags=dict(about.facts)).info.run_id
        self.identity = self._id
        settings = [Param(name, str(value)) for name, value in _flat(about.recipe)]
        for first in range(0, len(settings), AT_ONCE):
            self._client.log_batch(self._id, params=settings[first : first + AT_ONCE])

    def log(self, values: Mapping[str, float], update: int) -> None:
        """Points that are not there yet."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        points = [Metric(_allowed(name), float(value), now, update) for name, value in values.items()]
        points = [point for point in points if self._last.get(point.key, -1) < update]
        self._client.log_batch(self._id, metrics=points)
        self._last |= dict.fromkeys((point.key for point in points), update)

    def rewind(self) -> None:
        """Its points stay: new ones are taken where the old ones end."""

    def finish(self, best: Mapping[str, float], shown: Sequence[Shown], checkpoint: Path | None) -> None:
        """Metrics as best/NAME, pictures and their captions in the artifacts' folder predictions, the checkpoint."""
        self.log({f"best/{name}": value for name, value in best.items()}, max(self._last.values(), default=0))
        for number, one in enumerate(shown):
            self._client.log_image(self._id, one.picture, artifact_file=f"predictions/{number}.png")
        if shown:
            captions = [f"{number}.png: {one.name}: {one.caption}\n" for number, one in enumerate(shown)]
            self._client.log_text(self._id, "".join(captions), "predictions/captions.txt")
        if checkpoint is not None:
            self._client.log_artifact(self._id, str(checkpoint))

    def close(self, done: bool) -> None:
        """Say how it ended; not done: it counts as killed until it goes on."""
        self._client.set_terminated(self._id, status="FINISHED" if done else "KILLED")


def _allowed(name: str) -> str:
    """A name of a metric, with the characters that MLflow takes."""
    return re.sub(r"[^\w.\- :/]", "_", name, flags=re.ASCII)


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values by name: section.key."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
