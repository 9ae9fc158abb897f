"""Tables on standard output."""

from math import nan

from maxvit.cli.console import as_text, print_table


def test_a_number_that_there_is_not_is_a_dash_in_a_column_of_numbers(capsys):
    print_table(("class", "AP"), [("cat", as_text(nan, ".1%")), ("dog", as_text(0.25, ".1%"))])
    assert capsys.readouterr().out.splitlines() == ["class     AP", "-----  -----", "cat        -", "dog    25.0%"]
