"""The page is one file that loads nothing, holds any name as text, and survives whatever a run recorded."""

import json
import os
import re
from base64 import b64decode
from html.parser import HTMLParser
from math import inf, nan

import numpy as np
import pytest
import torch
from PIL import Image

from maxvit.data.images import decode
from maxvit.errors import MaxViTError
from maxvit.explain.attention_maps import AttentionMap
from maxvit.inference.evaluate import EvaluationResult
from maxvit.report import page as module
from maxvit.report.page import Picture, Report, ShownSample, write_report
from maxvit.tasks import make_task
from maxvit.tasks.classification.predictions import judged
from maxvit.tasks.protocols import Baseline

NASTY = ["<script>alert(1)</script>", "a&b\"'", "{{ 7 * 7 }}</style>"]
VOID = {"meta", "img", "br", "path", "rect", "link", "input", "hr"}


class Page(HTMLParser):
    """Tags with their attributes, and the text by the id of the elements around it."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.tags, self.texts, self.by_id, self.open = [], [], {}, []
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs).get("id")))

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:  # HTML closes some elements by itself
            pass

    def handle_data(self, data):
        if not any(tag in ("script", "style") for tag, _ in self.open):
            self.texts.append(data)
        for _, name in self.open:
            if name:
                self.by_id[name] = self.by_id.get(name, "") + data

    @property
    def text(self):
        return "".join(self.texts)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    def points(self):
        return [json.loads(attrs["data-points"]) for _, attrs in self.tags if "data-points" in attrs]


def result(class_names=("ant", "bee", "cat"), labels=(0, 1, 1, 2, 0), predictions=(0, 1, 0, 0, 0), skipped=()):
    """A classifier, which is always sure to 90 %."""
    labels, task = np.array(labels), make_task({"name": "classification"})
    probabilities = np.full((len(labels), len(class_names)), 0.1 / (len(class_names) - 1), np.float32)
    probabilities[np.arange(len(labels)), list(predictions)] = 0.9
    metric = task.metric(class_names)
    metric.merge((False, (probabilities, labels)))
    return EvaluationResult(task, list(class_names), metric, len(labels), list(skipped))


def picture(size=(83, 61)):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def attention(stage=1, axis="block", hw=(5, 7)):
    return AttentionMap(stage, axis, np.random.default_rng(0).random(hw, np.float32) * 2)


def sample(name="ant/2.png", maps=None, prediction="ant 90.0%", target="ant"):
    pairs = [("block", (5, 7)), ("grid", (5, 7)), ("block", (2, 3)), ("grid", (2, 3))]
    maps = [attention(1 + i // 2, *pair) for i, pair in enumerate(pairs)] if maps is None else maps
    words = {"prediction": prediction, "target": target}
    return ShownSample(name, {"image": picture()}, words, picture((70, 64)), maps)


def report(**changes):
    found = changes.get("result", result())
    values = {
        "title": "micro on digits",
        "facts": {"model": "maxvit_micro", "parameters": "1,234,567"},
        "history": [
            {"epoch": e, "train_loss": 2 / e, "val_accuracy": 1 - 0.5 / e, "val_loss": 3 / e, "learning_rate": 1e-3 / e}
            for e in (1, 2, 3)
        ],
        "monitor": "accuracy",
        "best": 3,
        "result": found,
        "intervals": found.intervals,
        "panels": found.task.panels(found.metric, []),
        "evaluated_on": "5 held-out images (test)",
        "samples": [sample()],
        "pictures": {2: Picture("cat/1.png", picture())},
        "config": "seed: 7\nmodel:\n  name: maxvit_micro\n",
        "command": "maxvit train --recipe 'my run/config.yaml'",
        "summary": "",
    }
    return Report(**{**values, **changes})


def write(tmp_path, **changes):
    write_report(tmp_path / "report.html", report(**changes))
    return Page(tmp_path / "report.html")


def shown(attributes):
    """The picture of an `img`."""
    return decode(b64decode(attributes["src"].removeprefix("data:image/png;base64,")))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.05, "Without a network, by a histogram: accuracy 5.00%"),
        (
            0.5,
            "Without a network, by a histogram: accuracy 50.00%; the network is ahead of it, but 5 images are too "
            "few to be sure",
        ),
        (0.7, "Without a network, by a histogram: accuracy 70.00%; the network is not ahead of it: "),
    ],
)
def test_the_network_is_compared_with_the_baseline(tmp_path, value, said):
    """3 of 5 are right: the interval is from 23 to 88 %."""
    page = write(tmp_path, baseline=Baseline("a histogram", "accuracy", value))
    assert said in page.text
    assert ("the network is" in page.text) == (value > 0.05)


def test_where_all_are_right_without_a_network_there_is_nothing_to_be_ahead_of():
    right = result(labels=(0, 1, 2), predictions=(0, 1, 2))
    assert report(result=right, baseline=Baseline("a histogram", "accuracy", 1.0)).comparison.endswith("100.00%")


def test_the_class_that_is_recognised_least_is_named(tmp_path):
    assert "Weakest class: cat, recognised in 0.00% of its one image" in write(tmp_path).text


def test_of_two_classes_none_is_the_weakest():
    assert result(("ant", "bee"), (0, 1, 1), (0, 1, 0)).weakest == ""


def test_the_page_shows_what_it_was_given(tmp_path):
    page = write(tmp_path)
    for text in ("micro on digits", "1,234,567", "5 held-out images (test)", "cat/1.png", "ant/2.png"):
        assert text in page.text
    assert page.by_id["accuracy"] == "60.0\u00a0%"
    assert page.by_id["command"] == "maxvit train --recipe 'my run/config.yaml'"
    assert "seed: 7\nmodel:\n  name: maxvit_micro" in page.text
    assert "2 of 5 predictions are wrong, the most confident first. 1 of them is shown." in page.text


def test_images_of_none_of_the_classes_are_shown_where_they_are_known(tmp_path):
    found = result()
    assert "Unlike the training images" not in write(tmp_path).text
    probabilities = torch.as_tensor(found.metric.chosen.probabilities)
    predictions = judged(probabilities, torch.tensor([0.5, 1.25, 0.9, 2.5, 1.0]))
    page = write(
        tmp_path,
        panels=found.task.panels(found.metric, predictions),
        pictures={3: Picture("odd/3.png", picture()), 2: Picture("cat/1.png", picture())},
    )
    assert "Unlike the training images" in page.text
    assert "2 of 5 images (40.0%) look unlike those of training, the least alike first" in page.text
    name = found.class_names[int(probabilities[3].argmax())]
    assert f"odd/3.png: novelty 2.50, prediction {name}" in {a["alt"] for a in page.all("img")}


def test_the_page_loads_nothing(tmp_path):
    page = write(tmp_path)
    assert not page.all("link")
    for tag, attributes in page.tags:
        for name in ("src", "srcset", "data", "action", "poster"):
            assert attributes.get(name, "data:image/png;base64,").startswith("data:image/png;base64,"), (tag, name)
        assert attributes.get("href", "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    assert re.findall(r"url\((?!data:image/png;base64,)", page.source) == []
    assert "@import" not in page.source
    assert re.findall(r"https?://(?!www\.w3\.org/)|fetch\(|XMLHttpRequest|import\(", page.source) == []


def test_every_inner_link_leads_somewhere(tmp_path):
    page = write(tmp_path)
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert {attributes["href"][1:] for attributes in page.all("a")} <= set(ids)
    assert {attributes["aria-labelledby"] for attributes in page.all("section")} <= set(ids)


def test_every_picture_has_a_description_and_can_be_decoded(tmp_path):
    pictures = write(tmp_path).all("img")
    assert len(pictures) == 1 + 1 + 4  # a mistake, a sample, its maps
    for attributes in pictures:
        assert attributes["alt"]
        assert np.asarray(shown(attributes)).std() > 0


def test_names_are_text_and_never_markup(tmp_path):
    plain = write(tmp_path)
    nasty = write(
        tmp_path,
        title=NASTY[0],
        facts={NASTY[1]: NASTY[0]},
        result=result(NASTY, skipped=[NASTY[0]]),
        evaluated_on=NASTY[1],
        samples=[sample(NASTY[1], [attention(), attention(axis="grid")], NASTY[0], NASTY[2])],
        pictures={2: Picture(NASTY[0], picture())},
        config=NASTY[0],
        command=NASTY[1],
    )
    assert len(nasty.all("script")) == len(plain.all("script")) == 1
    assert len(nasty.all("style")) == len(plain.all("style")) == 1
    assert "alert(1)</script>" not in nasty.source
    for name in NASTY:
        assert name in nasty.text
    assert {attributes.get("title") for attributes in nasty.all("span")} >= set(NASTY)  # quotes included
    assert f"{NASTY[1]} predicted as {NASTY[0]}: 1" in {attributes.get("title") for attributes in nasty.all("td")}
    assert f"{NASTY[0]}: prediction {NASTY[0]}, target {NASTY[1]}" in {a["alt"] for a in nasty.all("img")}
    known = {name for _, attributes in plain.tags for name in attributes} | {"title", "style"}
    assert {name for _, attributes in nasty.tags for name in attributes} <= known  # no quote opened an attribute


def test_the_names_of_recorded_quantities_are_text_too(tmp_path):
    page = write(tmp_path, history=[{"epoch": 1, "train_loss": 1.0, NASTY[0]: 2.0, NASTY[1]: 3.0}])
    assert len(page.all("script")) == 1
    assert NASTY[0] in page.by_id["epochs"]
    assert NASTY[1] in page.by_id["epochs"]


def test_points_of_charts_are_json_inside_their_attribute(tmp_path, monkeypatch):
    real = module.line_chart

    def nasty_chart(title, history, series, **options):
        return real(NASTY[0], history, {key: (NASTY[1], tone) for key, (_, tone) in series.items()}, **options)

    plain = write(tmp_path).points()
    assert [len(points) for points in plain] == [3, 3, 3]
    assert plain[0][0] == {"x": 0.0, "text": "epoch 1\ntraining 2\nvalidation 3"}
    monkeypatch.setattr(module, "line_chart", nasty_chart)
    page = write(tmp_path)
    assert all(NASTY[1] in point["text"] for points in page.points() for point in points)
    assert len(page.all("script")) == 1


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_values_that_are_not_finite_leave_gaps(tmp_path, bad):
    history = [
        {"epoch": 1, "train_loss": 2.0, "val_loss": bad},
        {"epoch": 2, "train_loss": bad, "val_loss": 1.5, "learning_rate": bad},
        {"epoch": 3, "val_accuracy": bad},
    ]
    page = write(tmp_path, history=history)
    shapes = [attributes["d"] for attributes in page.all("path")]
    assert not any(word in shape.lower() for shape in shapes for word in ("nan", "inf"))
    assert len(page.points()) == 1  # of the loss; the other charts have nothing to show
    assert "–" in page.by_id["epochs"]
    assert not re.search(r"\b(nan|inf)\b", page.by_id["epochs"])


def test_a_run_of_the_first_verdict_alone_has_no_curves(tmp_path):
    page = write(tmp_path, history=[{"epoch": 0, "val_accuracy": 0.8, "val_loss": 1.0}], best=0)
    assert "There was no training beyond the last layer." in page.text
    assert page.points() == []


def test_a_run_without_history_says_so(tmp_path):
    page = write(tmp_path, history=[])
    assert "No values were recorded during training." in page.text
    assert page.points() == []


def test_attention_that_is_not_finite_is_still_drawn(tmp_path):
    values = np.array([[np.nan, np.inf], [1.0, 0.0]], np.float32)
    maps = [AttentionMap(1, "block", values), AttentionMap(1, "grid", np.full((2, 2), np.nan, np.float32))]
    page = write(tmp_path, samples=[sample("x", maps)])
    assert len(page.all("img")) == 4


def test_zero_mistakes_are_praised(tmp_path):
    page = write(tmp_path, result=result(labels=(0, 1, 2), predictions=(0, 1, 2)))
    assert "None of 3 predictions is wrong." in page.text
    assert "are shown" not in page.text
    assert "No class was taken for another." in page.text
    assert page.by_id["accuracy"] == "100.0\u00a0%"


def test_mistakes_without_pictures_are_not_hidden(tmp_path):
    assert "2 of 5 predictions are wrong" in write(tmp_path, pictures={}).text


def test_all_predictions_wrong_is_no_negative_share(tmp_path):
    page = write(tmp_path, result=result(labels=(0,) * 7, predictions=(1,) * 7))
    assert "interval 0.0\u00a0% to" in page.text


def test_a_class_without_test_images_has_a_row_at_the_end(tmp_path):
    page = write(tmp_path, result=result(labels=(0, 1, 1, 0, 0), predictions=(0, 1, 0, 0, 2)))
    last = [line.strip() for line in page.by_id["per-class"].splitlines() if line.strip()][-1]
    assert last == "cat00.0\u00a0%0.0\u00a0%0.0\u00a0%–"
    assert "matrix" in page.by_id


def test_the_metric_that_chose_the_best_epoch_is_told_first(tmp_path):
    told = report(monitor="f1_macro")
    assert told.headline.startswith("f1 macro 44.44% on 5 held-out images (test), 95 % interval ")
    assert told.others.startswith("accuracy 60.00%, balanced accuracy ")
    assert [a["id"] for a in write(tmp_path, monitor="f1_macro").all("dd") if "id" in a][:2] == ["f1_macro", "accuracy"]


def test_a_loss_that_chose_the_best_epoch_has_one_curve_and_its_lowest_is_named(tmp_path):
    charts = [chart.title for chart in module._charts(report(monitor="loss"))]
    assert charts == ["Loss", "Learning rate"]
    rows = [{"epoch": 1, "val_emd": 0.1, "val_srcc": 0.2}, {"epoch": 2, "val_emd": 0.3, "val_srcc": 0.4}]
    task = make_task({"name": "aesthetics"})
    found = EvaluationResult(task, [], task.metric([]), 1)
    (chart,) = module._charts(report(result=found, monitor="emd", history=rows))
    assert chart.lines[0].best == "lowest 0.1, epoch 1"


def test_the_matrix_counts_targets_by_predictions(tmp_path):
    page = write(tmp_path)
    titles = [attributes["title"] for attributes in page.all("td") if "title" in attributes]
    assert titles == [
        "ant predicted as ant: 2",
        "bee predicted as ant: 1",
        "bee predicted as bee: 1",
        "cat predicted as ant: 1",
        "cat predicted as cat: 0",
    ]


def test_calibration_has_a_bar_for_each_confidence_that_was_given(tmp_path):
    """Five predictions with 90 %, three of them right: the last bin but one ends at 93.3 %."""
    page = write(tmp_path)
    (bar,) = (attributes for attributes in page.all("rect") if attributes.get("class") == "bin")
    assert {name: float(bar[name]) for name in ("x", "y", "width", "height")} == {
        "x": 86.67,
        "y": 40.0,
        "width": 6.67,
        "height": 60.0,
    }
    assert "5 predictions with 90.0\u00a0% on average: 60.0\u00a0% are right" in page.text
    assert page.by_id["calibration_error"] == "30.0\u00a0%"
    assert "86.7\u00a0% to 93.3\u00a0%590.0\u00a0%60.0\u00a0%" in page.by_id["bins"]


@pytest.mark.parametrize(("classes", "matrix"), [(2, True), (50, True), (51, False), (60, False)])
def test_many_classes_have_a_list_and_no_matrix(tmp_path, classes, matrix):
    names = [f"class {i}" for i in range(classes)]
    predictions = [*range(1, classes), 0]
    page = write(tmp_path, result=result(names, range(classes), predictions))
    assert ("matrix" in page.by_id) is matrix
    assert page.by_id["confusions"].count(" of 1") == min(classes, 8 if matrix else 30)
    assert all(name in page.by_id["per-class"] for name in names)


def test_images_that_could_not_be_read_are_listed(tmp_path):
    page = write(tmp_path, result=result(skipped=["a.png is damaged: x", "b.png is damaged: y"]))
    assert "2 images could not be read and did not count" in page.text
    assert "a.png is damaged: x\nb.png is damaged: y" in page.text


def test_without_samples_there_is_no_attention(tmp_path):
    page = write(tmp_path, samples=[])
    assert "#samples" not in {attributes["href"] for attributes in page.all("a")}
    assert page.all("article") == []


def test_file_names_that_are_not_utf_8_can_be_shown(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    assert name == "caf\udce9.png"
    page = write(
        tmp_path,
        result=result(skipped=[f"{name} is damaged"]),
        samples=[sample(name, [attention()])],
        pictures={2: Picture(name, picture())},
    )
    assert "caf?.png" in page.text


def test_pictures_are_shrunk_and_small_ones_kept_pixel_by_pixel(tmp_path):
    wrong = result(labels=(0, 0, 0), predictions=(1, 1, 1))
    pictures = {row: Picture("x", picture(size)) for row, size in enumerate([(1009, 503), (8, 11), (1, 997)])}
    found = write(tmp_path, result=wrong, pictures=pictures, samples=[]).all("img")
    assert [shown(attributes).size for attributes in found] == [(192, 96), (8, 11), (1, 192)]
    assert [attributes.get("class") for attributes in found] == [None, "pixels", None]


def test_a_page_is_replaced_in_one_step_and_nothing_else_is_left(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "report.html"
    write_report(path, report(title="first"))
    write_report(path, report(title="second"))
    assert "second" in path.read_text(encoding="utf-8")

    def fail(*names):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(MaxViTError, match=r"cannot write .*report\.html: No space left on device"):
        write_report(path, report(title="third"))
    assert "second" in path.read_text(encoding="utf-8")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MaxViTError, match=r"cannot write .*report\.html: .*; choose a folder"):
        write_report(tmp_path / "file" / "report.html", report())


def test_several_labels_show_what_is_missed_and_what_is_not_there(tmp_path):
    names, task = ["ant", "bee", "cat"], make_task({"name": "classification", "loss": "sigmoid", "threshold": 0.5})
    labels = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0]], bool)
    probabilities = np.array([[0.25, 0.75, 0.125], [0.1, 0.9, 0.8], [0.1, 0.2, 0.9]], np.float32)
    metric = task.metric(names)
    metric.merge((True, (probabilities, labels)))
    found = EvaluationResult(task, names, metric, 3)
    pictures = {row: Picture(f"{row}.png", picture()) for row in (0, 2)}
    page = write(tmp_path, result=found, monitor="mAP", pictures=pictures)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.source.split("</style>")[1])).replace("&nbsp;", " ")
    assert "2 of 3 images have a label too many or too few, the largest loss first." in text
    assert "not there bee (75.0 %) missed ant (25.0 %) target ant file 0.png" in text
    assert "not there cat (90.0 %) target none file 2.png" in text
    assert f"mAP {100 * found.metrics['mAP']:.1f} % 95 % confidence interval" in text
    assert (page.by_id["threshold"], page.by_id["f1_micro"]) == ("0.5", "57.1\u00a0%")
    assert "all labels right 1 of 3" in text
    assert not {"confusion", "calibration"} & page.by_id.keys()
    assert re.findall("ant|bee|cat", page.by_id["per-class"]) == ["cat", "ant", "bee"]  # the lowest precision first


def test_pixels_are_shown_in_percent_of_their_class(tmp_path):
    task = make_task({"name": "segmentation"})
    metric = task.metric(["road", "sky", "car"])
    metric.counts += torch.tensor([[3000, 1000, 0], [0, 2500, 0], [0, 0, 0]])
    page = write(tmp_path, result=EvaluationResult(task, metric.class_names, metric, 2), monitor="miou")
    cells = [line for line in page.by_id["matrix"].splitlines() if line.strip()][-3:]
    assert [cell.strip() for cell in cells] == ["road7525", "sky100", "car"]
    assert "road predicted as sky: 1,000" in {attributes.get("title") for attributes in page.all("td")}
    assert page.by_id["confusions"].endswith("roadsky1,000 of 4,000\n  ")
    assert page.by_id["miou"] == "73.2\u00a0%"
    assert re.findall(r"road|sky", page.by_id["per-class"]) == ["sky", "road"]  # the lowest IoU first


def test_a_metric_that_is_not_a_number_is_a_dash(tmp_path):
    task = make_task({"name": "aesthetics"})
    found = EvaluationResult(task, [], task.metric([]), 1)
    page = write(tmp_path, result=found, monitor="srcc")
    assert page.by_id["srcc"] == "–"
    assert report(result=found, monitor="srcc").headline == "srcc - on 5 held-out images (test)"


@pytest.mark.parametrize(
    ("values", "best", "said"),
    [
        (
            (0.8, 0.7, 0.9),
            2,
            "first verdict, before training: accuracy 80.00% in validation; epoch 2, the best: 90.00%",
        ),
        (
            (0.8, 0.7, 0.6),
            0,
            "first verdict, before training: accuracy 80.00% in validation; no epoch was better, so this is its result",
        ),
        ((0.8,), 0, "this is the first verdict: only the last layer has been trained"),
    ],
)
def test_the_probe_is_told_beside_the_best_epoch(values, best, said):
    history = [{"epoch": epoch, "val_accuracy": value} for epoch, value in enumerate(values)]
    assert report(history=history, best=best).first_verdict == said
    assert report(history=history[1:], best=best or 1).first_verdict == ""
