"""Put the result of a run into the package, in half precision, under a name that ends in its SHA-256's first digits.

The last stage and the head, which tell formulas apart, begin anew from random weights: fine-tuning gains from it (the
record of the pre-training has the figures).

    python benchmarks/shipped_weights.py runs/formulas src/maxvit/weights

The file replaces those that are there; `maxvit.checkpoints.published` must then have the name that is printed.
"""

import sys
from pathlib import Path

import torch

import maxvit
from maxvit.hub.download import sha256


def ship(run: Path, folder: Path) -> Path:
    """Write FOLDER/maxvit_micro-DIGITS.safetensors, the only one there."""
    model = maxvit.load_model(run)
    model.reset_classifier(0)
    torch.manual_seed(0)
    fresh = maxvit.MaxViT(model.config)
    model.stages[-1].load_state_dict(fresh.stages[-1].state_dict())
    model.head.load_state_dict(fresh.head.state_dict())
    model.provenance = {**model.provenance, "command": "maxvit train --recipe formulas"}  # perhaps it was resumed
    for old in folder.glob("*.safetensors"):
        old.unlink()
    plain = folder / "maxvit_micro.safetensors"
    model.half().save(plain)
    return plain.rename(folder / f"maxvit_micro-{sha256(plain)[:8]}.safetensors")


if __name__ == "__main__":
    file = ship(Path(sys.argv[1]), Path(sys.argv[2]))
    print(f"{file}: {file.stat().st_size:,} bytes")
