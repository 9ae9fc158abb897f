"""Images with several labels each: what a network answers, the figures, their files and their page."""

import csv
import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from maxvit.config import MaxViTConfig, Preprocessing
from maxvit.data.dataset import LabelledImages
from maxvit.data.transforms import preprocess
from maxvit.errors import MaxViTError
from maxvit.inference.evaluate import evaluate
from maxvit.inference.evaluation import Evaluation, average, merge
from maxvit.inference.multi_label import MultiLabelEvaluation
from maxvit.inference.records import as_dict, write_records
from maxvit.model import MaxViT
from maxvit.report.multi_label_page import MultiLabelReport, WrongImage, write_multi_label_report

NAMES = ["ant", "bee", "cat"]
LABELS = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 0]], np.float32)


@pytest.fixture(scope="module")
def model():
    """A multi-label network whose answers differ from image to image."""
    torch.manual_seed(0)
    config = MaxViTConfig(
        stem_channels=8,
        channels=(8, 16, 16, 24),
        depths=(1, 1, 1, 1),
        head_dim=8,
        window_size=(2, 3),
        grid_size=(3, 2),
        num_classes=3,
        multi_label=True,
        threshold=0.4,
        image_size=(32, 41),
    )
    model = MaxViT(config, Preprocessing(image_size=(32, 41)), NAMES)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    return model.eval()


def images(labels):
    arrays = [np.random.default_rng(i).integers(0, 256, (37, 43, 3), dtype=np.uint8) for i in range(len(labels))]
    return LabelledImages(arrays, labels, NAMES, [f"{i}.png" for i in range(len(labels))])


def sigmoids(model, data, mirrored=False):
    tensors = torch.stack([preprocess(model.preprocessing, source) for source in data.sources])
    with torch.inference_mode():
        logits = model(tensors.flip(-1) if mirrored else tensors)
    return 1 / (1 + np.exp(-logits.double().numpy()))


def answers(n=40, seed=0):
    random = np.random.default_rng(seed)
    labels = random.random((n, 3)) < 0.4
    probabilities = np.clip(labels * 0.3 + random.random((n, 3)) * 0.7, 0, 1).astype(np.float32)
    return MultiLabelEvaluation(NAMES, labels, probabilities, np.arange(n), ["x is damaged"], 0.5)


def test_probabilities_are_sigmoids_and_the_threshold_is_the_network_s(model):
    data = images(LABELS)
    found = evaluate(model, data, batch_size=3)
    assert isinstance(found, MultiLabelEvaluation)
    np.testing.assert_allclose(found.probabilities, sigmoids(model, data), rtol=1e-4)
    assert np.array_equal(found.labels, LABELS > 0)
    assert np.array_equal(found.answers, found.probabilities >= 0.4)
    flipped = (sigmoids(model, data) + sigmoids(model, data, mirrored=True)) / 2
    np.testing.assert_allclose(evaluate(model, data, tta="flip").probabilities, flipped, rtol=1e-4)


def test_parts_of_several_labels_are_put_together(model):
    data = images(LABELS)
    parts = [evaluate(model, data, part=(rank, 5)) for rank in range(5)]  # the last has no image
    whole = merge(parts)
    assert isinstance(whole, MultiLabelEvaluation)
    assert np.array_equal(whole.labels, LABELS > 0)
    np.testing.assert_allclose(whole.probabilities, evaluate(model, data).probabilities, rtol=1e-5)


def test_one_label_an_image_keeps_accuracy_and_has_the_loss_that_was_trained(model):
    data = images([0, 2, 1])
    found = evaluate(model, data)
    assert isinstance(found, Evaluation)
    yes = sigmoids(model, data)
    np.testing.assert_allclose(found.probabilities, yes, rtol=1e-4)
    assert found.accuracy == np.mean(yes.argmax(1) == data.labels)
    truth = np.eye(3)[data.labels]
    expected = -(truth * np.log(yes) + (1 - truth) * np.log(1 - yes)).sum(1).mean()
    assert found.loss == pytest.approx(expected, rel=1e-4)


