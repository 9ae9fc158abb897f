"""The kernels run on a GPU where there is one, and in Triton's interpreter otherwise."""

from collections.abc import Iterator

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
    yield
    torch.use_deterministic_algorithms(False)
