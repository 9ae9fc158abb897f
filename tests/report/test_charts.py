"""The geometry and the labels of charts, worked out by hand."""

import json
from math import inf, nan

import pytest

from maxvit.report.charts import finite, line_chart, number, percent

LOSS = {"loss": ("training", "train")}


def rows(*values, key="loss"):
    return [{"epoch": i, key: v} for i, v in enumerate(values, 1)]


@pytest.mark.parametrize(
    ("value", "text"), [(0.01234567, "0.01235"), (1.5e-5, "1.5e-5"), (3.0, "3"), (123456.0, "1.235e+5"), (0.0, "0")]
)
def test_numbers_have_four_digits_and_a_short_exponent(value, text):
    assert number(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.9722, "97.2"), (0.0, "0.0"), (1.0, "100.0")])
def test_shares_are_percent_that_do_not_break_over_a_line(value, text):
    assert percent(value) == f"{text}\u00a0%"


@pytest.mark.parametrize("value", [None, nan, inf, -inf])
def test_what_is_not_finite_is_nothing(value):
    assert finite(value) is None


def test_a_line_goes_from_left_to_right_with_y_downwards():
    chart = line_chart("Loss", rows(4.0, 2.0, 1.0), LOSS)
    assert chart is not None
    assert [label for _, label in chart.y_ticks] == ["0", "1", "2", "3", "4"]
    assert [at for at, _ in chart.y_ticks] == [100.0, 75.0, 50.0, 25.0, 0.0]
    assert chart.x_ticks == [(0.0, "1"), (50.0, "2"), (100.0, "3")]
    (line,) = chart.lines
    assert (line.label, line.tone, line.last, line.best) == ("training", "train", "1", "")
    assert line.path == "M0.00,0.00L50.00,50.00L100.00,75.00"
    assert line.dots == ""


@pytest.mark.parametrize("missing", [nan, inf, -inf, None])
def test_a_missing_value_breaks_the_line_and_lone_points_become_dots(missing):
    history = rows(4.0, 2.0, missing, 1.0, missing)
    if missing is None:
        history = [{k: v for k, v in row.items() if v is not None} for row in history]
    chart = line_chart("Loss", history, LOSS)
    assert chart is not None
    (line,) = chart.lines
    assert line.path == "M0.00,0.00L25.00,50.00"
    assert line.dots == "M75.00,75.00h0"
    assert line.last == "1"
    assert [point["x"] for point in chart.points] == [0.0, 25.0, 75.0]


@pytest.mark.parametrize("history", [[], [{"epoch": 1}], rows(nan, inf), rows(1.0, key="other")])
def test_nothing_to_show_is_no_chart(history):
    assert line_chart("Loss", history, LOSS) is None


@pytest.mark.parametrize(("best", "text"), [("lowest", "lowest 1, epoch 3"), ("highest", "highest 4, epoch 1")])
def test_the_legend_names_the_best_epoch(best, text):
    chart = line_chart("Loss", rows(4.0, 2.0, 1.0, 3.0), LOSS, best=best)
    assert chart is not None
    assert chart.lines[0].best == text


def test_shares_start_near_the_smallest_and_others_at_zero():
    values = rows(0.91, 0.93, 0.96)
    zoomed, whole = line_chart("Accuracy", values, LOSS, shares=True), line_chart("Loss", values, LOSS)
    assert zoomed is not None
    assert whole is not None
    assert [label for _, label in zoomed.y_ticks] == [f"{p}\u00a0%" for p in (91, 92, 93, 94, 95, 96)]
    assert whole.y_ticks[0] == (100.0, "0")
    assert zoomed.lines[0].last == "96.0\u00a0%"


def test_a_quantity_without_values_has_no_line():
    chart = line_chart("Loss", rows(2.0, 1.0), {**LOSS, "val": ("validation", "val")})
    assert chart is not None
    assert [line.label for line in chart.lines] == ["training"]


def test_the_pointer_shows_every_quantity_of_its_epoch():
    history = [{"epoch": 3, "loss": 2.0, "val": 2.5}, {"epoch": 7, "loss": 1.0, "val": nan}]
    chart = line_chart("Loss", history, {**LOSS, "val": ("validation", "val")})
    assert chart is not None
    assert chart.points == [
        {"x": 0.0, "text": "epoch 3\ntraining 2\nvalidation 2.5"},
        {"x": 100.0, "text": "epoch 7\ntraining 1"},
    ]


def test_rows_without_an_epoch_count_from_1():
    chart = line_chart("Loss", [{"loss": 2.0}, {"loss": 1.0}], LOSS)
    assert chart is not None
    assert chart.x_ticks == [(0.0, "1"), (100.0, "2")]


def test_epochs_stand_where_their_number_says():
    chart = line_chart("Loss", [{"epoch": e, "loss": 1.0} for e in (1, 2, 11)], LOSS)
    assert chart is not None
    assert chart.lines[0].path.count("L") == 2
    assert [point["x"] for point in chart.points] == [0.0, 10.0, 100.0]


def test_one_epoch_is_a_dot_in_the_middle():
    chart = line_chart("Loss", rows(2.0), LOSS)
    assert chart is not None
    assert chart.lines[0].dots == "M50.00,0.00h0"
    assert chart.x_ticks == [(50.0, "1")]


@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize(
    "values",
    [
        (0.0, 0.0),
        (1.0, 1.0),
        (0.5, 0.5, 0.5),
        (-3.0, 5.0),
        (-3.0, -3.0),
        (1e-12, 3e-12),
        (1e12, 7e12),
        (0.9999999999999999, 1.0),
        (0.1, 0.7, 0.3),
        tuple(i / 360 for i in range(301, 350)),
    ],
)
def test_values_and_ticks_stay_inside_the_box(values, shares):
    chart = line_chart("Loss", rows(*values), LOSS, shares=shares)
    assert chart is not None
    for at, _ in chart.x_ticks + chart.y_ticks:
        assert -1e-6 <= at <= 100 + 1e-6
    assert 2 <= len(chart.y_ticks) <= 12
    for point in chart.lines[0].path[1:].split("L"):
        x, y = map(float, point.split(","))
        assert 0 <= x <= 100
        assert 0 <= y <= 100
    json.dumps(chart.points, allow_nan=False)