def test_a_network_of_one_class_of_many_refuses_several_labels(model):
    softmax = MaxViT(dataclasses.replace(model.config, multi_label=False), model.preprocessing, NAMES)
    with pytest.raises(MaxViTError, match=r"^the labels of 0.png sum to 2, .* task.loss=sigmoid"):
        evaluate(softmax, images(LABELS))


def test_shares_that_are_no_labels_are_still_refused(model):
    with pytest.raises(MaxViTError, match=r"^the labels of 1.png sum to 0.5"):
        evaluate(model, images(np.array([[0.5, 0.5, 0], [0.5, 0, 0]], np.float32)))


def test_an_image_is_right_if_nothing_is_missed_and_nothing_else_answered():
    probabilities = np.array([[0.9, 0.1, 0.6], [0.1, 0.2, 0.1], [0.1, 0.4, 0.1], [0.9, 0.9, 0.99]], np.float32)
    found = MultiLabelEvaluation(NAMES, LABELS > 0, probabilities, np.arange(4), [], 0.5)
    assert found.right.tolist() == [True, True, False, False]
    assert found.mistakes() == [3, 2]  # the more confident one first
    wanted = -np.log(np.where(LABELS > 0, probabilities, 1 - probabilities)).sum(1)
    np.testing.assert_allclose(found.losses, wanted, rtol=1e-5)


def test_intervals_hold_the_figures_and_narrow_with_more_images():
    few, many = answers(50), answers(800)
    for found in (few, many):
        for name, (low, high) in found.intervals().items():
            assert 0 <= low < found.scores()[name] < high <= 1
    for name, (low, high) in many.intervals().items():
        assert (high - low) < 0.5 * np.subtract(*few.intervals()[name][::-1])  # a quarter, by the square root of 16


def test_without_any_label_figures_are_null_in_json():
    nothing = dataclasses.replace(answers(), labels=np.zeros((40, 3), bool))
    found = json.loads(json.dumps(as_dict({"32 x 41": nothing}), allow_nan=False))
    assert (found["mAP"], found["mAP_interval_95"], found["per_class"][0]["ap"]) == (None, [None, None], None)


def test_the_rows_give_the_figures_back(tmp_path):
    one, two = answers(6), answers(6)
    results = {"32 x 41": one, "64 x 64": two, "together": average([one, two])}
    write_records(tmp_path, results, images(one.labels.astype(np.float32)), {})
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["size"] == "together"]
    for i, row in enumerate(rows):
        for column, shown in (("truth", one.labels), ("answer", one.answers)):
            assert row[column] == "|".join(name for name, there in zip(NAMES, shown[i], strict=True) if there)
        assert row["correct"] == str(int(one.right[i]))
        given = [np.float32(row[f"probability:{name}"]) for name in NAMES]
        assert given == one.probabilities[i].tolist()
    assert json.loads((tmp_path / "evaluation.json").read_text())["mAP"] == pytest.approx(one.scores()["mAP"])


def test_the_page_shows_figures_classes_and_what_is_wrong_with_an_image(tmp_path):
    found = answers()
    report = MultiLabelReport(
        title="maxvit_micro on <insects>",
        facts={"seed": "0"},
        history=[{"epoch": 1, "train_loss": 1.0, "val_loss": 0.9, "val_mAP": 0.5, "val_f1_micro": 0.4}],
        evaluation=found,
        evaluated_on="40 held-out images (test)",
        mistakes=[WrongImage(Image.new("RGB", (9, 7)), "7.png", ["ant"], [("ant", 0.25)], [("bee", 0.75)])],
        config="seed: 0",
        command="maxvit train",
        summary="",
    )
    write_multi_label_report(tmp_path / "report.html", report)
    page = (tmp_path / "report.html").read_text()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.split("</style>")[1])).replace("\u00a0", " ")
    assert "&lt;insects&gt;" in page
    assert f"Mean average precision {100 * found.scores()['mAP']:.1f} %" in text
    assert "not there bee (75.0 %) missed ant (25.0 %) truth ant file 7.png" in text
    row = found.per_class()[1]
    assert f"bee {row['positives']} {100 * row['ap']:.1f} %" in text
    assert "Confusion" not in page
