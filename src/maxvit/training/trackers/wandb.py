"""Weights & Biases, online or offline as its environment variables say."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from maxvit.training.trackers.tracker import PROJECT, About, Shown


class WeightsAndBiases:
    """A run of Weights & Biases; its files are in RUN/wandb.

    Args:
        about: The run.
    """

    def __init__(self, about: About) -> None:
        import wandb

        self._run = wandb.init(
            project=about.project or os.environ.get("WANDB_PROJECT") or PROJECT,
            name=about.name,
            id=about.identity,
            resume="allow",
            dir=str(about.folder),
            config={**about.recipe, **about.facts},
            # a run of the caller's own stays as it is, and so do the streams that a progress bar draws on
            settings=wandb.Settings(console="off", reinit="create_new"),
        )
        self.identity: str | None = self._run.id

    def log(self, values: Mapping[str, float], update: int) -> None:
        """Points; what Weights & Biases has already, it leaves out itself."""
        self._run.log(dict(values), step=update)

    def rewind(self) -> None:
        """Its points stay: new ones are taken where the old ones end."""

    def finish(self, best: Mapping[str, float], shown: Sequence[Shown], checkpoint: Path | None) -> None:
        """Metrics into the summary, pictures as the panel "predictions", the checkpoint as an artifact."""
        import wandb

        self._run.summary.update({f"best/{name}": value for name, value in best.items()})
        if shown:
            pictures = [wandb.Image(one.picture, caption=f"{one.name}: {one.caption}") for one in shown]
            self._run.log({"predictions": pictures})
        if checkpoint is not None:
            name = re.sub(r"[^\w.-]", "_", f"{self._run.name}-{checkpoint.stem}", flags=re.ASCII)
            artifact = wandb.Artifact(name, type="model")
            artifact.add_file(str(checkpoint))
            self._run.log_artifact(artifact)

    def close(self, done: bool) -> None:
        """Send what is left; not done: it counts as failed until it goes on."""
        self._run.finish(exit_code=0 if done else 1)
