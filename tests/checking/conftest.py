"""What the tests of checking share."""

import pytest
from blobs import SIZE, encoded, half, mirrored, picture, write


@pytest.fixture(scope="package")
def folder(tmp_path_factory):
    """Two parts of two classes, with one of each mistake; the tests only read it."""
    root = tmp_path_factory.mktemp("photos") / "photos"
    for seed in range(12):
        write(root / "train" / ("cat" if seed < 5 else "dog") / f"{seed}.png", picture(seed))
    for seed in (20, 21):
        write(root / "test" / ("cat" if seed < 21 else "dog") / f"{seed}.png", picture(seed))
    write(root / "train" / "dog" / "again.jpg", picture(6), quality=60)
    write(root / "train" / "dog" / "small_cat.png", half(picture(1)))
    write(root / "train" / "cat" / "cropped.png", picture(3).crop((2, 1, *SIZE)))
    write(root / "test" / "dog" / "known.png", mirrored(picture(7)))
    (root / "train" / "dog" / "broken.jpg").write_bytes(encoded(picture(30), "JPEG")[:300])
    return root
