"""Whether this processor multiplies 16-bit floats."""

import pytest

from maxvit.kernels.cpu.build import load, widths


def can_halve() -> bool:
    """With the kernels as they are compiled here."""
    return bool(load(widths()[0]).maxvit_halves())


def skip_unless(precision: str) -> None:
    """Skip a test in fp16 where it cannot be computed."""
    if precision == "fp16" and not can_halve():
        pytest.skip("this processor does not multiply 16-bit floats")
