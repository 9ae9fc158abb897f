"""maxvit benchmark: tables on standard output, progress on standard error, three files."""

import itertools
import json
import os
import re
import subprocess
import sys

import pytest

from maxvit.benchmark.ours import OURS
from maxvit.benchmark.peers import PEERS
from maxvit.benchmark.record import Record
from maxvit.cli import main
from maxvit.cli.benchmark import DEFAULT_AGAINST, DEFAULT_OURS

SMALL = ["--model", "maxvit_micro", "--batch", "2", "--rounds", "2", "--threads", "1", "--ours", "eager"]


@pytest.mark.full
def test_training_steps_are_measured_and_written(capsys, tmp_path):
    options = ["--size", "64", "--what", "training", "--against", "torchvision", "--profile"]
    assert main(["benchmark", *SMALL, *options, "--out", str(tmp_path / "speed")]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("training of maxvit_micro, 2 images of 64 x 64, fp32\n\ncontender ")
    assert "\neager  torchvision  " in out
    assert "where the time goes in torchvision\n" in out
    assert "aten::convolution_backward" in out
    assert "  round 2 of 2\n" in err
    assert err.endswith(f"wrote {tmp_path}/speed.json, {tmp_path}/speed.md and {tmp_path}/speed.png\n")
    (case,) = json.loads((tmp_path / "speed.json").read_text())["cases"]
    assert [e["contender"] for e in case["entries"]] == ["eager", "torchvision"]
    assert 0 < case["entries"][1]["agreement"]["difference"] < 1e-3
    assert (tmp_path / "speed.md").exists()


def test_the_record_for_programs(capsys, monkeypatch):
    found = Record({"CPU": "a processor"}, [])
    monkeypatch.setattr("maxvit.benchmark.run.benchmark", lambda plan, command, say, keep: found)
    assert main(["benchmark", *SMALL, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"about": {"CPU": "a processor"}, "cases": []}


def test_options_make_the_plan(capsys, monkeypatch):
    plans = []
    monkeypatch.setattr("maxvit.benchmark.run.benchmark", lambda plan, *rest: plans.append(plan) or Record({}, []))
    assert main(["benchmark"]) == 0
    tasks = ["--what", "training", "--what", "inference", "--precision", "bf16", "--profile", "--against", "all"]
    assert main(["benchmark", *SMALL, "--size", "64", "--size", "96x75", "--batch", "3", *tasks]) == 0
    default, given = plans
    assert (default.model, default.batches, default.sizes, default.rounds) == ("maxvit_tiny", [1, 8], [(224, 224)], 15)
    assert [c.name for c in default.ours] == ["eager", "optimized"]
    assert [c.name for c in default.theirs] == DEFAULT_AGAINST
    assert (given.what, given.precision, given.profile) == (["training", "inference"], "bf16", True)
    assert (given.batches, given.sizes, given.rounds, given.threads) == ([2, 3], [(64, 64), (96, 75)], 2, 1)
    assert given.theirs == list(PEERS)


def test_help_names_every_contender_and_needs_no_pytorch():
    code = "import sys; from maxvit.cli import main; main(['benchmark', '--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "COLUMNS": "300"}
    )
    assert done.returncode == 0
    words = re.sub(r"-\s+", "-", done.stdout).replace(",", " ").split()
    assert [c.name for c in (*OURS, *PEERS) if c.name not in words] == []


def test_defaults_exist():
    assert {*itertools.chain(*DEFAULT_OURS.values()), *DEFAULT_AGAINST} <= {c.name for c in (*OURS, *PEERS)}


def test_a_mistake_is_one_sentence(capsys, tmp_path):
    assert main(["benchmark", "--against", "timmm"]) == 2
    assert capsys.readouterr().err == "error: unknown peer 'timmm': did you mean 'timm'?\n"
    for size in ("64x", "64x96x3", "-64", "large"):
        assert main(["benchmark", "--size", size]) == 2
        assert capsys.readouterr().err.startswith(f"error: size is '{size}'; give the side of a square, as 224")
    assert main(["benchmark", *SMALL, "--out", str(tmp_path)]) == 2
    assert "is a folder; give the start of a file's name" in capsys.readouterr().err
