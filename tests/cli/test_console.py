"""Tables on standard output."""

from math import nan

import pytest

from maxvit.cli.console import as_text, print_table, read_batch, read_minutes, say_left_out
from maxvit.errors import MaxViTError


def test_a_number_that_there_is_not_is_a_dash_in_a_column_of_numbers(capsys):
    print_table(("class", "AP"), [("cat", as_text(nan, ".1%")), ("dog", as_text(0.25, ".1%"))])
    assert capsys.readouterr().out.splitlines() == ["class     AP", "-----  -----", "cat        -", "dog    25.0%"]


def test_images_that_were_left_out_are_counted():
    assert say_left_out(1) == "1 of the images could not be read and was left out"
    assert say_left_out(12) == "12 of the images could not be read and were left out"


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90s", 1.5), ("20m", 20), ("20", 20), ("1h", 60), ("1h30m", 90), ("1.5h", 90), ("1m30s", 1.5)],
)
def test_durations_are_read(text, minutes):
    assert read_minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "soon", "0m", "-5m", "5 minutes", "1..5h"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(MaxViTError, match="it takes a duration such as 90s, 20m or 1h30m"):
        read_minutes(text)


def test_a_batch_is_a_number_or_auto():
    assert (read_batch("16"), read_batch("auto")) == (16, None)
    with pytest.raises(MaxViTError, match="it takes a number of images, or auto"):
        read_batch("many")
