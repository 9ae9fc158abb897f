"""Tables on standard output."""

from math import nan

from maxvit.cli.console import as_text, print_table, say_left_out


def test_a_number_that_there_is_not_is_a_dash_in_a_column_of_numbers(capsys):
    print_table(("class", "AP"), [("cat", as_text(nan, ".1%")), ("dog", as_text(0.25, ".1%"))])
    assert capsys.readouterr().out.splitlines() == ["class     AP", "-----  -----", "cat        -", "dog    25.0%"]


def test_images_that_were_left_out_are_counted():
    assert say_left_out(1) == "1 of the images could not be read and was left out"
    assert say_left_out(12) == "12 of the images could not be read and were left out"
