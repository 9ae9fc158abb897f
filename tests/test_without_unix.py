"""What Windows lacks is not needed: neither modules and functions of Unix, nor processes that are forked."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from loaders import evaluation_loader, training_loader
from maxvit.config import Preprocessing
from maxvit.data.folder import load_folder
from small import SETTINGS, write_images

PROGRAM = Path(__file__).with_name("without_unix.py")


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.full)])
def test_every_module_is_imported_and_a_network_trained_evaluated_and_used(tmp_path, workers):
    images, run, out = str(write_images(tmp_path / "colours")), str(tmp_path / "run"), tmp_path / "answers.csv"
    best, workers = f"{run}/best.safetensors", str(workers)
    settings = [*SETTINGS, "optimization.epochs=1", f"data.workers={workers}"]
    calls = [
        ["train", images, "--out", run, *(word for setting in settings for word in ("--set", setting))],
        ["evaluate", best, images, "--workers", workers],
        ["predict", best, f"{images}/red/0.png"],
        ["predict", best, images, "--out", str(out), "--workers", workers],
    ]
    words = [word for call in calls for word in (*call, "--")][:-1]
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "spawn", *words],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert len(out.read_text().splitlines()) == 1 + 24


def test_what_reads_images_travels_to_a_process_that_is_not_forked(tmp_path):
    images, spec = load_folder(write_images(tmp_path / "colours")), Preprocessing(image_size=(32, 41))
    for loader in (
        evaluation_loader(images.val, spec, batch_size=2),
        training_loader(images.train, spec, "photos", batch_size=2, workers=0, seed=0),
    ):
        key = next(iter(loader.sampler))
        sent = pickle.loads(pickle.dumps(loader.dataset))
        assert torch.equal(sent[key].images, loader.dataset[key].images)
