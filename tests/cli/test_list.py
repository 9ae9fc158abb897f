"""maxvit list."""

import json
import subprocess
import sys

from maxvit.checkpoints.published import PUBLISHED
from maxvit.cli import main


def test_published_weights_are_a_table(capsys):
    assert main(["list", "--pretrained"]) == 0
    header, _, shipped, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "tag", "resolution", "classes", "top-1", "where"]
    assert shipped.split()[:3] == ["maxvit_micro", "formulas-32", "32"]
    assert shipped.endswith("comes with the package")
    where = "https://huggingface.co/timm/maxvit_tiny_tf_224.in1k"
    assert ["maxvit_tiny", "in1k-224", "224", "1,000", "83.62", where] in [row.split() for row in rows]


def test_published_weights_for_programs(capsys):
    assert main(["list", "--pretrained", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(r["variant"], r["tag"]) for r in rows] == [(r.variant, r.tag) for r in PUBLISHED]
    by_name = {(r["variant"], r["tag"]): r for r in rows}
    assert by_name["maxvit_base", "in21k-224"]["top1"] is None
    assert by_name["maxvit_base", "in21k-224"]["preprocessing"]["mean"] == [0.5, 0.5, 0.5]


def test_listing_imports_no_pytorch():
    code = "import sys; from maxvit.cli import main; main(['list', '--pretrained']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


def test_the_recipes_and_what_they_do(capsys):
    assert main(["list", "--recipes"]) == 0
    assert "MaxViT on ImageNet-1K at 224, from random weights" in capsys.readouterr().out
    assert main(["list", "--recipes", "--json"]) == 0
    assert "digits" in json.loads(capsys.readouterr().out)
