"""The kernels run on a GPU where there is one, and in Triton's interpreter otherwise."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    from interpreter import mend

    mend()


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    """Memory that a kernel forgets to write is NaN."""
    torch.use_deterministic_algorithms(True)
    with np.errstate(over="ignore"):  # of the interpreter's exponentials, which are infinite on a GPU without a word
        yield
    torch.use_deterministic_algorithms(False)
