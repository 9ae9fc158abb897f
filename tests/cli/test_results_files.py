"""`maxvit evaluate --out` writes detections as COCO's results, by the ids of the data set."""

import json

import pytest

from coco_samples import describe, write_coco
from detection_layouts import write_yolo
from every_task import network_of
from maxvit.cli import main

pytest.importorskip("pycocotools")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """It takes everything for its first class."""
    path = tmp_path_factory.mktemp("network") / "found.safetensors"
    network_of("detection", names=["blue", "red"]).save(path)
    return str(path)


def results(checkpoint, data, out):
    assert main(["evaluate", checkpoint, str(data), "--out", str(out)]) == 0
    return json.loads((out / "results.json").read_text())


def test_results_have_the_ids_of_a_data_set_in_coco_s_format(checkpoint, tmp_path, capsys):
    data = describe()
    for entry, key in [*((i, "id") for i in data["images"]), *((a, "image_id") for a in data["annotations"])]:
        entry[key] += 500  # so that it is not the one in the name
    found = results(checkpoint, write_coco(tmp_path / "data", data), tmp_path / "out")
    assert {result["image_id"] for result in found} == {511, 512, 513, 514}
    assert {result["category_id"] for result in found} == {7}
    assert "results.json" in capsys.readouterr().err


def test_results_for_another_format_have_ids_of_their_own(checkpoint, tmp_path):
    found = results(checkpoint, write_yolo(tmp_path / "data"), tmp_path / "out")
    assert {result["file_name"] for result in found} == {"000000000014.png"}
    assert {result["category_id"] for result in found} == {1}
