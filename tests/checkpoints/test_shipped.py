"""The weights that come with the package: they load without a network, are what they say, and damage is noticed."""

import dataclasses
import shutil

import pytest
import torch

from maxvit import MaxViTError, create_model
from maxvit.checkpoints.published import PUBLISHED, fetch, shipped
from maxvit.config import VARIANTS
from maxvit.create import shipped_weights

SHIPPED = [row for row in PUBLISHED if row.is_shipped]


@pytest.fixture
def offline(monkeypatch):
    """Any connection fails."""
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection is made"))


@pytest.mark.parametrize("row", SHIPPED, ids=lambda row: row.tag)
def test_they_are_the_variants_default_and_what_the_table_says(row, offline):
    model = create_model(row.variant, pretrained=True)
    assert dataclasses.replace(model.config, drop_path_rate=VARIANTS[row.variant].drop_path_rate) == row.config
    assert model.preprocessing == row.preprocessing
    assert (model.class_names, row.classes) == (None, 0)
    assert model.provenance["pretrained"] == "comes with the package"
    assert "--recipe formulas" in model.provenance["command"]
    assert not model.training


@pytest.mark.parametrize("row", SHIPPED, ids=lambda row: row.tag)
def test_their_features_are_finite_and_differ_from_image_to_image(row):
    model = create_model(row.variant, pretrained=row.tag)
    with torch.no_grad():
        features = model(torch.randn(3, 3, 64, 96))
    assert features.isfinite().all()
    assert features.std(0).min() > 0


@pytest.mark.parametrize("row", SHIPPED, ids=lambda row: row.tag)
def test_they_are_small(row):
    assert fetch(row).stat().st_size <= 3e6


def test_other_variants_have_none():
    assert {name for name in VARIANTS if shipped_weights(name)} == {row.variant for row in SHIPPED} == {"maxvit_micro"}
    assert shipped("maxvit_tiny") is None


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the file, in place of that in the package."""
    file = tmp_path / "weights" / SHIPPED[0].filename
    file.parent.mkdir()
    shutil.copy(fetch(SHIPPED[0]), file)
    monkeypatch.setattr("maxvit.checkpoints.published.resources.files", lambda package: tmp_path)
    return file


def test_a_single_changed_bit_is_noticed(copied):
    content = bytearray(copied.read_bytes())
    content[-1] ^= 1
    copied.write_bytes(content)
    with pytest.raises(MaxViTError, match="which comes with the package, is damaged: install maxvit again"):
        create_model("maxvit_micro", pretrained=True)


def test_a_file_that_is_missing_is_named(copied):
    copied.unlink()
    with pytest.raises(MaxViTError, match=f"{copied}, which comes with the package, is missing"):
        create_model("maxvit_micro", pretrained=True)
