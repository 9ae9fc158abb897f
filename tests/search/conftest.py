"""Pictures, a small network, and an index of them by it; the tests of what an index is asked only read it."""

import pytest
from drawn import draw

from every_task import network_of
from maxvit.search.build import build_index


@pytest.fixture(scope="package")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "small.safetensors"
    network_of("classification").save(path)
    return str(path)


@pytest.fixture
def photos(tmp_path):
    """Seven pictures in two folders."""
    for seed in range(7):
        draw(tmp_path / "photos" / ("a" if seed < 3 else "b") / f"{seed}.png", seed)
    return tmp_path / "photos"


@pytest.fixture(scope="package")
def indexed(tmp_path_factory, checkpoint):
    """The folder of the photos, and their index."""
    root = tmp_path_factory.mktemp("indexed")
    for seed in range(7):
        draw(root / "photos" / f"{seed}.png", seed, (61 + 8 * (seed % 2), 47))
    build_index(root / "photos", root / "index", checkpoint, device="cpu")
    return root / "photos", root / "index"
