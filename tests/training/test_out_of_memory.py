"""A device with too little memory learns what one with enough does. Here a network ends it above so many images."""

import pytest
import torch

from maxvit import storage
from maxvit.errors import MaxViTError
from maxvit.model import MaxViT
from maxvit.training.checkpoints import find_states, read_state
from maxvit.training.distributed import Engine, Flag
from maxvit.training.files import read_metrics
from maxvit.training.run import train

# 19 training images in 3 updates of 6 or 7, and so that a whole batch is what its parts are
ALIKE = ["data.val_fraction=0.2", "model.drop_path_rate=0", "optimization.epochs=1", "model.kernels=none"]


@pytest.fixture
def takes(monkeypatch):
    """Let memory end above so many images, at the end of a forward: statistics of batch norm have changed then."""

    def limit(most, error=lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")):
        whole, seen = MaxViT.forward, []

        def forward(self, images):
            logits = whole(self, images)
            seen.append(len(images))
            if len(images) > most:
                raise error()
            return logits

        monkeypatch.setattr(MaxViT, "forward", forward)
        return seen

    return limit


def test_a_batch_that_is_too_much_is_halved_and_learnt_all_the_same(small_recipe, tmp_path, takes, capsys):
    train(small_recipe(*ALIKE, "data.device_batch_size=4"), tmp_path / "halves")
    seen = takes(4)
    assert train(small_recipe(*ALIKE), tmp_path / "whole", show_progress=True).finished
    ours, theirs = (storage.load(tmp_path / run / "last.safetensors")[0] for run in ("whole", "halves"))
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=0)
    ours, theirs = (read_metrics(tmp_path / run)[0] for run in ("whole", "halves"))
    names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    assert [ours[n] for n in names] == pytest.approx([theirs[n] for n in names], abs=1e-6)
    assert sum(n > 4 for n in seen) <= 2  # once in training, once in evaluation
    err = capsys.readouterr().err
    assert err.count("at once: going on with 4, whose gradients are added up; batch norms see 4 images") == 1
    assert read_state(find_states(tmp_path / "whole")[0])["learner"]["at_once"] == 4  # a run that goes on does alike


def test_a_step_that_fails_after_others_leaves_nothing_of_the_update(small_recipe, tmp_path, monkeypatch):
    """The first of two parts of a batch has been learnt from when the second fails."""
    one_update = [*ALIKE, "data.batch_size=19"]
    train(small_recipe(*one_update, "data.device_batch_size=5"), tmp_path / "quarters")
    whole, calls = MaxViT.forward, []

    def forward(self, images):
        calls.append(len(images))
        logits = whole(self, images)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return logits

    monkeypatch.setattr(MaxViT, "forward", forward)
    train(small_recipe(*one_update, "data.device_batch_size=10"), tmp_path / "halves")
    assert calls[:6] == [10, 9, 5, 5, 5, 4]
    ours, theirs = (read_state(find_states(tmp_path / run)[0])["learner"] for run in ("halves", "quarters"))
    for name, moments in theirs["optimizer"]["state"].items():  # a tenth of the gradient
        torch.testing.assert_close(
            ours["optimizer"]["state"][name]["exp_avg"], moments["exp_avg"], rtol=1e-3, atol=1e-6
        )
    for name, tensor in theirs["network"].items():
        if "running_" in name or "tracked" in name:
            torch.testing.assert_close(ours["network"][name], tensor)
    ours, theirs = (read_metrics(tmp_path / run)[0]["train_loss"] for run in ("halves", "quarters"))
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_few_images_that_are_too_much_end_with_what_would_fit(small_recipe, tmp_path, takes):
    takes(1)
    says = r"3 images of 32 x 32 are too much .* cpu: set model.gradient_checkpointing=true, a smaller data.image_size"
    with pytest.raises(MaxViTError, match=says):
        train(small_recipe(*ALIKE), tmp_path / "run")


def test_other_errors_are_not_taken_for_it(small_recipe, tmp_path, takes):
    takes(4, lambda: RuntimeError("a kernel of mine failed"))
    with pytest.raises(RuntimeError, match="a kernel of mine failed"):
        train(small_recipe(*ALIKE), tmp_path / "run")


def test_processes_agree_before_an_update_and_learn_the_same(small_recipe, tmp_path, takes, monkeypatch):
    """Here another process, which only pretends to be one, has too little memory."""
    train(small_recipe(*ALIKE, "data.device_batch_size=4"), tmp_path / "halves")
    answers = [Flag(0), Flag.MEMORY, Flag.MEMORY]  # the data is fine; a new size; the other process's failure

    def agree(self, flags):
        return flags | (answers.pop(0) if answers else Flag(0))

    monkeypatch.setattr(Engine, "agree", agree)
    monkeypatch.setattr(Engine, "tries_out", True)
    seen = takes(99)
    train(small_recipe(*ALIKE), tmp_path / "run")
    assert seen[:4] == [7, 4, 3, 4]
    ours, theirs = (storage.load(tmp_path / run / "last.safetensors")[0] for run in ("run", "halves"))
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=0)
