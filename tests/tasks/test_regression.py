"""Numbers as targets: what is read, the scale inside the network, the loss, and metrics as scikit-learn has them."""

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import metrics

import maxvit
from healthy import fill
from maxvit import create_model
from maxvit.config import Preprocessing
from maxvit.data.columns import ListColumns
from maxvit.data.dataset import LabelledImages, describe
from maxvit.errors import MaxViTError
from maxvit.tasks import load, make_task
from maxvit.tasks.regression.loss import standardised_loss
from maxvit.tasks.regression.metric import RegressionMetric
from maxvit.tasks.regression.panels import regression_panels

NAMES = ["age", "height"]


def micro(names=NAMES, **settings):
    task = make_task({"name": "regression", **settings})
    return task, fill(task.make_network(create_model("maxvit_micro", num_classes=3, image_size=32), names)).eval()


def numbers(*rows):
    labels = np.array(rows)
    return LabelledImages(list(range(len(rows))), labels, NAMES[: labels.shape[1]], [str(i) for i in range(len(rows))])


# the scale


def test_a_new_network_gives_the_mean_of_the_training_targets_and_spreads_by_their_deviation():
    task, network = micro()
    images = torch.randn(3, 3, 32, 32)
    before = network(images)  # with mean 0 and deviation 1
    targets = torch.tensor([[1000.0, 3.0], [1010.0, 3.5], [1020.0, 1.0]], dtype=torch.float64)
    task.initialize(network, numbers(*targets.tolist()))
    wanted = before.double() * targets.std(0, correction=0) + targets.mean(0)
    torch.testing.assert_close(network(images).double(), wanted, rtol=1e-5, atol=1e-4)


def test_the_scale_travels_with_the_checkpoint(tmp_path):
    task, network = micro()
    task.initialize(network, numbers([1000.0, 3.0], [1010.0, 3.5]))
    network.save(tmp_path / "a.safetensors")
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(load(tmp_path / "a.safetensors")(images), network(images))


def test_16_bits_do_not_round_what_is_far_from_0():
    task, network = micro(["age"])
    task.initialize(network, numbers([100_000.0], [100_002.0]))
    images = torch.randn(5, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, network(images), rtol=0, atol=0.1)  # bfloat16 has 512 between two numbers there


def test_targets_that_are_all_alike_are_refused():
    task, network = micro()
    with pytest.raises(MaxViTError, match="height is 3 for all 2 training images: there is nothing to learn; name"):
        task.initialize(network, numbers([1.0, 3.0], [2.0, 3.0]))


