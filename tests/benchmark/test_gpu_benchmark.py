"""The script that a GPU is rented for works before one is: its logic, on the CPU, in the interpreter."""

import json
import time
from importlib import import_module
from pathlib import Path

import pytest
import torch

pytest.importorskip("matplotlib", reason="the benchmarks draw with matplotlib: pip install 'maxvit[dev]'")
pytest.importorskip("triton", reason="the kernels are written in Triton")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CPU = torch.device("cpu")
ONE = "block attention, training, tiny 224, stage 4"  # the smallest map


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module("gpu")


@pytest.fixture
def timing(gpu):
    return import_module("gpu_timing")


def run_dry(gpu, out, only=ONE, minutes="9"):
    gpu.main(["--dry", "--only", only, "--minutes", minutes, "--out", str(out)])
    return json.loads(out.with_name(f"{out.name}.json").read_text())


@pytest.mark.full
def test_a_dry_run_checks_times_and_writes_and_another_goes_on(gpu, tmp_path, monkeypatch):
    out = tmp_path / "record"
    first = run_dry(gpu, out)
    (cell,) = first["cells"]
    assert cell["name"] == ONE
    assert cell["missing"] == {}
    assert {name: len(times) >= 5 for name, times in cell["times_s"].items()} == {
        "maxvit, Triton": True,
        "PyTorch": True,
    }
    assert "dry run" in out.with_suffix(".md").read_text()
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")

    monkeypatch.setattr(gpu, "check", lambda *_: pytest.fail("it was checked already"))
    second = run_dry(gpu, out, "block attention, (training|inference), tiny 224, stage 4")
    assert [c["name"] for c in second["cells"]] == [ONE, ONE.replace("training", "inference")]
    assert second["cells"][0] == cell


def test_nothing_is_timed_where_a_test_fails(gpu, tmp_path, monkeypatch):
    failing = tmp_path / "test_failing.py"
    failing.write_text("def test_it():\n    assert False\n")
    monkeypatch.setattr(gpu, "DRY_CHECKS", [[failing]])
    with pytest.raises(SystemExit, match=r"nothing is timed: .* exit codes \[1\]"):
        run_dry(gpu, tmp_path / "record")
    assert not list(tmp_path.glob("record*"))


def test_a_cell_that_fails_is_named_and_the_next_one_runs(gpu, tmp_path, monkeypatch):
    def broken(setting):
        raise RuntimeError("no such map")

    cells = [gpu.Cell("broken", broken, 1.0), next(cell for cell in gpu.cells() if cell.name == ONE)]
    monkeypatch.setattr(gpu, "cells", lambda: cells)
    monkeypatch.setattr(gpu, "check", lambda *_: "")
    record = run_dry(gpu, tmp_path / "record", "")
    assert record["not_run"] == {"broken": "RuntimeError: no such map"}
    assert [cell["name"] for cell in record["cells"]] == [ONE]


def test_a_record_of_other_code_is_not_gone_on_with(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "check", lambda *_: "")
    run_dry(gpu, tmp_path / "record", "no cell has this name")
    monkeypatch.setattr(gpu, "_source", lambda: "another")
    with pytest.raises(SystemExit, match="is of another run"):
        run_dry(gpu, tmp_path / "record")


def test_without_a_gpu_it_says_so(gpu, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as error:
        gpu.main(["--out", "nowhere"])
    assert error.value.code == 2
    assert "there is no GPU here" in capsys.readouterr().err


def test_the_goals_come_first_and_no_two_cells_share_a_name(gpu):
    names = [cell.name for cell in gpu.cells()]
    assert names[:4] == [
        "network tiny 224, inference, batch 256",
        "network base 384, inference, batch 64",
        "network tiny 512, inference, batch 64",
        "network tiny 224, training, batch 128",
    ]
    assert len(set(names)) == len(names)


def work(timing, **contenders):
    makes = {name: (lambda run=run: run) for name, run in contenders.items()}
    return timing.Work(makes, close=0.01, flops=1.0, bytes=None, images=1)


def test_a_contender_whose_answer_is_off_is_not_timed(timing):
    x = torch.randn(7, 11)
    runs = {"ours": lambda: 1.02 * x, "plain": lambda: x, "other": lambda: 1.001 * x}
    found = timing.measure(work(timing, **runs), CPU, 0.01, time.monotonic() + 60)
    assert sorted(found.times_s) == ["other", "plain"]
    assert found.missing == {"ours": "not timed: its answer is 2.0e-02 off that of plain"}


def test_an_answer_with_nothing_to_compare_with_is_not_timed(timing):
    def fails():
        raise ValueError("out of memory\nof a card")

    found = timing.measure(work(timing, ours=lambda: torch.ones(3), plain=fails), CPU, 0.01, time.monotonic() + 60)
    assert found.times_s == {}
    assert found.missing["plain"] == "ValueError: out of memory"
    assert "no other answer" in found.missing["ours"]


def test_a_contender_that_is_not_ready_in_time_is_left_out(timing, monkeypatch):
    monkeypatch.setattr(timing, "LONGEST_S", 0.2)

    def slow():
        while True:
            time.sleep(0.01)

    x = torch.ones(3)
    runs = {"ours": lambda: x, "plain": lambda: x, "slow": slow}
    found = timing.measure(work(timing, **runs), CPU, 0.01, time.monotonic() + 60)
    assert sorted(found.times_s) == ["ours", "plain"]
    assert found.missing == {"slow": "OutOfTime: not done in 0 s"}


def test_a_page_names_where_ours_is_slower(gpu):
    page = import_module("gpu_page").page
    cell = {"ours": "ours", "flops": 6e9, "bytes": 1e6, "images": 2, "peak_bytes": {"ours": 3_000_000}, "missing": {}}
    fast = {**cell, "name": "fast", "times_s": {"ours": [0.001, 0.002], "plain": [0.003, 0.006]}}
    slow = {**cell, "name": "slow", "times_s": {"ours": [0.004, 0.002], "plain": [0.002, 0.001]}}
    ceiling = {"bytes_per_s": 1e12, "flops_per_s": 8e12}
    record = {"dry": False, "ceilings": ceiling, "cells": [fast, slow], "not_run": {"third": "no time"}, "about": {}}
    lines = page(record, "picture.png").splitlines()
    assert "- slow: 0.50 (0.50 to 0.50) of plain" in lines
    assert not [line for line in lines if line.startswith("- fast")]
    assert "- third: no time" in lines
    row = next(line for line in lines if line.startswith("| fast | ours"))
    assert row == "| fast | ours | 1.500 (1.200 to 1.800) |  | 1333 | 1 | 4.0 | 50% | 3 |"
    assert "| 3.00 (3.00 to 3.00) |" in next(line for line in lines if line.startswith("|  | plain | 4.500"))
