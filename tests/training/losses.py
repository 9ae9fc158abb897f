"""`maxvit train` that also writes each process's weighted losses: python losses.py OUT [arguments of maxvit]."""

import json
import sys
from pathlib import Path

from maxvit.cli import main
from maxvit.training.learner import Learner

if __name__ == "__main__":
    out, *arguments = sys.argv[1:]
    original, original_fits, losses = Learner.step, Learner.fits, []

    def step(self, batch, turn, accumulate):
        scores = original(self, batch, turn, accumulate)
        losses.append((self.updates, batch.weight * float(scores["loss"]) / accumulate / self.engine.world))
        Path(out).mkdir(exist_ok=True)
        (Path(out) / f"{self.engine.rank}.json").write_text(json.dumps(losses))
        return scores

    def fits(self, batch):
        counted = len(losses)
        fitting = original_fits(self, batch)
        del losses[counted:]  # nothing was learnt
        return fitting

    Learner.step, Learner.fits = step, fits
    sys.exit(main(arguments))