def test_training_gives_the_scale_to_the_result(tmp_path):
    write = np.random.default_rng(0)
    lines = ["image,year"]
    for i in range(10):
        Image.fromarray(write.integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / f"{i}.png")
        lines.append(f"{i},{1990 + i}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    settings = ["data.batch_size=4", "optimization.warmup_epochs=0", "model.pretrained=null"]
    done = maxvit.train(
        tmp_path / "list.csv",
        out=tmp_path / "run",
        task="regression",
        label_column="year",
        epochs=1,
        image_size=32,
        settings=settings,
        show_progress=False,
    )
    network = load(done.best)
    assert network.head.target_mean.item() == pytest.approx(1994.5, abs=2)  # of the eight of training
    assert float(maxvit.Predictor(network)(tmp_path / "3.png")[0].value) == pytest.approx(1994.5, abs=20)


# the loss


@pytest.mark.parametrize(("kind", "delta"), [("huber", 0.5), ("huber", 1.0), ("mse", 1.0)])
def test_the_loss_is_that_of_standard_deviations(kind, delta):
    values, targets, deviation = torch.randn(7, 3), torch.randn(7, 3), torch.tensor([0.5, 2.0, 3.0])
    total = 0.0
    for value, target in zip(values.tolist(), targets.tolist(), strict=True):
        for v, t, d in zip(value, target, deviation.tolist(), strict=True):
            error = abs(v - t) / d
            if kind == "mse":
                total += error**2
            else:
                total += error**2 / 2 if error <= delta else delta * (error - delta / 2)
    assert standardised_loss(values, targets, deviation, kind, delta).item() == pytest.approx(total / 21)


def test_training_and_validation_have_the_same_loss_by_the_settings():
    images, targets = torch.randn(4, 3, 32, 32), torch.tensor([[1.0, 2.0], [9.0, 2.5], [3.0, 0.0], [4.0, 4.0]])
    found = []
    for settings in ({"loss": "mse"}, {"huber_delta": 0.1}, {}):
        task, network = micro(**settings)
        task.initialize(network, numbers(*targets.tolist()))
        loss = task.losses(network, images, targets)["loss"]
        validated, values = task.evaluate(network, images, [(32, 32)] * 4, list(targets))
        assert loss == validated["loss"]
        assert torch.equal(torch.stack(values), network(images))
        found.append(loss.item())
    assert len(set(found)) == 3


# the metric


def filled(count=41, outputs=3):
    random = np.random.default_rng(0)
    targets = random.normal(size=(count, outputs)) * [1, 10, 100][:outputs]
    predictions = targets + random.normal(size=targets.shape) * [0.1, 5, 200][:outputs]
    metric = RegressionMetric(["a", "b", "c"][:outputs])
    metric.add(list(torch.from_numpy(predictions)), list(torch.from_numpy(targets)))
    return metric, predictions, targets


@pytest.mark.parametrize("outputs", [1, 3])
def test_metrics_are_those_of_scikit_learn_and_r2_is_first(outputs):
    metric, predictions, targets = filled(outputs=outputs)
    assert list(metric.compute()) == ["r2", "mae", "rmse"]
    assert metric.compute() == pytest.approx(
        {
            "r2": metrics.r2_score(targets, predictions),
            "mae": metrics.mean_absolute_error(targets, predictions),
            "rmse": metrics.root_mean_squared_error(targets, predictions),
        }
    )


def test_each_of_several_outputs_has_a_row_and_one_has_none():
    metric, predictions, targets = filled()
    wanted = metrics.r2_score(targets, predictions, multioutput="raw_values").tolist()
    assert [row["target"] for row in metric.rows()] == ["a", "b", "c"]
    assert [row["r2"] for row in metric.rows()] == pytest.approx(wanted)
    assert filled(outputs=1)[0].rows() == []


def test_a_constant_target_has_no_r2_and_no_image_no_metric():
    metric = RegressionMetric(["a"])
    assert all(math.isnan(value) for value in metric.compute().values())
    assert metric.intervals() == {}
    metric.add([torch.tensor([1.0]), torch.tensor([4.0])], [torch.tensor([2.0])] * 2)
    assert math.isnan(metric.compute()["r2"])
    assert metric.compute()["mae"] == 1.5


def test_parts_of_two_processes_are_the_whole():
    metric, predictions, targets = filled()
    joined = RegressionMetric(metric.class_names)
    for part in (slice(0, 17), slice(17, 41)):
        other = RegressionMetric(metric.class_names)
        other.add(list(torch.from_numpy(predictions[part])), list(torch.from_numpy(targets[part])))
        joined.merge(pickle.loads(pickle.dumps(other.state())))
    assert joined.compute() == metric.compute()


def test_intervals_hold_the_metric_and_shrink_with_more_images():
    widths = []
    for count in (20, 2000):
        metric = filled(count, 1)[0]
        intervals, found = metric.intervals(), metric.compute()
        assert all(low < found[name] < high for name, (low, high) in intervals.items())
        widths.append(intervals["mae"][1] - intervals["mae"][0])
    assert widths[1] < widths[0] / 5


def test_the_report_has_the_largest_errors_first_in_deviations():
    metric = RegressionMetric(["small", "large"])
    targets = [[0.0, 0.0], [1.0, 1000.0], [0.5, 500.0]]
    predictions = [[0.0, 100.0], [2.0, 1000.0], [0.5, 501.0]]
    metric.add([torch.tensor(p) for p in predictions], [torch.tensor(t) for t in targets])
    panels = regression_panels(metric)
    assert [mistake.row for mistake in panels.mistakes.worst] == [1, 0, 2]
    assert [scatter.predictions.tolist() for scatter in panels.scatters] == [[0.0, 2.0, 0.5], [100.0, 1000.0, 501.0]]


# the baseline


def coloured(seed, number=40):
    """Images whose first target is their red, and whose second is a thousand times a number that none can see."""
    random = np.random.default_rng(seed)
    reds, hidden = random.uniform(30, 220, number), random.normal(size=number)
    pixels = [np.full((20, 30, 3), (red, 90, 90), np.uint8) for red in reds]
    labels = np.stack([reds, 1000 * hidden], 1)
    return LabelledImages(pixels, labels, ["red", "hidden"], [str(i) for i in range(number)])


def test_the_baseline_explains_what_colours_show_and_no_more():
    task, spec, train, test = make_task({"name": "regression"}), Preprocessing(), coloured(0), coloured(1)
    found = task.baseline(train, test, spec)
    assert found.metric == "r2"
    alone = [replace(images, labels=images.labels[:, :1]) for images in (train, test)]
    assert task.baseline(*alone, spec).value > 0.8
    assert found.value < 0.55  # the mean of that and of nothing


# the list


@pytest.fixture
def write(tmp_path):
    def call(*lines):
        for i in range(4):
            (tmp_path / f"{i}.png").touch()
        (tmp_path / "list.csv").write_text("\n".join(lines))
        return tmp_path / "list.csv"

    return call


def read(file, names=None, *columns):
    return make_task({"name": "regression"}).by_columns(ListColumns(labels=columns)).read(file, names)


def test_the_only_column_of_numbers_is_the_target_and_texts_are_kept(write):
    images = read(write("image,place,age", "0.png,a,3", "1.png,b,-2.5e1"))["all"]
    assert (images.labels.tolist(), images.class_names) == ([[3.0], [-25.0]], ["age"])
    assert describe(images) == (
        "data: 2 images; columns 'image' (image), 'age' (target) (guessed; --image-column and --label-column choose "
        "others); other columns: 'place'"
    )


def test_several_columns_come_in_the_order_in_which_they_are_named(write):
    images = read(write("path,a,b,c", "0.png,1,2,3", "1.png,4,5,6"), None, "c", "a")["all"]
    assert (images.labels.tolist(), images.class_names) == ([[3.0, 1.0], [6.0, 4.0]], ["c", "a"])


def test_semicolons_go_with_decimal_commas(write):
    assert read(write("path;age", "0.png;3,25", "1.png;4"))["all"].labels.tolist() == [[3.25], [4.0]]


def test_to_evaluate_the_columns_are_what_the_network_predicts(write):
    file = write("path,height,age,size", "0.png,1,2,3", "1.png,4,5,6")
    assert read(file, NAMES)["all"].labels.tolist() == [[2.0, 1.0], [5.0, 4.0]]
    renamed = read(file, NAMES, "size", "height")["all"]
    assert (renamed.labels.tolist(), renamed.class_names) == ([[3.0, 1.0], [6.0, 4.0]], NAMES)


@pytest.mark.parametrize(
    ("lines", "columns", "says"),
    [
        (["path,a,b", "0.png,1,2", "1.png,3,4"], (), "'a', 'b' could be labels: name the columns of the labels"),
        (["path,a", "0.png,x", "1.png,y"], (), "none beside the image's with numbers: add one, or name"),
        (["path,a", "0.png,1", "1.png,"], (), r"line 3 of .*: a is empty: give a number, or remove the line"),
        (["path,a", "0.png,1", "1.png,ten"], (), r"line 3 of .*: a is 'ten', which is not a number"),
        (["path,a", "0.png,1", "1.png,inf"], ("a",), r"line 3 of .*: a is 'inf', which is not a number"),
    ],
)
def test_what_is_wrong_with_a_list_is_named(write, lines, columns, says):
    with pytest.raises(MaxViTError, match=says):
        read(write(*lines), None, *columns)


def test_what_is_not_a_list_and_another_number_of_columns_are_refused(write, tmp_path):
    file = write("path,age", "0.png,1", "1.png,2")
    with pytest.raises(MaxViTError, match=r"is a folder, and regression takes a list .*: 0\.png, 1\.png"):
        read(tmp_path)
    with pytest.raises(MaxViTError, match=r"0\.png is not a list, which regression takes"):
        read(tmp_path / "0.png")
    with pytest.raises(MaxViTError, match=r"the network predicts age, height, and of .*list\.csv age would be read"):
        read(file, NAMES)


# predictions


def test_several_predictions_have_a_mean_and_so_has_the_mirror_image():
    task, network = micro()
    images = torch.randn(2, 3, 32, 32)
    mirrored = torch.stack(task.predict(task.with_mirror(network), images, []))
    torch.testing.assert_close(mirrored, (network(images) + network(images.flip(-1))) / 2)
    torch.testing.assert_close(task.mean([torch.tensor([1.0, 4.0]), torch.tensor([2.0, 8.0])]), torch.tensor([1.5, 6]))


def test_what_is_said_of_a_prediction_has_the_units_of_the_data():
    task = make_task({"name": "regression"})
    prediction, target = torch.tensor([31.5, 1.75]), torch.tensor([30.0, 1.5])
    assert task.summary(prediction, NAMES) == "age 31.5, height 1.75"
    assert task.to_json(prediction, NAMES) == {"values": {"age": 31.5, "height": 1.75}}
    assert task.row(prediction, NAMES) == {"predicted_age": 31.5, "predicted_height": 1.75}
    row = {"target_age": 30.0, "target_height": 1.5, "predicted_age": 31.5, "predicted_height": 1.75}
    assert task.evaluated_row(prediction, target, NAMES) == row


def test_a_file_is_compared_in_deviations_of_the_target():
    task, network = micro(["age"])
    task.initialize(network, numbers([1000.0], [1004.0]))
    measure = task.export_spec(network).difference
    assert measure([torch.tensor([[1001.0]])], [torch.tensor([[1000.0]])]) == pytest.approx(0.5)


@pytest.mark.parametrize(("settings", "alike"), [({"flip": False, "crop_area": (1.0, 1.0)}, True), ({}, False)])
def test_training_shows_pieces_as_the_settings_say(settings, alike):
    task, spec = make_task({"name": "regression", **settings}), Preprocessing(image_size=(32, 32), fit="squash")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (41, 37, 3), np.uint8))
    shown = [task.augment(spec, image, [1.0])[0] for _ in range(4)]
    assert all(torch.equal(shown[0], other) for other in shown[1:]) == alike
