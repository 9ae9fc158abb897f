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
    return import_module("gpu_measure")


@pytest.fixture
def timing(gpu):
    return import_module("gpu_timing")


@pytest.fixture
def dry(gpu):
    return import_module("gpu_setting").Setting(CPU, dry=True)


def run_dry(gpu, out, *words):
    gpu.main(["--dry", "--out", str(out), *words])
    return json.loads(out.with_name(f"{out.name}.json").read_text())


@pytest.mark.full
def test_a_dry_run_measures_something_of_every_part_and_another_goes_on(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr("maxvit.kernels.accelerate.step_difference", lambda *_: "")  # most of the time
    monkeypatch.setattr(gpu, "DRY_TRAINING", ())
    out = tmp_path / "record"
    first = run_dry(gpu, out)
    assert first["not_run"] == {}
    assert all(first["parts"][part] for part in gpu.PARTS)
    exact = next(iter(first["parts"]["exact"].values()))
    assert exact["same_bits"]
    assert exact["error"] <= 2 * exact["plain_error"] + 1e-5
    split = next(iter(first["parts"]["split"].values()))
    assert split["launches"]
    goal = next(iter(first["parts"]["goals"].values()))
    assert {name: len(times) >= 2 for name, times in goal["times_s"].items()}["maxvit, Triton"]
    assert len(next(iter(first["parts"]["tune"].values()))) == 2
    assert first["parts"]["tests"] == {"all": {"failed": []}}
    text = out.with_suffix(".md").read_text()
    assert "dry run" in text
    assert "the same bits in every run" in text
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert run_dry(gpu, out)["parts"] == first["parts"]  # nothing is measured twice


@pytest.mark.full
def test_contenders_of_a_training_cell_agree_and_are_timed(gpu, tmp_path):
    record = run_dry(gpu, tmp_path / "record", "--parts", "kernels", "--only", ONE)
    cell = record["parts"]["kernels"][ONE]
    assert cell["missing"] == {}
    assert set(cell["times_s"]) == set(cell["eager_s"]) == {"maxvit, Triton", "PyTorch"}


def test_a_candidate_changes_the_kernels_while_it_is_in_use(gpu, dry, monkeypatch):
    tune, depthwise = import_module("gpu_tune"), import_module("maxvit.kernels.gpu.depthwise")
    before = depthwise.COLUMNS
    _, other = tune.candidates(num_warps=(8,), depthwise__COLUMNS=(2 * before,))
    given = {}
    monkeypatch.setattr(tune.JITFunction, "run", lambda *_, **named: given.update(named))
    with other.in_use():
        assert depthwise.COLUMNS // before == 2
        tune.JITFunction.run(None, grid=(1,), num_warps=2)
    assert depthwise.COLUMNS // before == 1
    assert given == {"grid": (1,), "num_warps": 8}
    assert other.name == f"depthwise.COLUMNS={2 * before} num_warps=8"


def test_constants_of_all_candidates_are_there(gpu):
    for cell in import_module("gpu_tune").tune_cells():
        for candidate in cell.measure.args[1]:
            with candidate.in_use():
                pass


def test_a_cell_that_fails_is_named_and_the_next_one_runs(gpu, tmp_path, monkeypatch):
    def broken(setting, deadline):
        raise RuntimeError("no such map")

    cells = lambda: iter([gpu.Cell("broken", broken, 1.0), gpu.Cell("fine", lambda *_: {"failed": []}, 1.0)])  # noqa: E731
    monkeypatch.setattr(gpu, "PARTS", {"tests": cells})
    monkeypatch.setattr(gpu, "_few", lambda part, cells: cells)
    record = run_dry(gpu, tmp_path / "record")
    assert record["not_run"] == {"tests: broken": "RuntimeError: no such map"}
    assert record["parts"] == {"tests": {"fine": {"failed": []}}}


def test_a_record_of_other_code_is_not_gone_on_with(gpu, tmp_path, monkeypatch):
    run_dry(gpu, tmp_path / "record", "--only", "no row has this name")
    monkeypatch.setattr(gpu, "_source", lambda: "another")
    with pytest.raises(SystemExit, match="is of another run"):
        run_dry(gpu, tmp_path / "record")


def test_without_a_gpu_it_says_so(gpu, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as error:
        gpu.main(["--out", "nowhere"])
    assert error.value.code == 2
    assert "there is no GPU here" in capsys.readouterr().err


def test_it_says_how_long_it_takes_and_no_two_rows_share_a_name(gpu, capsys):
    gpu.main(["--dry", "--list"])
    said = capsys.readouterr().out
    for part, make in gpu.PARTS.items():
        names = [cell.name for cell in make()]
        assert len(set(names)) == len(names)
        assert f"{part}: {len(names)} rows, about " in said
    assert " minutes on a card" in said


def work(timing, **contenders):
    makes = {name: (lambda run=run: run) for name, run in contenders.items()}
    return timing.Work(makes, close=0.01, flops=1.0, bytes=None, images=1, longest_s=0.2)


def test_a_contender_whose_answer_is_off_is_not_timed(timing, dry):
    x = torch.randn(7, 11)
    runs = {"ours": lambda: 1.02 * x, "plain": lambda: x, "other": lambda: 1.001 * x}
    found = timing.measure(work(timing, **runs), dry, 0.01, time.monotonic() + 60)
    assert sorted(found.times_s) == ["other", "plain"]
    assert found.missing == {"ours": "not timed: its answer is 2.0e-02 off that of plain"}


def test_an_answer_with_nothing_to_compare_with_is_not_timed(timing, dry):
    def fails():
        raise ValueError("out of memory\nof a card")

    found = timing.measure(work(timing, ours=lambda: torch.ones(3), plain=fails), dry, 0.01, time.monotonic() + 60)
    assert found.times_s == {}
    assert found.missing["plain"] == "ValueError: out of memory"
    assert "no other answer" in found.missing["ours"]


def test_a_contender_that_is_not_ready_in_time_is_left_out(timing, dry):
    def slow():
        while True:
            time.sleep(0.01)

    x = torch.ones(3)
    runs = {"ours": lambda: x, "plain": lambda: x, "slow": slow}
    found = timing.measure(work(timing, **runs), dry, 0.01, time.monotonic() + 60)
    assert sorted(found.times_s) == ["ours", "plain"]
    assert found.missing == {"slow": "OutOfTime: not done in 0 s"}


def test_a_page_names_where_ours_is_slower(gpu):
    page = import_module("gpu_page").page
    cell = {"ours": "ours", "flops": 6e9, "bytes": 1e6, "images": 2, "peak_bytes": {"ours": 3_000_000}, "missing": {}}
    cell |= {"eager_s": {"ours": 0.005, "plain": 0.004}}
    fast = {**cell, "times_s": {"ours": [0.001, 0.002], "plain": [0.003, 0.006]}}
    slow = {**cell, "times_s": {"ours": [0.004, 0.002], "plain": [0.002, 0.001]}}
    ceiling = {"copy and product": {"bytes_per_s": 1e12, "flops_per_s": 8e12}}
    parts = {"env": ceiling, "goals": {"fast": fast}, "kernels": {"slow": slow}}
    record = {"dry": False, "parts": parts, "not_run": {"third": "no time"}, "about": {}}
    lines = page(record, "picture.png").splitlines()
    assert "- slow: 0.50 (0.50 to 0.50) of plain" in lines
    assert not [line for line in lines if line.startswith("- fast")]
    assert "- third: no time" in lines
    row = next(line for line in lines if line.startswith("| fast | ours"))
    assert row == "| fast | ours | 1.500 (1.200 to 1.800) |  | 5.000 | 1333 | 1 | 4.0 | 50% | 3 |"
    assert "| 3.00 (3.00 to 3.00) |" in next(line for line in lines if line.startswith("|  | plain | 4.500"))
