"""A task with a head of its own learns the same by several processes, whole or sharded."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]
SETTINGS = [
    "task.stride=8",
    "model.drop_path_rate=0",
    "model.kernels=none",
    "data.image_size=64",
    "data.batch_size=4",
    "optimization.epochs=2",
    "optimization.warmup_epochs=0",
]


@pytest.fixture(scope="module")
def dots(tmp_path_factory):
    """Images with counts.csv, as examples.counting_task reads them."""
    folder, random = tmp_path_factory.mktemp("dots"), np.random.default_rng(0)
    (folder / "images").mkdir()
    rows = ["image,count,split"]
    for i in range(12):
        pixels = random.integers(0, 60, (64, 70, 3), dtype=np.uint8)
        for k in range(i % 4):
            pixels[8 + 14 * k : 16 + 14 * k, 20:30] = 250
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        rows.append(f"{i}.png,{i % 4},{'val' if i > 7 else 'train'}")
    (folder / "counts.csv").write_text("\n".join(rows) + "\n")
    return folder


def trained(data, run, *settings):
    """The last row of the metrics of a run by two processes."""
    words = [word for s in [*SETTINGS, *settings] for word in ("--set", s)]
    command = [sys.executable, "-m", "maxvit", "train", data, "--task", "examples.counting_task", *words]
    done = subprocess.run(
        list(map(str, [*command, "--devices", 2, "--out", run])),
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))[-1]


def test_a_task_learns_the_same_where_its_weights_are_sharded(dots, tmp_path):
    whole, sharded = (trained(dots, tmp_path / s, f"engine.strategy={s}") for s in ("ddp", "fsdp2"))
    for name in ("train_loss", "val_error"):
        assert float(sharded[name]) == pytest.approx(float(whole[name]), rel=1e-4)
