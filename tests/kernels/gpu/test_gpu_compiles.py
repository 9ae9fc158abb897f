"""The kernels compile for real GPUs without one: to machine code that keeps its numbers in registers, and fits.

Compiling takes a process that was never told to interpret.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "gpu_resources.py"
SHARED_BYTES = {80: 163 * 1024, 90: 227 * 1024}  # that one program may have


def compiled(folder, *words):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, str(SCRIPT), "--out", str(folder / "found"), *words]
    subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    launches = json.loads((folder / "found.json").read_text())["launches"]
    assert len({launch["kernel"] for launch in launches}) > 10
    return [(launch["kernel"], int(c), taken) for launch in launches for c, taken in launch["resources"].items()]


def check(found, spilling=()):
    """Those that are known to spill are named where this is called, and only they may."""
    assert {kernel for kernel, _, taken in found if taken["stack"]} == set(spilling)
    for kernel, capability, taken in found:
        assert taken["shared"] <= SHARED_BYTES[capability], kernel
        assert taken["programs"] >= 1, kernel


def test_kernels_compile_and_do_not_spill(tmp_path):
    shape = ["--networks", "maxvit_tiny", "--sides", "224", "--stages", "2", "--batch", "2", "--capabilities", "90"]
    check(compiled(tmp_path, *shape), ["attention._backward", "feedforward._feedforward", "linear._projected"])


@pytest.mark.full
def test_kernels_compile_and_do_not_spill_at_any_stage_of_tiny_and_base(tmp_path):
    check(compiled(tmp_path))
