"""The kernels run on a GPU where there is one, and in Triton's interpreter otherwise."""

import os
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch

if torch.cuda.is_available():
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic products need
else:
    from interpreter import mend

    mend()


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="session", autouse=True)
def started() -> None:
    """PyTorch warns in the first backward of a process that its thread knows no card yet, and then finds it."""
    if torch.cuda.is_available():
        with warnings.catch_warnings(action="ignore"):
            x = torch.randn(2, 2, device="cuda", requires_grad=True)
            (x @ x).sum().backward()


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    """Memory that a kernel forgets to write is NaN."""
    torch.use_deterministic_algorithms(True)
    with np.errstate(over="ignore"):  # of the interpreter's exponentials, which are infinite on a GPU without a word
        yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def uncompared(monkeypatch) -> None:
    """Without a GPU the step that `accelerate` compares would take most of the time of these tests."""
    if not torch.cuda.is_available():
        monkeypatch.setattr("maxvit.kernels.accelerate.step_difference", lambda *_: "")
