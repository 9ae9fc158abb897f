"""What only GPUs can show; skipped without one, and then not verified."""

import subprocess
import sys

import pytest
import torch

from maxvit.create import create_model
from maxvit.data.dataset import LabelledImages
from maxvit.tasks import make_task
from maxvit.training.checkpoints import find_states, read_state
from maxvit.training.distributed import Engine
from maxvit.training.files import read_metrics
from maxvit.training.learner import Learner
from maxvit.training.recipe import EngineSection
from maxvit.training.run import resume, train
from small import SETTINGS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
two = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_trains_and_goes_on(small_recipe, tmp_path, precision):
    recipe = small_recipe(f"engine.precision={precision}", "task.mixup=0.8", "task.class_weights=balanced")
    assert train(recipe, tmp_path / "run").finished
    assert read_metrics(tmp_path / "run")[-1]["train_loss"] < 3
    find_states(tmp_path / "run")[0].unlink()
    (tmp_path / "run" / "metrics.csv").unlink()
    assert resume(tmp_path / "run").finished


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # inductor's own
def test_a_compiled_network_trains(small_recipe, tmp_path):
    assert train(small_recipe("engine.compile=true", "engine.precision=bf16"), tmp_path / "run").finished


def test_recomputing_activations_needs_less_memory(small_recipe):
    peaks = []
    for again in (False, True):
        network = create_model("maxvit_tiny", num_classes=3)
        network.set_gradient_checkpointing(again)
        recipe = small_recipe()
        images = LabelledImages([], [], ["a", "b", "c"], [])
        learner = Learner(network, make_task(recipe.task), images, recipe, Engine(EngineSection(precision="bf16")), 10)
        learner.train()
        torch.cuda.reset_peak_memory_stats()
        with learner.engine.autocast():
            scores = learner.objective(torch.randn(16, 3, 224, 224).cuda(), torch.zeros(16, dtype=torch.int64).cuda())
        scores["loss"].backward()
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < 0.7 * peaks[0]


@two
@pytest.mark.parametrize(
    "settings", [["engine.strategy=fsdp2"], ["engine.sync_batch_norm=true"], ["engine.sync_batch_norm=2"]]
)
def test_two_gpus_train_together_over_nccl(images, tmp_path, settings):
    words = [word for s in [*SETTINGS, *settings] for word in ("--set", s)]
    command = ["-m", "maxvit", "train", str(images), *words, "--devices", "2", "--out", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert read_state(find_states(tmp_path / "run")[0])["setting"]["devices"] == 2
