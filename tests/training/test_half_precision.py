"""Training in fp16: losses are scaled, what was too much is left out, and a run that goes on is the same run."""

import math

import pytest
import torch

from maxvit import storage
from maxvit.errors import MaxViTError
from maxvit.training import distributed, loop
from maxvit.training.checkpoints import find_states, read_state
from maxvit.training.distributed import Engine
from maxvit.training.files import read_metrics
from maxvit.training.learner import Learner
from maxvit.training.ranks import Processes
from maxvit.training.recipe import EngineSection
from maxvit.training.run import resume, train

FP16 = "engine.precision=fp16"
ONE_EPOCH = ["optimization.epochs=1", "model.drop_path_rate=0", "model.kernels=none"]
SCALE = 2.0**8  # at first; PyTorch's 2**16 is too much for some of these updates


def scaler(self):
    return torch.amp.GradScaler(self.device.type, init_scale=SCALE, enabled=self.precision == "fp16")


@pytest.fixture
def norms(monkeypatch):
    """The norm of the gradient in each update; those of the given updates (from 0) are made infinite."""
    found = []

    def arm(updates=()):
        update = Learner.update

        def watched(self):
            if self.updates in updates:
                next(p for p in self.network.parameters() if p.grad is not None).grad.view(-1)[0] = math.inf
            before = [p.detach().clone() for p in self.network.parameters()]
            norm = update(self)
            moved = any(not torch.equal(p, b) for p, b in zip(self.network.parameters(), before, strict=True))
            found.append((float(norm), moved))
            return norm

        monkeypatch.setattr(Learner, "update", watched)
        monkeypatch.setattr(Engine, "scaler", scaler)
        return found

    return arm


def scaler_of(run):
    return read_state(find_states(run)[0])["learner"]["scaler"]


def test_scaled_gradients_are_those_of_fp32(small_recipe, tmp_path, norms):
    found = norms()
    train(small_recipe(*ONE_EPOCH, "engine.precision=fp32"), tmp_path / "whole")
    train(small_recipe(*ONE_EPOCH, FP16), tmp_path / "half")
    assert found[3][0] == pytest.approx(found[0][0], rel=0.02)
    assert scaler_of(tmp_path / "half")["scale"] == SCALE
    assert scaler_of(tmp_path / "whole") == {}


def test_an_infinite_gradient_leaves_the_update_out_and_is_no_divergence(small_recipe, tmp_path, norms, capsys):
    found = norms([1])
    assert train(small_recipe(*ONE_EPOCH, FP16), tmp_path / "run", show_progress=True).finished
    assert [moved for _, moved in found] == [True, False, True]
    assert scaler_of(tmp_path / "run")["scale"] == SCALE / 2
    assert "diverged" not in capsys.readouterr().err
    assert all(math.isfinite(row["val_loss"]) for row in read_metrics(tmp_path / "run"))


def test_many_in_a_row_are_a_divergence(small_recipe, tmp_path, norms, monkeypatch):
    monkeypatch.setattr(loop, "MOST_SKIPPED", 1)
    norms(range(99))
    with pytest.raises(MaxViTError, match=r"diverged again .*, at update 2: .*learning_rate or engine.precision=fp32"):
        train(small_recipe(*ONE_EPOCH, FP16), tmp_path / "run")


@pytest.mark.full
def test_a_run_that_goes_on_is_the_run_that_never_stopped(small_recipe, tmp_path, norms):
    norms([0])
    recipe = small_recipe(*ONE_EPOCH, FP16, "checkpoints.every_updates=1", "checkpoints.keep=9")
    train(recipe, tmp_path / "run")
    expected = storage.load(tmp_path / "run" / "last.safetensors")[0]
    for state in find_states(tmp_path / "run")[:2]:  # after updates 3 and 2
        state.unlink()
    (tmp_path / "run" / "metrics.csv").unlink()
    resume(tmp_path / "run")
    assert scaler_of(tmp_path / "run")["scale"] == SCALE / 2
    found = storage.load(tmp_path / "run" / "last.safetensors")[0]
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


def test_a_cpu_trains_in_fp32_unless_asked():
    chosen = Engine(EngineSection(), "cpu")
    assert chosen.precision == "fp32"
    assert not chosen.scaler().is_enabled()


def test_sharded_weights_refuse_fp16(monkeypatch):
    monkeypatch.setattr(distributed, "processes", lambda: Processes(world=2, local_world=2))
    with pytest.raises(MaxViTError, match=r"engine.precision is fp16, whose losses are not scaled with fsdp2"):
        Engine(EngineSection(precision="fp16", strategy="fsdp2"), "cpu")
