"""What `maxvit train` says when Ctrl-C comes before the first update, or after the last."""

import os
import signal

import pytest

from maxvit.cli import main


@pytest.fixture
def interrupted(images, small, tmp_path, monkeypatch, capsys):
    """The exit code and the last line, after Ctrl-C at the first call of a function."""

    def stop(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)

    def ask(where):
        monkeypatch.setattr(where, stop)
        code = main(["train", str(images), *small, "--out", str(tmp_path / "run")])
        return code, capsys.readouterr().err.splitlines()[-1]

    return ask


def test_while_it_reads_nothing_is_lost(interrupted, tmp_path):
    said = "stopped before the run began; nothing was written: give the same command again"
    assert interrupted("maxvit.training.run.load_data") == (130, said)
    assert not (tmp_path / "run").exists()


def test_in_the_first_verdict_it_can_go_on(interrupted, tmp_path):
    said = f"stopped; continue with: maxvit train --resume {tmp_path / 'run'}"
    assert interrupted("maxvit.training.run.begin_with_probe") == (130, said)


def test_in_the_report_it_is_finished(interrupted, tmp_path):
    said = f"the run is finished, but for its report: maxvit report {tmp_path / 'run'}"
    assert interrupted("maxvit.report.run.evaluate") == (130, said)
