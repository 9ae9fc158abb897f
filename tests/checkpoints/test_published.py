"""The table of published weights, against timm's and torchvision's own; and getting the one that is not on the hub."""

import dataclasses
import hashlib
import io
import re
import urllib.request
from urllib.error import URLError

import pytest
import torch
from timm.models import get_pretrained_cfg, list_models, list_pretrained
from torchvision.models import MaxVit_T_Weights

from maxvit import MaxViTError
from maxvit.checkpoints.published import PUBLISHED, UNPUBLISHED, fetch, find
from maxvit.config import VARIANTS

ON_HUB = [row for row in PUBLISHED if row.is_on_hub]
TORCHVISION = find("maxvit_tiny", "torchvision-in1k-224")


def test_all_that_timm_publishes_is_listed():
    assert {row.place for row in ON_HUB} == {f"timm/{name}" for name in list_pretrained("maxvit_*")}
    assert len(ON_HUB) == 30


def test_networks_that_timm_names_and_does_not_publish_are_known_too():
    named = {row.their_name.partition(".")[0] for row in (*ON_HUB, *UNPUBLISHED)}
    assert named == set(list_models("maxvit_*"))  # ours have a hyphen
    assert not {row.place for row in UNPUBLISHED} & {f"timm/{name.partition('.')[0]}" for name in list_pretrained()}


@pytest.mark.parametrize("variant", ["maxvit_pico", "maxvit_nano"])
def test_timms_variants_are_the_networks_of_their_first_weights(variant):
    assert find(variant).config == VARIANTS[variant]


@pytest.mark.parametrize("row", ON_HUB, ids=lambda row: row.place)
def test_rows_say_what_timm_says(row):
    theirs = get_pretrained_cfg(row.place.removeprefix("timm/"))
    assert (row.classes, 3, row.resolution, row.resolution) == (theirs.num_classes, *theirs.input_size)
    ours = row.preprocessing
    assert ours.image_size == theirs.input_size[1:]
    assert (ours.mean, ours.std, ours.interpolation) == (theirs.mean, theirs.std, theirs.interpolation)
    assert ours.crop_pct == theirs.crop_pct
    assert ours.fit == {"center": "crop", "squash": "squash"}[theirs.crop_mode]
    size = row.variant.removeprefix("maxvit_")
    kind = re.fullmatch(rf"timm/maxvit_(rmlp_)?{size}_(tf|rw)_{row.resolution}\.\w+", row.place).groups()
    prefix = {(None, "tf"): "", (None, "rw"): "rw-", ("rmlp_", "rw"): "rmlp-"}[kind]
    assert row.tag == prefix + theirs.tag.removeprefix("sw_").replace("_ft_", "-") + f"-{row.resolution}"


def test_torchvisions_row_says_what_torchvision_says():
    theirs = MaxVit_T_Weights.IMAGENET1K_V1
    transform, ours = theirs.transforms(), TORCHVISION.preprocessing
    assert TORCHVISION.address == theirs.url
    assert TORCHVISION.top1 == pytest.approx(theirs.meta["_metrics"]["ImageNet-1K"]["acc@1"])
    assert TORCHVISION.classes == len(theirs.meta["categories"])
    assert (list(ours.mean), list(ours.std)) == (transform.mean, transform.std)
    assert (ours.interpolation, ours.fit) == (transform.interpolation.value, "crop")
    assert list(ours.image_size) == transform.crop_size * 2
    assert ours.crop_pct == transform.crop_size[0] / transform.resize_size[0]


def test_a_larger_image_and_more_data_score_higher():
    scores = {(row.variant, row.tag): row.top1 for row in ON_HUB if row.top1}
    for size in ("tiny", "small", "base", "large"):
        of = [scores[f"maxvit_{size}", f"in1k-{side}"] for side in (224, 384, 512)]
        assert of == sorted(of)
    for size in ("base", "large"):
        assert scores[f"maxvit_{size}", "in21k-in1k-384"] > scores[f"maxvit_{size}", "in1k-512"]


def test_default_is_in1k_at_224_where_that_exists():
    assert find("maxvit_base").tag == "in1k-224"
    assert find("maxvit_xlarge").tag == "in21k-in1k-384"


def test_unknown_tag_names_the_known_ones():
    with pytest.raises(MaxViTError, match=r"no weights 'in1k-385' of maxvit_small .*in1k-224, in1k-384, in1k-512"):
        find("maxvit_small", "in1k-385")


def test_variant_without_weights_names_those_with():
    with pytest.raises(MaxViTError, match=r"no weights of maxvit_huge are published; .* of maxvit_micro, maxvit_pico"):
        find("maxvit_huge")


@pytest.fixture
def row(tmp_path, monkeypatch):
    """torchvision's row for a file that holds b"weights", and an empty cache of torch.hub."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    digits = hashlib.sha256(b"weights").hexdigest()[:8]
    return dataclasses.replace(TORCHVISION, filename=f"maxvit_t-{digits}.pth")


def test_file_in_torchs_cache_is_found_without_a_network(row, tmp_path):
    cached = tmp_path / "checkpoints" / row.filename
    cached.parent.mkdir()
    cached.write_bytes(b"weights")
    assert fetch(row) == cached
    cached.write_bytes(b"weighty")
    with pytest.raises(MaxViTError, match=r"is damaged .*: delete it"):
        fetch(row)


def test_file_that_is_not_cached_is_downloaded_and_checked(row, monkeypatch):
    def transfer(url: str, path: str, hash_prefix: str) -> None:
        assert (url, hash_prefix) == (row.address, row.filename[9:17])
        with open(path, "wb") as file:
            file.write(b"weights")

    monkeypatch.setattr(urllib.request, "urlopen", lambda request, timeout: io.BytesIO())
    monkeypatch.setattr(torch.hub, "download_url_to_file", transfer)
    assert fetch(row).read_bytes() == b"weights"


def test_without_a_network_the_file_and_its_place_are_named(row, tmp_path, monkeypatch):
    def refuse(request, timeout):
        assert 0 < timeout <= 30
        raise URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(MaxViTError) as raised:
        fetch(row)
    assert f"{row.address} cannot be downloaded (no route to host)" in str(raised.value)
    assert str(tmp_path / "checkpoints" / row.filename) in str(raised.value)


def test_download_that_arrives_damaged_is_said(row, monkeypatch):
    def transfer(url: str, path: str, hash_prefix: str) -> None:
        raise RuntimeError("invalid hash value")

    monkeypatch.setattr(urllib.request, "urlopen", lambda request, timeout: io.BytesIO())
    monkeypatch.setattr(torch.hub, "download_url_to_file", transfer)
    with pytest.raises(MaxViTError, match=r"arrived damaged .*invalid hash value"):
        fetch(row)
