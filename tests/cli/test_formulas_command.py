"""maxvit train formulas, and evaluate on what that held out."""

import json

from maxvit.cli import main


def test_formulas_are_learned_and_what_was_held_out_is_evaluated(small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "formulas:classes=2,images=10,size=32,seed=3", *small]) == 0
    assert "data: 20 images of 2 classes (16 training, 4 validation)" in capsys.readouterr().err
    assert main(["evaluate", "runs/formulas", "--json"]) == 0
    said = capsys.readouterr()
    assert "evaluated on the 4 of 20 images that training held out" in said.err
    assert json.loads(said.out)["images"] == 4


def test_formulas_without_a_class_are_refused(small, tmp_path, capsys):
    assert main(["train", "formulas:classes=0", *small, "--out", str(tmp_path / "run")]) == 2
    assert "classes is 0, and at least 1 are needed" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
