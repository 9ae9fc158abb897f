"""What trackers are told of a run; read back from what the real ones write without a network."""

import importlib.machinery
import importlib.util
import json
import math
import os
import signal

import pytest
from PIL import Image
from read_wandb import read_offline

from every_task import TASKS, network_of, write_data
from maxvit import load, storage
from maxvit.errors import MaxViTError
from maxvit.tasks import make_task
from maxvit.training import conclude
from maxvit.training.files import read_metrics
from maxvit.training.learner import Learner
from maxvit.training.recipe import load_recipe
from maxvit.training.run import resume, train
from maxvit.training.signals import Stopped
from maxvit.training.trackers.pictures import show_predictions
from maxvit.training.trackers.several import IDENTITIES, KINDS, Trackers, check_trackers
from maxvit.training.trackers.tensorboard import TensorBoard
from maxvit.training.trackers.tracker import About, Shown

UPDATES = 3  # of an epoch
ORIGIN = {"command": "maxvit train", "data": "colours", "devices": "1 CPU thread", "versions": {"maxvit": "1"}}
ROWS = [{"epoch": 1, "val_accuracy": 0.5, "val_loss": math.nan}, {"epoch": 2, "val_accuracy": 0.75, "val_loss": 0.5}]


def recipe(*settings):
    return load_recipe("digits", settings)


class Told:
    """A tracker that keeps what it is told, in the order in which it is; in `fails` are methods that raise."""

    def __init__(self, about, fails=()):
        self.about, self.fails, self.calls = about, fails, []
        self.identity = about.identity or "first"

    def _take(self, name, *values):
        self.calls.append((name, *values))
        if name in self.fails:
            raise ConnectionError("the network is gone\nset RETRIES")

    def log(self, values, update):
        self._take("log", dict(values), update)

    def rewind(self):
        self._take("rewind")

    def finish(self, best, shown, checkpoint):
        self._take("finish", dict(best), shown, checkpoint)

    def close(self, done):
        self._take("close", done)


@pytest.fixture
def told(monkeypatch):
    """The trackers that were opened under the names of wandb and mlflow; the first fails in told.fails."""
    opened = []

    class Opened(list):
        fails = ()

    opened = Opened()

    def make(name):
        def open_one(about):
            opened.append(Told(about, opened.fails if name == "wandb" else ()))
            return opened[-1]

        return open_one

    for name in ("wandb", "mlflow"):
        monkeypatch.setitem(KINDS, name, KINDS[name]._replace(make=make(name), module="json"))
    return opened


