"""What the loop does when numbers, disks or images go wrong, and how it counts."""

import math
import re

import pytest
import torch

from maxvit.errors import MaxViTError
from maxvit.training.checkpoints import find_states, read_state
from maxvit.training.exact_mean import Tally, means
from maxvit.training.files import read_metrics
from maxvit.training.learner import Learner
from maxvit.training.loop import LOWER
from maxvit.training.run import resume, train

CPU = torch.device("cpu")
ALONE = (lambda sums: sums, lambda value: [value])  # a single process


@pytest.fixture
def poison(monkeypatch):
    """Make the loss, or a gradient, of some updates (from 0) no finite number; give the learning rates used."""
    rates = []

    def arm(updates, where="loss", times=1):
        left = dict.fromkeys(updates, times)
        step, update = Learner.step, Learner.update

        def poisoned_step(self, batch, turn, accumulate):
            scores = step(self, batch, turn, accumulate)
            if left.get(self.updates, 0):
                left[self.updates] -= 1
                if where == "loss":
                    return {**scores, "loss": torch.tensor(math.nan)}
                next(p for p in self.network.parameters() if p.grad is not None).grad.view(-1)[0] = math.inf
            return scores

        def noted_update(self):
            rates.append(self.learning_rate)
            return update(self)

        monkeypatch.setattr(Learner, "step", poisoned_step)
        monkeypatch.setattr(Learner, "update", noted_update)
        return rates

    return arm


@pytest.mark.parametrize(("where", "says"), [("loss", "the loss is nan"), ("gradient", "the norm of the gradient inf")])
def test_a_run_that_diverges_goes_back_once_with_a_lower_rate(small_recipe, tmp_path, poison, capsys, where, says):
    rates = poison([4], where)
    assert train(small_recipe(), tmp_path / "run", show_progress=True).finished
    err = " ".join(capsys.readouterr().err.split())
    assert "diverged at update 5: " in err
    assert says in err
    assert ".png" in err  # the images that it was learning from
    assert len(rates) == 8  # 5, then from the third update on again
    assert rates[5] == pytest.approx(LOWER * rates[3])
    assert read_state(find_states(tmp_path / "run")[0])["learner"]["rate"] == LOWER
    assert all(math.isfinite(row["train_loss"] + row["val_loss"]) for row in read_metrics(tmp_path / "run"))


def test_a_run_that_diverges_again_stops_and_keeps_the_last_good_state(small_recipe, tmp_path, poison):
    poison([4], times=2)
    with pytest.raises(MaxViTError, match=r"diverged again with 0\.5 times the learning rate, at update 5: .* is kept"):
        train(small_recipe(), tmp_path / "run")
    state = read_state(find_states(tmp_path / "run")[0])
    assert state["learner"]["updates"] == 3
    assert all(t.isfinite().all() for t in state["learner"]["network"].values() if t.is_floating_point())


def test_a_divergence_before_the_first_save_goes_back_to_the_start(small_recipe, tmp_path, poison):
    rates = poison([0])
    assert train(small_recipe(), tmp_path / "run").finished
    assert len(rates) == 7


def test_saving_at_the_start_takes_no_step(small_recipe, tmp_path):
    """The first update is AdamW's: a parameter moves by the learning rate, whatever its gradient."""
    rate = "optimization.learning_rate=1e-3"
    train(
        small_recipe(rate, "optimization.epochs=1", "checkpoints.every_updates=1", "checkpoints.keep=9"),
        tmp_path / "run",
    )
    *_, first, start = (read_state(path)["learner"] for path in find_states(tmp_path / "run"))
    assert start["optimizer"] == {}
    moved = first["network"]["head.classifier.bias"] - start["network"]["head.classifier.bias"]  # not decayed
    assert moved.abs().max().item() == pytest.approx(1e-3, rel=1e-3)
    steps = {float(s["step"]) for s in first["optimizer"]["state"].values()}
    assert steps == {1.0}


def test_an_epoch_of_one_update_is_shown_at_the_speed_that_it_had(small_recipe, tmp_path, capsys):
    train(small_recipe("data.batch_size=64", "optimization.epochs=1"), tmp_path / "run", show_progress=True)
    shown = re.search(r"images/s (\d+)  waiting (\d+)%", capsys.readouterr().err)
    (row,) = read_metrics(tmp_path / "run")
    assert row["images_per_second"] <= int(shown[1]) + 1 < 10 * row["images_per_second"]  # a little later in the row
    assert int(shown[2]) <= 100
    assert row["waiting"] <= 1


def test_as_many_states_as_wanted_are_kept(small_recipe, tmp_path):
    train(small_recipe("checkpoints.every_updates=1", "checkpoints.keep=3"), tmp_path / "run")
    assert [int(p.stem) for p in find_states(tmp_path / "run")] == [6, 5, 4]


def test_early_stopping_ends_a_run_that_gains_nothing(small_recipe, tmp_path, monkeypatch):
    from maxvit.training.loop import Loop

    def scripted(self):
        return {"accuracy": 0.5, "loss": float(self.at.epoch)}, self.task.val_metric(["blue"])

    monkeypatch.setattr(Loop, "_validate", scripted)
    assert train(small_recipe("optimization.epochs=9", "optimization.patience=2"), tmp_path / "run").finished
    assert len(read_metrics(tmp_path / "run")) == 3
    with pytest.raises(MaxViTError, match="is finished: it ended early after 3 of 9 epochs"):
        resume(tmp_path / "run")


def test_the_rate_follows_the_square_root_of_the_batch(small_recipe, tmp_path, poison):
    rates = poison([])
    rate = "optimization.learning_rate=1e-3"
    train(small_recipe(rate, "optimization.base_batch_size=2", "optimization.epochs=1"), tmp_path / "run")
    assert rates[0] == pytest.approx(1e-3 * 2)  # 8 images, meant for 2


def test_means_are_exact_in_any_order():
    torch.manual_seed(0)
    scores = [{"loss": torch.rand(()) * 9, "accuracy": torch.rand(())} for _ in range(101)]
    one, other = Tally(CPU), Tally(CPU)
    for i, score in enumerate(scores):
        one.add(score, i + 1)
    for i in reversed(range(101)):
        other.add(scores[i], i + 1)
    totals = one.totals(*ALONE)
    assert totals == other.totals(*ALONE)
    resumed = Tally(CPU, totals)
    assert resumed.totals(*ALONE) == totals
    wanted = sum(float(s["loss"]) * (i + 1) for i, s in enumerate(scores)) / (101 * 102 / 2)
    assert means(totals)["loss"] == pytest.approx(wanted, abs=1e-7)
    one.add({"loss": torch.tensor(math.inf), "accuracy": torch.tensor(1.0)}, 3)
    assert math.isnan(means(one.totals(*ALONE))["loss"])
    nothing = Tally(CPU)
    nothing.add({"accuracy": torch.tensor(0.0)}, 0)
    assert math.isnan(means(nothing.totals(*ALONE))["accuracy"])


def test_a_process_without_a_batch_learns_from_another_what_is_counted():
    totals = Tally(CPU).totals(lambda sums: sums + 1, lambda mine: [mine, ("loss",)])
    assert totals == {"loss": 1, "images": 1, "infinite": 1}
