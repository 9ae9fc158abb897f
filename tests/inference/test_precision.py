"""Which precision is chosen where, and that half precision answers what fp32 does, and says how nearly."""

import pytest
import torch

from halves import can_halve
from maxvit.create import create_model
from maxvit.errors import MaxViTError
from maxvit.inference import precision
from maxvit.inference.engines import TorchEngine, open_engine
from maxvit.inference.precision import choose_precision
from maxvit.inference.predictor import Predictor
from maxvit.tasks import make_task

CPU, GPU, MPS = (torch.device(name) for name in ("cpu", "cuda:0", "mps"))


@pytest.fixture
def bf16(monkeypatch):
    return lambda there: monkeypatch.setattr(precision, "_has_bf16", lambda device: there)


@pytest.mark.parametrize(
    ("text", "device", "has_bf16", "expected"),
    [
        ("auto", GPU, True, "bf16"),
        ("auto", GPU, False, "fp16"),
        ("auto", CPU, True, "fp32"),
        ("auto", MPS, True, "fp32"),
        ("fp32", GPU, True, "fp32"),
        ("fp16", CPU, False, "fp16"),
        ("bf16", CPU, True, "bf16"),
        ("fp64", CPU, False, "fp64"),
    ],
)
def test_a_word_means_a_precision(bf16, text, device, has_bf16, expected):
    bf16(has_bf16)
    assert choose_precision(text, device) == expected


@pytest.mark.parametrize(
    ("text", "device", "says"),
    [
        ("bf16", GPU, "precision is bf16, which cuda:0 lacks, or computes many times slower: use fp16 or fp32"),
        ("bf16", CPU, "precision is bf16, which cpu lacks, .*: use fp32"),
        ("fp64", MPS, "precision is fp64, which Apple's GPUs lack"),
        ("fp8", CPU, "unknown precision 'fp8'"),
    ],
)
def test_a_precision_that_a_device_lacks_is_refused(bf16, text, device, says):
    bf16(False)
    with pytest.raises(MaxViTError, match=says):
        choose_precision(text, device)


def small():
    return create_model("maxvit_micro", num_classes=3, image_size=32).eval()


def test_half_precision_answers_what_fp32_does_and_says_how_nearly(capsys):
    model, images = small(), torch.randn(3, 3, 32, 32)
    engine = TorchEngine(model, precision="fp16")
    found, expected = engine(images), TorchEngine(model)(images)
    difference = float((found - expected).abs().max() / expected.abs().max())
    assert 0 < difference < 0.02  # 11 bits through some thirty layers
    assert capsys.readouterr().err == f"fp16: the first outputs differ from fp32 by {difference:.1e} of the largest\n"
    engine(images)
    assert capsys.readouterr().err == ""
    assert engine.name == "PyTorch on cpu, fp16"
    torch.testing.assert_close(engine.with_embeddings(images)[0], found)


def test_a_network_that_overflows_computes_in_fp32(capsys):
    model, images = small(), torch.randn(2, 3, 32, 32)
    model.head.classifier.weight.data *= 1e8
    engine = TorchEngine(model, precision="fp16")
    torch.testing.assert_close(engine(images), TorchEngine(model)(images))
    assert capsys.readouterr().err == "fp16 overflows in this network: it computes in fp32\n"
    assert engine.name == "PyTorch on cpu"


def test_weights_in_16_bits_compute_in_these():
    engine = TorchEngine(small().half(), precision="fp16")
    assert engine.name == "PyTorch on cpu"


def test_a_checkpoint_in_half_precision_is_computed_by_the_native_kernels_where_they_can(tmp_path):
    small().save(tmp_path / "model.safetensors")
    engine = Predictor(tmp_path / "model.safetensors", precision="fp16").engine
    assert engine.name == f"native CPU kernels, {'fp16' if can_halve() else 'fp32'}, optimised on cpu"


def test_a_task_answers_in_half_precision(capsys):
    network = make_task({"name": "aesthetics"}).make_network(create_model("maxvit_micro", image_size=32), ["score"])
    images, sizes = torch.randn(2, 3, 32, 32), [(32, 32)] * 2
    predictor = Predictor(network, precision="fp16")
    expected = Predictor(network).ensemble.predict([images], sizes)
    torch.testing.assert_close(predictor.ensemble.predict([images], sizes), expected, rtol=0.02, atol=0.02)
    assert "fp16: the first outputs differ from fp32 by " in capsys.readouterr().err
    assert predictor.engine.name == "PyTorch on cpu, fp16"


def test_a_file_computes_in_its_own_precision(tmp_path):
    small().save(tmp_path / "model.safetensors")
    (tmp_path / "model.onnx").touch()
    for path, engine in ((tmp_path / "model.onnx", "auto"), (tmp_path / "model.safetensors", "onnxruntime")):
        with pytest.raises(MaxViTError, match=r"precision is fp16, and .*: export the checkpoint .*with --precision"):
            open_engine(path, engine, precision="fp16")
