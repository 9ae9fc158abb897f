import csv
import dataclasses
import itertools
import os
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from maxvit import Predictor, load_model, model, storage
from maxvit.data.record import find_changes, fingerprint, write_record
from maxvit.errors import MaxViTError
from maxvit.inference.evaluate import evaluate
from maxvit.kernels.cpu import inference
from maxvit.kernels.cpu.build import KernelsUnavailable
from maxvit.layers.recompute import recompute
from maxvit.report.run import report_run
from maxvit.tasks.classification.conformal import find_thresholds
from maxvit.training.checkpoints import find_states, read_state
from maxvit.training.files import CONFIG, RunFiles, read_epochs, read_metrics
from maxvit.training.learner import Learner
from maxvit.training.loop import Loop
from maxvit.training.recipe import load_recipe
from maxvit.training.run import IMAGES, _memory_of, resume, train
from maxvit.training.setup import load_data, make_network
from small import CLASSES, SETTINGS, write_images, write_truncated_jpeg

FILES = {"config.yaml", "images.csv.gz", "metrics.csv", "best.safetensors", "last.safetensors", "states"}
SPEED = {"images_per_second", "seconds", "waiting"}


def rows_of(run):
    """metrics.csv without the speed of the machine."""
    with (run / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in SPEED} for row in csv.DictReader(file)]


def edit_config(run, section, key, value):
    config = yaml.safe_load((run / CONFIG).read_text())
    config[section][key] = value
    (run / CONFIG).write_text(yaml.safe_dump(config))


