import math

import pytest

from maxvit.errors import MaxViTError
from maxvit.training.files import METRICS, read_metrics
from maxvit.training.progress import ProgressBar


def test_metrics_are_read_as_numbers_row_by_row(tmp_path):
    (tmp_path / METRICS).write_text("epoch,val_loss\n1,0.5\n2,nan\n")
    first, second = read_metrics(tmp_path)
    assert first == {"epoch": 1.0, "val_loss": 0.5}
    assert math.isnan(second["val_loss"])


def test_a_run_without_metrics_has_no_rows(tmp_path):
    assert read_metrics(tmp_path) == []


@pytest.mark.parametrize("text", ["epoch,loss\n1,high\n", "epoch,loss\n1\n", "epoch\n1,2\n", "loss\n1\n"])
def test_metrics_that_are_damaged_are_an_error(tmp_path, text):
    (tmp_path / METRICS).write_text(text)
    with pytest.raises(MaxViTError, match=r"metrics\.csv is damaged"):
        read_metrics(tmp_path)


def test_without_a_terminal_progress_is_a_line_an_epoch(finished):
    data, start, first, *lines, last = finished.stderr.splitlines()
    assert data == "data: 24 images of 3 classes (19 training, 5 validation)"
    assert start.startswith("starts from maxvit_micro's weights formulas-32")
    assert first.startswith("training by ")
    assert [line[:9] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert last.startswith("predictions cannot say 'none of these'")


def test_what_is_said_beside_the_bar_is_no_markup(capsys):
    ProgressBar(1, 1, show=True).say("[red]/a.png, data[0] and :smile: are told as they are")
    assert capsys.readouterr().err == "[red]/a.png, data[0] and :smile: are told as they are\n"


def test_a_line_of_progress_says_loss_speed_and_validation_accuracy(finished):
    for line, row in zip(finished.stderr.splitlines()[3:-1], read_metrics(finished.run), strict=True):
        assert f"val accuracy {row['val_accuracy']:.2%}" in line
        assert "loss " in line
        assert "images/s " in line