@pytest.mark.parametrize(("name", "extra"), [("tensorboard", "train"), ("wandb", "wandb"), ("mlflow", "mlflow")])
def test_a_tracker_that_is_not_installed_is_refused_before_any_work(name, extra, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr("maxvit.errors.find_spec", lambda library: None if library == name else find(library))
    with pytest.raises(MaxViTError, match=rf"needs {name}, which is not installed: pip install 'maxvit\[{extra}\]'"):
        train(recipe(f"logging.trackers={name}", "data.path=nowhere"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_with_the_name_of_a_library_is_not_that_library(monkeypatch):
    monkeypatch.setattr("maxvit.errors.find_spec", lambda module: importlib.machinery.ModuleSpec(module, None))
    with pytest.raises(MaxViTError, match="needs wandb, which is not installed"):
        check_trackers(recipe("logging.trackers=[wandb]"))


def test_a_checkpoint_is_not_promised_where_no_tracker_takes_it():
    with pytest.raises(MaxViTError, match=r"logging\.checkpoint sends .* names neither"):
        check_trackers(recipe("logging.checkpoint=true"))


def test_no_library_is_imported_for_a_tracker_that_is_not_named():
    assert not {"wandb", "mlflow"} & {node.split(".")[0] for node in imported_at_the_top()}


def imported_at_the_top():
    for name in ("wandb", "mlflow", "several"):
        path = importlib.util.find_spec(f"maxvit.training.trackers.{name}").origin
        with open(path, encoding="utf-8") as file:
            yield from (line.split()[1] for line in file if line.startswith(("import ", "from ")))


def test_a_stopped_run_goes_on_in_the_same_run_of_a_tracker(small_recipe, told, tmp_path, monkeypatch):
    original, run = Learner.update, tmp_path / "run"

    def update_then_signal(self):
        norm = original(self)
        if self.updates == UPDATES + 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return norm

    monkeypatch.setattr(Learner, "update", update_then_signal)
    assert not train(small_recipe("logging.trackers=[mlflow]", "logging.checkpoint=true"), run).finished
    monkeypatch.setattr(Learner, "update", original)
    assert resume(run).finished
    first, second = told
    assert (first.about.identity, second.about.identity) == (None, "first")
    assert json.loads((run / IDENTITIES).read_text()) == {"mlflow": "first"}
    rows = read_metrics(run)
    assert [call for call in first.calls if call[0] != "rewind"] == [("log", rows[0], UPDATES), ("close", False)]
    best = rows[int(storage.load_metadata(run / "best.safetensors")["provenance"]["epoch"]) - 1]
    assert [call for call in second.calls if call[0] != "rewind"] == [
        ("log", rows[1], 2 * UPDATES),
        ("finish", best, [], run / "best.safetensors"),
        ("close", True),
    ]


@pytest.mark.parametrize("fails", ["log", "rewind", "finish", "close"])
def test_a_tracker_that_fails_is_told_once_and_the_others_go_on(told, tmp_path, fails):
    told.fails, said = (fails,), []
    with Trackers() as trackers:
        trackers.open(recipe("logging.trackers=[wandb, mlflow]"), tmp_path, ORIGIN, said.append, going_on=False)
        trackers.log(ROWS[0], 2)
        trackers.rewind()
        trackers.log(ROWS[1], 4)
        trackers.finish(ROWS[1], [], None)
    failing, other = told
    assert said == [
        "Weights & Biases takes nothing more (the network is gone); the run folder has all, training goes on"
    ]
    assert [name for name, *_ in other.calls] == ["log", "rewind", "log", "finish", "close"]
    assert [name for name, *_ in failing.calls].count(fails) == 1


def broken(about):
    raise ConnectionError("no such host\nset RETRIES")


def test_what_cannot_be_opened_ends_a_run_that_begins_and_not_one_that_goes_on(tmp_path, monkeypatch):
    monkeypatch.setitem(KINDS, "mlflow", KINDS["mlflow"]._replace(make=broken))
    wanted, said = recipe("logging.trackers=mlflow"), []
    with pytest.raises(MaxViTError, match=r"MLflow cannot be opened \(no such host\): set MLFLOW_TRACKING_URI"):
        Trackers().open(wanted, tmp_path, ORIGIN, said.append, going_on=False)
    with Trackers() as trackers:
        trackers.open(wanted, tmp_path, ORIGIN, said.append, going_on=True)
        trackers.log(ROWS[0], 1)
    assert [sentence.rpartition("; ")[2] for sentence in said] == ["training goes on without"]


def test_a_request_to_stop_while_a_tracker_opens_is_not_taken_for_its_failure(tmp_path, monkeypatch):
    def stopped(about):
        raise Stopped(signal.SIGINT)

    monkeypatch.setitem(KINDS, "wandb", KINDS["wandb"]._replace(make=stopped))
    with pytest.raises(Stopped):
        Trackers().open(recipe("logging.trackers=wandb"), tmp_path, ORIGIN, print, going_on=True)


def about(folder, identity=None):
    values = recipe("optimization.epochs=3").model_dump(mode="json")
    return About(folder, "colours", None, values, {"command": "maxvit train"}, identity)


def told_in_two_parts(make, folder):
    """A tracker that is told of a run which is stopped, then goes on from an earlier state."""
    first = make(about(folder))
    first.log({"update/loss": 3.0}, 1)
    first.log(ROWS[0], 2)
    first.close(done=False)
    second = make(about(folder, first.identity))
    second.log(ROWS[0], 2)
    second.log(ROWS[1], 4)
    checkpoint = folder / "best.safetensors"
    checkpoint.write_bytes(b"weights")
    second.finish(ROWS[1], [Shown("a.png", Image.new("RGB", (7, 5), "red"), "red 99%; target: red")], checkpoint)
    second.close(done=True)
    return first.identity


def test_tensorboard_has_the_points_the_best_epoch_and_the_pictures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told_in_two_parts(TensorBoard, tmp_path)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("val_accuracy")] == [(2, 0.5), (4, 0.75)]
    assert [e.value for e in events.Scalars("best/val_accuracy")] == [0.75]
    (picture,) = events.Images("predictions/a.png")
    assert (picture.width, picture.height) == (7, 5)
    (text,) = events.Tensors("predictions/a.png/text_summary")
    assert text.tensor_proto.string_val == [b"red 99%; target: red"]


@pytest.mark.filterwarnings("ignore:codecs.open:DeprecationWarning:mlflow")  # from Python 3.14 on
def test_mlflow_has_one_run_with_all_that_it_was_told(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    identity = told_in_two_parts(KINDS["mlflow"].make, tmp_path)
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("maxvit").experiment_id])
    assert (run.info.run_id, run.info.run_name, run.info.status) == (identity, "colours", "FINISHED")
    assert [(p.step, p.value) for p in client.get_metric_history(identity, "val_accuracy")] == [(2, 0.5), (4, 0.75)]
    assert run.data.metrics["update/loss"] == 3
    assert run.data.metrics["best/epoch"] == 2
    assert run.data.params["optimization.epochs"] == "3"
    assert run.data.params["task.name"] == "classification"
    assert run.data.tags["command"] == "maxvit train"
    found = [file.path for path in ("", "predictions") for file in client.list_artifacts(identity, path)]
    assert found == ["best.safetensors", "predictions", "predictions/0.png", "predictions/captions.txt"]


def test_weights_and_biases_has_one_run_with_all_that_it_was_told(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    for name, value in {"MODE": "offline", "SILENT": "true", "X_DISABLE_STATS": "true"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    identity = told_in_two_parts(KINDS["wandb"].make, tmp_path)
    wandb.teardown()  # its own process writes the files, and has done so when it has ended
    first, second = read_offline(tmp_path)
    assert {part.run.run_id for part in (first, second)} == {identity}
    assert (first.run.project, first.run.display_name) == ("maxvit", "colours")
    assert first.config["optimization"]["epochs"] == 3
    assert first.config["command"] == "maxvit train"
    assert [(point["_step"], point.get("val_accuracy")) for point in first.history] == [(1, None), (2, 0.5)]
    assert [(point["_step"], point.get("val_accuracy")) for point in second.history] == [(2, 0.5), (4, 0.75)]
    assert math.isnan(first.history[1]["val_loss"])
    assert second.summary["best/val_accuracy"] == 0.75
    assert second.history[-1]["predictions/captions"] == ["a.png: red 99%; target: red"]
    (artifact,) = second.artifacts
    assert (artifact.type, [entry.path for entry in artifact.manifest.contents]) == ("model", ["best.safetensors"])
    assert (first.exit_code, second.exit_code) == (1, 0)


@pytest.mark.parametrize("name", TASKS)
def test_pictures_show_what_is_predicted_for_validation_images(name, tmp_path):
    val = make_task({"name": name, **TASKS[name][0]}).load(str(write_data(name, tmp_path)), 0.4, 0).val
    shown = show_predictions(network_of(name, names=val.class_names), val, 2)
    assert [one.name for one in shown] == [val.names[0], val.names[-1]]
    assert all(("; target: " in one.caption) != (one.picture.width > one.picture.height) for one in shown)


def test_pictures_are_of_the_best_network_and_only_those_asked_for(finished, monkeypatch):
    from types import SimpleNamespace

    from maxvit.training.setup import load_data

    calls, wanted = (
        [],
        finished.recipe.model_copy(update={"logging": finished.recipe.logging.model_copy(update={"pictures": 2})}),
    )
    trackers = SimpleNamespace(finish=lambda *values: calls.append(values))
    files = SimpleNamespace(recipe=wanted, run=finished.run, rows=read_metrics(finished.run), trackers=trackers)
    conclude.tell_trackers(files, load_data(wanted), SimpleNamespace(device="cpu"))
    ((best, shown, checkpoint),) = calls
    epoch = storage.load_metadata(finished.run / "best.safetensors")["provenance"]["epoch"]
    assert (best["epoch"], len(shown), checkpoint) == (epoch, 2, None)
    val = load_data(wanted).val
    assert shown == show_predictions(load(finished.run / "best.safetensors"), val, 2)
