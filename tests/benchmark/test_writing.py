"""A record on disk and on the page."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from maxvit.benchmark.compare import Agreement
from maxvit.benchmark.files import chart, check_prefix, write_record
from maxvit.benchmark.page import page
from maxvit.benchmark.record import Case, Entry, NotMeasured, Pair, Record, Spread
from maxvit.benchmark.worker import Operator
from maxvit.errors import MaxViTError


def entry(contender, ours, ms, weights="official", top1=1.0, images=2):
    return Entry(
        contender=contender,
        label=f"the {contender}",
        ours=ours,
        weights=weights,
        seconds=[ms / 1e3] * 2,
        time_ms=Spread(ms, ms - 1, ms + 2),
        images_per_s=2e3 / ms,
        peak_bytes=None if contender == "b" else 123_400_000,
        peak_is="resident",
        share_of_peak=0.456,
        agreement=Agreement(1.23e-6, top1, images),
        open_s=3.4,
        export_s=61.0 if contender == "b" else None,
        operators=[Operator(f"aten::op{i}", 3, 0.002, 0.05) for i in range(20)] if contender == "a" else [],
        busy_seconds=[ms / 5e2, ms / 4e2],
    )


@pytest.fixture
def record():
    case = Case(
        what="inference",
        model="maxvit_micro",
        batch=2,
        image_size=(64, 96),
        precision="fp32",
        multiply_adds=1_500_000_000,
        busy=2,
        matrix_product_flops=(100e9, 110e9),
        entries=[entry("a", True, 10), entry("int8", True, 7, "torchvision", 0.9688, 32), entry("b", False, 20)],
        pairs=[Pair("a", "b", Spread(2.0, 1.9, 2.25), Spread(3.0, 2.9, 3.25))],
        not_measured=[NotMeasured("c", "official", "c is not installed: pip install c")],
    )
    return Record({"CPU": "a processor, 2 cores, 1 threads used", "command": "maxvit benchmark --x"}, [case])


def test_the_page_says_what_was_found(record):
    text = page(record, Path("some/speed.png"))
    assert "![Images per second](speed.png)" in text
    assert "## Inference of maxvit_micro, 2 images of 64 x 96, fp32" in text
    assert "1.50 G multiply-adds an image, forward; the machine's peak: 100 GFLOP/s before, 110 after." in text
    assert "| the a | 10.0 (9.0 to 12.0) | 200.00 | 123 | 46% | 1.2e-06 | 3 |" in text
    assert "| the b | 20.0 (19.0 to 22.0) | 100.00 | unknown | 46% | 1.2e-06 | 3 + 61 |" in text
    assert "| the int8, torchvision's network | 7.0 (6.0 to 9.0)" in text
    assert "| 1.2e-06, 96.9% of 32 the same |" in text
    assert "| a | b | 2.00 (1.90 to 2.25) |" in text
    assert "The same beside 2 busy processes" in text
    assert "| the a | 88.89 | 0.45 (0.42 to 0.48) |" in text
    assert "| a | b | 3.00 (2.90 to 3.25) |" in text
    assert "- not measured: c: c is not installed: pip install c" in text
    assert "| aten::op14 | 3 | 2.0 | 5.0% |\n| 5 others | 15 | 10.0 | 25.0% |" in text
    assert "- command: `maxvit benchmark --x`" in text


def test_training_has_no_classes_to_agree_on(record):
    (case,) = record.cases
    training = replace(case, entries=[entry("accelerated", True, 7, top1=None, images=32)])
    assert "| 1.2e-06 | 3 |" in page(Record(record.about, [training]), Path("speed.png"))


def test_three_files_are_written(record, tmp_path):
    paths = write_record(record, tmp_path / "new" / "speed.v1")
    assert [path.name for path in paths] == ["speed.v1.json", "speed.v1.md", "speed.v1.png"]
    assert sorted(path.name for path in paths) == sorted(path.name for path in (tmp_path / "new").iterdir())
    (case,) = json.loads(paths[0].read_text())["cases"]
    assert case["entries"][0]["seconds"] == [0.01, 0.01]
    assert case["entries"][0]["operators"][0] == {"name": "aten::op0", "calls": 3, "seconds": 0.002, "share": 0.05}
    quiet, busy = {"median": 2.0, "p20": 1.9, "p80": 2.25}, {"median": 3.0, "p20": 2.9, "p80": 3.25}
    assert case["pairs"] == [{"ours": "a", "theirs": "b", "ratio": quiet, "busy_ratio": busy}]
    assert paths[2].read_bytes().startswith(b"\x89PNG")


def test_a_file_that_cannot_be_written_leaves_the_old_one(record, tmp_path, monkeypatch):
    (tmp_path / "speed.png").write_text("old")

    class Full:
        def savefig(self, path, **options):
            path.write_bytes(b"half of")
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("maxvit.benchmark.files.chart", lambda record: Full())
    with pytest.raises(MaxViTError, match=r"speed\.png: No space left on device"):
        write_record(record, tmp_path / "speed")
    assert (tmp_path / "speed.png").read_text() == "old"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_chart_has_a_bar_for_every_contender_the_fastest_on_top(record):
    (panel,) = chart(record).axes
    assert [label.get_text() for label in panel.get_yticklabels()] == [
        "the b",
        "the a",
        "the int8, torchvision's network",
    ]
    assert [bar.get_width() for bar in panel.patches] == pytest.approx([100, 200, 2000 / 7])


def test_a_record_without_numbers_is_still_written(record, tmp_path):
    record.cases[0].entries.clear()
    record.cases[0].pairs.clear()
    text = write_record(record, tmp_path / "speed")[1].read_text()
    assert "- not measured: c:" in text
    assert "times as fast (20th" not in text


def test_a_folder_is_no_prefix(tmp_path):
    with pytest.raises(MaxViTError, match="is a folder; give the start of a file's name"):
        check_prefix(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(MaxViTError, match="file is a file, and a folder to write to is wanted"):
        check_prefix(tmp_path / "file" / "speed")
