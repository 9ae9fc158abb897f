"""Put the result of a run into the package, in half precision, under a name that ends in its SHA-256's first digits.

    python benchmarks/shipped_weights.py runs/formulas-64 src/maxvit/weights

The file replaces those that are there; `maxvit.checkpoints.published` must then have the name that is printed.
"""

import sys
from pathlib import Path

import torch

import maxvit
from maxvit.hub.download import sha256


def ship(run: Path, folder: Path) -> Path:
    """Write FOLDER/maxvit_micro-DIGITS.safetensors, the only one there."""
    model = maxvit.load_model(run, dtype=torch.float16)
    for old in folder.glob("*.safetensors"):
        old.unlink()
    plain = folder / "maxvit_micro.safetensors"
    model.save(plain)
    return plain.rename(folder / f"maxvit_micro-{sha256(plain)[:8]}.safetensors")


if __name__ == "__main__":
    file = ship(Path(sys.argv[1]), Path(sys.argv[2]))
    print(f"{file}: {file.stat().st_size:,} bytes")
