"""TensorFlow's file format, read without TensorFlow."""

import shutil

import numpy as np
import pytest

from maxvit.checkpoints.tensorbundle import TensorBundle
from maxvit.errors import MaxViTError
from official import CHECKPOINT, weight

NAME = "model.ckpt-93600"


@pytest.fixture
def copied(tmp_path):
    shutil.copytree(CHECKPOINT, tmp_path / "ckpt")
    return tmp_path / "ckpt" / NAME


def test_every_variable_is_bit_for_bit_what_was_written():
    bundle = TensorBundle(CHECKPOINT / NAME)
    assert len(bundle.entries) == 577
    assert int(bundle.read("global_step")) == 93600
    suffix = "/ExponentialMovingAverage"
    for full, entry in bundle.entries.items():
        if full != "global_step":
            name, salt = full.removesuffix(suffix), "micro/ema" if full.endswith(suffix) else "micro/raw"
            assert np.array_equal(bundle.read(full), weight(name, entry.shape, salt)), full


def test_missing_data_file_is_named(copied):
    copied.with_name(f"{NAME}.data-00000-of-00001").unlink()
    with pytest.raises(MaxViTError, match=r"data-00000-of-00001 cannot be read: .*; both files are needed"):
        TensorBundle(copied).read("maxvit/stem/conv_0/kernel")


def test_truncated_data_file_is_named(copied):
    path = copied.with_name(f"{NAME}.data-00000-of-00001")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(MaxViTError, match="it is truncated, copy it again"):
        TensorBundle(copied).read("maxvit/stem/conv_0/kernel/ExponentialMovingAverage")


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b[:100], lambda b: b"", lambda b: b"x" + b[9:]])
def test_damaged_index_is_named(copied, change):
    path = copied.with_name(f"{NAME}.index")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(MaxViTError, match="is not a TensorFlow checkpoint index"):
        TensorBundle(copied)