def write_12_bits(path, highest):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.linspace(100, highest, 32 * 32).astype(np.uint16).reshape(32, 32)).save(path)


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished run, to change."""
    return shutil.copytree(finished.run, tmp_path / "copy")


@pytest.fixture
def signal_in(monkeypatch):
    """Send this process a signal in an update of the run (from 1; 0: never): signal_in(2, signal.SIGINT)."""

    original = Learner.update

    def arm(update, number):
        def update_then_signal(self):
            norm = original(self)
            if self.updates == update:
                os.kill(os.getpid(), number)
            return norm

        monkeypatch.setattr(Learner, "update", update_then_signal)

    return arm


def assert_same_run(run, other):
    """The same weights, bit by bit, the same metrics."""
    assert rows_of(run) == rows_of(other)
    for name in ("best.safetensors", "last.safetensors"):
        ours, theirs = storage.load(run / name)[0], storage.load(other / name)[0]
        assert ours.keys() == theirs.keys()
        assert [n for n in ours if not torch.equal(ours[n], theirs[n])] == [], name


def test_the_run_folder_holds_what_is_promised_and_nothing_else(finished):
    names = {path.name for path in finished.run.iterdir()}
    events = {name for name in names if name.startswith("events.out.tfevents")}
    assert names - events == FILES
    assert len(events) == 1


def test_the_configuration_is_the_recipe_with_its_overrides(finished):
    assert load_recipe(str(finished.run / CONFIG)) == finished.recipe
    assert finished.recipe.data.image_size == (32, 32)


def test_metrics_have_a_row_an_epoch(finished):
    rows = read_metrics(finished.run)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(0 <= row["val_accuracy"] <= 1 and row["seconds"] > 0 and row["images_per_second"] > 0 for row in rows)


def test_the_learning_rate_of_the_last_row_is_where_the_cosine_ends(finished):
    assert read_metrics(finished.run)[-1]["learning_rate"] == pytest.approx(1e-5)


def test_tensorboard_shows_what_the_metrics_say(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished.run)).Reload()
    for name in ("train_loss", "val_accuracy", "learning_rate"):
        shown = {e.step: e.value for e in events.Scalars(name)}
        assert shown == pytest.approx({UPDATES * row["epoch"]: row[name] for row in read_metrics(finished.run)})


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors"])
def test_a_checkpoint_says_what_it_is_and_where_it_comes_from(finished, images, name):
    metadata = storage.load_metadata(finished.run / name)
    assert metadata["format"] == "maxvit"
    assert metadata["config"]["num_classes"] == 3
    assert metadata["config"]["depths"] == [1, 2, 1, 1]
    assert metadata["class_names"] == list(CLASSES)
    assert metadata["preprocessing"]["image_size"] == [32, 32]
    assert metadata["preprocessing"]["mean"] == [0.5, 0.5, 0.5]
    origin = metadata["provenance"]
    assert origin["recipe"] == finished.recipe.model_dump(mode="json")
    assert origin["command"] == "maxvit train colours"
    assert origin["data"] == str(images)
    assert set(origin["versions"]) == {"maxvit", "torch", "python"}
    scores = {row["epoch"]: row for row in read_metrics(finished.run)}[origin["epoch"]]
    for score in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
        assert origin[score] == scores[score]


def test_a_checkpoint_knows_the_thresholds_of_its_own_validation(finished):
    found = load_model(finished.run / "best.safetensors").config.set_thresholds
    result = evaluate(finished.run / "best.safetensors", load_data(finished.recipe).val)
    own = result.metric.chosen.probabilities[range(5), result.metric.chosen.labels]
    assert len(found) == len(find_thresholds(own)) == 67  # five images serve up to 83 %
    np.testing.assert_allclose(found, find_thresholds(own.astype(float)), rtol=0.03)


def test_the_last_checkpoint_is_of_the_last_epoch(finished):
    assert storage.load_metadata(finished.run / "last.safetensors")["provenance"]["epoch"] == 2


def test_the_best_checkpoint_is_of_the_epoch_with_the_best_validation_accuracy(small_recipe, tmp_path, monkeypatch):
    scores = {1: (0.25, 1.0), 2: (0.75, 3.0), 3: (0.75, 2.0), 4: (0.5, 0.5)}  # equal accuracy: the smaller loss

    def scripted(self):
        accuracy, loss = scores[self.at.epoch + 1]
        return {"accuracy": accuracy, "loss": loss}, self.task.val_metric(["blue"])

    monkeypatch.setattr(Loop, "_validate", scripted)
    run = tmp_path / "run"
    train(small_recipe("optimization.epochs=4", "data.batch_size=64", "data.val_fraction=0.8"), run)
    assert storage.load_metadata(run / "best.safetensors")["provenance"]["epoch"] == 3
    assert storage.load_metadata(run / "last.safetensors")["provenance"]["epoch"] == 4


def test_the_loss_falls(finished):
    first, second = (row["train_loss"] for row in read_metrics(finished.run))
    assert second < 0.95 * first


def test_a_checkpoint_answers_with_the_class_names_and_needs_nothing_else(finished, images, tmp_path):
    alone = tmp_path / "alone.safetensors"
    shutil.copy(finished.run / "best.safetensors", alone)
    (answer,) = Predictor(alone)([images / "red" / "0.png"])
    classes = answer.to_json()["classes"]
    assert sorted(one["class"] for one in classes) == list(CLASSES)
    assert sum(one["probability"] for one in classes) == pytest.approx(1.0)


def test_a_folder_that_holds_something_is_refused_and_left_as_it_is(small_recipe, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(MaxViTError, match=r"exists already: choose another --out, or continue that run with --resume"):
        train(small_recipe(), tmp_path)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"notes.txt": "mine"}


def test_a_folder_that_another_process_takes_while_the_data_is_read_is_left_to_it(small_recipe, tmp_path, monkeypatch):
    def read_while_another_begins(recipe):
        (tmp_path / CONFIG).write_text("theirs")
        return load_data(recipe)

    monkeypatch.setattr("maxvit.training.run.load_data", read_while_another_begins)
    with pytest.raises(MaxViTError, match=r"another process has begun a run in .* meanwhile: choose another --out"):
        train(small_recipe(), tmp_path)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {CONFIG: "theirs"}


def test_a_folder_with_nothing_but_half_a_file_of_a_killed_process_is_new(small_recipe, tmp_path):
    (tmp_path / ".config.yaml.ab12cd34").write_text("name: fo")
    assert train(small_recipe("optimization.epochs=1"), tmp_path).finished
    assert not (tmp_path / ".config.yaml.ab12cd34").exists()


def test_a_value_that_the_network_refuses_leaves_no_folder(small_recipe, tmp_path):
    with pytest.raises(MaxViTError, match=r"image_size is \(16, 16\); the smallest side is 32 pixels"):
        train(small_recipe("data.image_size=16"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_broken_images_are_skipped_and_counted_and_the_run_goes_on(tmp_path):
    images = write_images(tmp_path / "data")
    write_truncated_jpeg(images / "blue" / "half.jpg")
    (images / "red" / "text.png").write_text("hello")
    recipe = load_recipe(
        "folder", [f"data.path={images}", *SETTINGS, "optimization.epochs=1", "data.batch_size=64"]
    )  # one batch: none is left out
    outcome = train(recipe, tmp_path / "run")
    assert outcome.finished
    damaged, no_image = outcome.skipped
    assert "half.jpg is damaged" in damaged
    assert "text.png is not an image" in no_image
    assert read_epochs(tmp_path / "run") == 1


def test_data_without_an_image_that_can_be_read_is_refused_before_any_work(tmp_path, small_recipe):
    images = write_images(tmp_path / "data", number=4)
    for path in images.rglob("*.png"):
        path.write_text("hello")
    with pytest.raises(MaxViTError, match=r"0 of the \d+ training images can be read, at least 2 must be; the first"):
        train(small_recipe(f"data.path={images}"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_gradient_checkpointing_happens_and_changes_no_result(finished, small_recipe, tmp_path, monkeypatch):
    blocks = []
    monkeypatch.setattr(model, "recompute", lambda block, x: blocks.append(block) or recompute(block, x))
    run = tmp_path / "run"
    train(small_recipe("model.gradient_checkpointing=true"), run)
    assert len(blocks) == 2 * UPDATES * 5  # epochs, updates, blocks
    for ours, theirs in itertools.zip_longest(read_metrics(run), read_metrics(finished.run)):
        for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4), name  # the sums run in another order


def test_two_runs_of_one_seed_are_the_same_bit_by_bit(finished, small_recipe, tmp_path):
    torch.manual_seed(12345)  # whatever was drawn before
    train(small_recipe(), tmp_path / "again")
    assert_same_run(tmp_path / "again", finished.run)
    train(small_recipe("seed=1"), tmp_path / "other")
    assert rows_of(tmp_path / "other") != rows_of(finished.run)


def test_a_run_is_the_same_whether_decoded_images_are_kept_or_not(finished, small_recipe, tmp_path):
    train(small_recipe("data.cache_gib=0"), tmp_path / "anew")
    assert_same_run(tmp_path / "anew", finished.run)


@pytest.mark.parametrize(("workers", "readers"), [(0, 2), (3, 6)])
def test_all_processes_of_a_machine_together_keep_what_the_recipe_allows(small_recipe, workers, readers):
    recipe = small_recipe("data.cache_gib=0.5", f"data.workers={workers}")
    data, four_on_two_machines = load_data(recipe), SimpleNamespace(world=4, nodes=2)
    train, val = (_memory_of(part, data, recipe, four_on_two_machines) for part in (data.train, data.val))
    assert train / val == pytest.approx(len(data.train) / len(data.val), rel=1e-3)
    assert 2**29 - 2 * readers <= readers * (train + val) <= 2**29


UPDATES = 3  # of an epoch: 20 images in batches of 8 at most


@pytest.mark.parametrize("update", [1, 2, UPDATES, UPDATES + 1, 2 * UPDATES])
def test_a_run_stopped_in_any_update_and_resumed_is_the_run_that_never_stopped(
    finished, small_recipe, tmp_path, signal_in, update
):
    run = tmp_path / "run"
    signal_in(update, signal.SIGINT)
    outcome = train(small_recipe(), run)
    assert (outcome.finished, outcome.signal, read_epochs(run)) == (False, signal.SIGINT, (update - 1) // UPDATES)
    assert read_state(find_states(run)[0])["learner"]["updates"] == update  # nothing of it is lost
    signal_in(0, signal.SIGINT)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)  # as another process would
        assert resume(run).finished
    assert_same_run(run, finished.run)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_scheduler_stops_a_run_as_ctrl_c_does_and_gets_its_signals_back(small_recipe, tmp_path, signal_in, number):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    signal_in(1, number)
    outcome = train(small_recipe(), tmp_path / "run")
    assert (outcome.finished, outcome.signal) == (False, number)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before


def test_what_the_metrics_count_as_finished_can_be_resumed(finished, small_recipe, tmp_path, monkeypatch):
    def full_disk(path, tensors, metadata):
        if metadata["provenance"]["epoch"] == 2:
            raise MaxViTError("no space")
        save(path, tensors, metadata)

    save = storage.save
    monkeypatch.setattr(storage, "save", full_disk)
    with pytest.raises(MaxViTError, match="no space"):
        train(small_recipe(), tmp_path / "run")
    monkeypatch.setattr(storage, "save", save)
    assert read_epochs(tmp_path / "run") == 1
    assert resume(tmp_path / "run").finished
    assert_same_run(tmp_path / "run", finished.run)


def test_a_crash_between_state_and_metrics_loses_no_row(finished, copy):
    lines = (copy / "metrics.csv").read_text().splitlines(keepends=True)
    (copy / "metrics.csv").write_text("".join(lines[:2]))
    assert resume(copy).finished
    assert (copy / "metrics.csv").read_text() == (finished.run / "metrics.csv").read_text()


def test_a_finished_run_cannot_be_resumed(finished):
    with pytest.raises(MaxViTError, match=r"is finished: it has done all of its epochs \(2\)"):
        resume(finished.run)


def test_a_folder_that_is_no_run_cannot_be_resumed(images):
    with pytest.raises(MaxViTError, match=r"is not a run folder: it has no config\.yaml"):
        resume(images)


def test_a_run_whose_data_is_gone_says_so(copy, tmp_path):
    edit_config(copy, "optimization", "epochs", 3)
    edit_config(copy, "data", "path", str(tmp_path / "gone"))
    with pytest.raises(MaxViTError, match="gone does not exist: check the path"):
        resume(copy)


def test_a_run_whose_data_has_other_classes_now_says_so(copy, tmp_path):
    images = write_images(tmp_path / "data")
    shutil.rmtree(images / "red")
    edit_config(copy, "optimization", "epochs", 3)
    edit_config(copy, "data", "path", str(images))
    with pytest.raises(MaxViTError, match=r"began with the classes .*'red'.* now has \['blue', 'green'\]"):
        resume(copy)


def test_a_run_whose_images_have_changed_is_refused_until_that_is_wanted(copy):
    edit_config(copy, "optimization", "epochs", 3)
    data = load_data(load_recipe(str(copy / CONFIG)))
    begun = dataclasses.replace(data, train=data.train.subset(range(1, len(data.train))))  # one has come since
    write_record(copy / IMAGES, begun)
    new = data.train.names[0]
    with pytest.raises(MaxViTError, match=rf"not as it was when .* began: 1 is new \({new}\)\. Restore it; .* delete"):
        resume(copy)
    with pytest.raises(MaxViTError, match=r"Restore it: else images of training would count as held out"):
        report_run(copy)
    (copy / IMAGES).unlink()
    assert resume(copy).finished
    assert find_changes(copy / IMAGES, data) == ""


def test_a_run_that_goes_on_keeps_its_range_of_values_whatever_the_images_hold_now(small_recipe, tmp_path, capsys):
    for name in ("a/0", "a/1", "a/2", "b/0", "b/1", "b/2"):
        write_12_bits(tmp_path / "data" / f"{name}.png", 4000)
    run = tmp_path / "run"
    train(small_recipe(f"data.path={tmp_path / 'data'}", "optimization.epochs=1"), run, show_progress=True)
    assert "100 is black and 4000 white" in capsys.readouterr().err
    edit_config(run, "optimization", "epochs", 2)
    for name in ("a/0", "a/1", "a/2"):
        write_12_bits(tmp_path / "data" / f"{name}.png", 60000)
    assert resume(run, show_progress=True).finished
    assert "black" not in capsys.readouterr().err
    assert load_model(run / "last.safetensors").preprocessing.value_range == (100, 4000)


def test_a_checkpoint_knows_which_images_were_held_out(finished):
    data = load_data(finished.recipe)
    known = load_model(finished.run / "best.safetensors").provenance["images"]
    assert known == {"train": fingerprint(data.train), "val": fingerprint(data.val)}


@pytest.mark.parametrize("length", [0, 4, 5000])
def test_states_that_are_damaged_are_an_error_and_not_overwritten(copy, length):
    edit_config(copy, "optimization", "epochs", 3)
    damaged = {path: path.read_bytes()[:length] for path in find_states(copy)}
    for path, content in damaged.items():
        path.write_bytes(content)
    with pytest.raises(MaxViTError, match=r"6\.state is damaged: copy it again, or delete it"):
        resume(copy)
    assert {path: path.read_bytes() for path in find_states(copy)} == damaged


def test_where_the_last_state_is_damaged_the_one_before_serves(finished, copy):
    last, before = find_states(copy)
    last.write_bytes(last.read_bytes()[:5000])
    (copy / "metrics.csv").unlink()
    assert before.name == "000000003.state"
    assert resume(copy).finished
    assert_same_run(copy, finished.run)


def test_metrics_without_a_state_are_not_written_over(copy):
    shutil.rmtree(copy / "states")
    edit_config(copy, "optimization", "epochs", 3)
    before = {p: p.read_bytes() for p in copy.iterdir()}
    with pytest.raises(MaxViTError, match=r"has metrics but none of the states/ that it could go on from"):
        resume(copy)
    assert {p: p.read_bytes() for p in copy.iterdir()} == before


def test_a_signal_in_the_last_moment_of_a_run_finishes_it(small_recipe, tmp_path, monkeypatch):
    original = RunFiles.finish_epoch

    def finish_then_signal(self, update):
        original(self, update)
        if len(self.rows) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunFiles, "finish_epoch", finish_then_signal)
    assert train(small_recipe(), tmp_path / "run").finished


def test_a_state_of_another_network_is_refused(copy):
    edit_config(copy, "optimization", "epochs", 3)
    edit_config(copy, "model", "name", "maxvit_tiny")
    with pytest.raises(MaxViTError, match=r"is of another network: .* restore config\.yaml"):
        resume(copy)


def test_a_run_on_other_threads_goes_on_and_says_so(copy, capsys):
    edit_config(copy, "optimization", "epochs", 3)
    torch.set_num_threads(2)
    try:
        assert resume(copy, show_progress=True).finished
    finally:
        torch.set_num_threads(1)
    assert "threads: 1 before, 2 now: it goes on at the same image, but not bit by bit" in " ".join(
        capsys.readouterr().err.split()
    )
    assert read_epochs(copy) == 3


def test_what_a_killed_process_was_writing_is_removed(copy):
    edit_config(copy, "optimization", "epochs", 3)
    leftovers = [copy / ".best.safetensors.abcd1234", copy / "states" / ".000000009.state.x_y1z2w3"]
    for path in leftovers:
        path.write_text("half")
    resume(copy)
    assert not any(path.exists() for path in leftovers)


def test_a_rate_that_would_rise_to_its_end_is_refused(small_recipe, tmp_path):
    recipe = small_recipe("optimization.learning_rate=1e-6")
    with pytest.raises(MaxViTError, match=r"is 1e-06, below optimization\.min_learning_rate, where it ends, 1e-05"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_without_a_path_the_data_are_the_digits():
    data = load_data(load_recipe("digits"))
    assert data.test is not None
    assert len(data.test) == 360


def test_the_validation_share_and_the_seed_reach_the_split(small_recipe):
    half, other = (load_data(small_recipe("data.val_fraction=0.5", f"seed={seed}")) for seed in (0, 1))
    assert (len(half.train), len(half.val)) == (12, 12)
    assert half.val.names != other.val.names


def test_fine_tuning_starts_from_the_weights_and_takes_what_they_expect_of_an_image(finished, small_recipe, tmp_path):
    weights = load_model(finished.run / "best.safetensors")
    weights.preprocessing = dataclasses.replace(weights.preprocessing, mean=(0.1, 0.2, 0.3))
    weights.save(tmp_path / "weights.safetensors")
    recipe = small_recipe(f"model.pretrained={tmp_path / 'weights.safetensors'}")
    network = make_network(recipe, ["one", "two"])
    ours, theirs = network.state_dict(), weights.state_dict()
    assert all(torch.equal(ours[n], theirs[n]) for n in theirs if ".classifier" not in n)
    assert (network.config.num_classes, network.class_names) == (2, ["one", "two"])
    assert network.preprocessing.mean == (0.1, 0.2, 0.3)
    assert network.training
    assert torch.equal(make_network(recipe, weights.class_names).head.classifier.weight, weights.head.classifier.weight)
    other = make_network(recipe, ["x", "y", "z"])  # as many classes, but others
    assert not torch.equal(other.head.classifier.weight, weights.head.classifier.weight)


def test_the_native_kernels_train_as_plain_pytorch_does(small_recipe, tmp_path, capsys):
    """The same files with the same names in them, and nearly the same numbers."""
    runs = {}
    for kernels in ("auto", "none"):
        recipe = small_recipe("optimization.epochs=1", f"model.kernels={kernels}")
        runs[kernels] = train(recipe, tmp_path / kernels, show_progress=True).run
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("training by")]
    assert said == ["training by the native CPU kernels", "training by plain PyTorch: the recipe says so"]
    states = [read_state(find_states(run)[0])["learner"]["network"] for run in runs.values()]
    assert states[0].keys() == states[1].keys()
    losses = [float(rows_of(run)[0]["train_loss"]) for run in runs.values()]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert any(not torch.equal(states[0][n], states[1][n]) for n in states[0])  # they are two ways


def test_a_precision_that_is_the_reason_is_said_once(small_recipe, tmp_path, capsys):
    train(small_recipe("engine.precision=bf16", "optimization.epochs=1"), tmp_path / "run", show_progress=True)
    assert "training by plain PyTorch: it is in bf16\n" in capsys.readouterr().err


@pytest.mark.full
@pytest.mark.skipif(torch.cuda.is_available(), reason="is for Triton's interpreter; a GPU has benchmarks")
@pytest.mark.filterwarnings("ignore:overflow encountered")  # by an exponential whose reciprocal is zero
def test_the_triton_kernels_train_as_plain_pytorch_does(small_recipe, tmp_path, capsys):
    losses = {}
    for kernels in ("triton", "none"):
        recipe = small_recipe("optimization.epochs=1", f"model.kernels={kernels}")
        run = train(recipe, tmp_path / kernels, show_progress=True).run
        losses[kernels] = float(rows_of(run)[0]["train_loss"])
    assert "training by the Triton kernels" in capsys.readouterr().err
    assert losses["triton"] == pytest.approx(losses["none"], rel=1e-3)
    assert losses["triton"] != losses["none"]  # they are two ways


def test_a_run_without_a_compiler_says_so(small_recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(inference, "load", no_compiler)
    assert train(small_recipe("optimization.epochs=1"), tmp_path / "run", show_progress=True).finished
    assert "training by plain PyTorch: no compiler" in capsys.readouterr().err


def no_compiler(width):
    raise KernelsUnavailable("no compiler")


def test_weights_of_classes_are_of_the_network_s_type(small_recipe, tmp_path):
    settings = ("engine.precision=fp64", "task.class_weights=balanced", "optimization.epochs=1")
    assert train(small_recipe(*settings), tmp_path / "run").finished
