"""Which combinations of several parameters the usual run needs, and which only the full one."""

from collections.abc import Sequence
from itertools import combinations, product
from typing import Any

import pytest


def pairwise(*values: Sequence[Any]) -> list[Any]:
    """All combinations, for `pytest.mark.parametrize`; those that the usual run can do without are marked `full`.

    In the others every two values of different parameters meet, which is where most faults show.
    """
    whole = list(product(*(range(len(v)) for v in values)))
    left = {pair for row in whole for pair in combinations(enumerate(row), 2)}
    chosen = set()
    while left:
        best = max(whole, key=lambda row: len(left & set(combinations(enumerate(row), 2))))
        left -= set(combinations(enumerate(best), 2))
        chosen.add(best)
    return [
        pytest.param(*(v[i] for v, i in zip(values, row, strict=True)), marks=() if row in chosen else pytest.mark.full)
        for row in whole
    ]
