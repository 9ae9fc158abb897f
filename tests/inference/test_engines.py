"""The file decides the engine, and every engine gives the network's answers."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
from torch import nn

import maxvit
from halves import skip_unless
from maxvit import MaxViT, MaxViTConfig, MaxViTError, Preprocessing
from maxvit.data.dataset import LabelledImages
from maxvit.export import runtimes
from maxvit.export.onnx import write_onnx
from maxvit.export.options import ExportOptions
from maxvit.inference.engines import FileEngine, TorchEngine, open_engine, open_sizes
from maxvit.inference.evaluate import evaluate_sizes
from maxvit.kernels.optimize import optimize
from narrow import SMALL

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

NAMES = ["ant", "bee", "cat"]
PREPROCESSING = Preprocessing(image_size=(64, 96), mean=(0.1, 0.2, 0.3), crop_pct=0.9)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = MaxViTConfig(
        stem_channels=16, channels=(16, 16, 16, 16), depths=(1, 1, 1, 1), head_dim=8, window_size=(2, 3),
        grid_size=(2, 3), num_classes=3, image_size=(64, 96),
    )  # fmt: skip
    model = MaxViT(config, PREPROCESSING, NAMES).eval()
    for parameter in model.parameters():  # answers that differ from image to image
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("engines") / "model.safetensors"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def onnx_file(model, checkpoint):
    write_onnx(model, checkpoint.with_suffix(".onnx"), ExportOptions())
    return checkpoint.with_suffix(".onnx")


@pytest.fixture
def threads():
    """Set how many threads there are to compute with; they are set back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "maxvit"


def agree(engine, model, number, size=(64, 96)):
    images = torch.randn(number, 3, *size)
    with torch.inference_mode():
        expected = model(images)
    logits = engine(images)
    assert (logits.dtype, logits.shape) == (torch.float32, expected.shape)
    assert (logits - expected).abs().max() < 1e-5 * expected.std()


@pytest.mark.parametrize("available", [1, 2, 3])
def test_onnx_runtime_gives_every_image_its_answer_on_any_number_of_cores(model, onnx_file, threads, available):
    threads(available)
    engine = FileEngine(onnx_file)
    for number in (1, 2, 5, 7):
        agree(engine, model, number)


def test_a_batch_is_shared_out_among_the_cores_in_parts_that_fit_a_cache(onnx_file, threads, monkeypatch):
    threads(2)
    seen = []
    run = runtimes._run
    monkeypatch.setattr(runtimes, "_run", lambda session, images: seen.append(len(images)) or run(session, images))
    engine = FileEngine(onnx_file)
    for number, at_once, parts in ((7, 8, [3, 4]), (7, 2, [1, 2, 2, 2]), (1, 8, [1])):
        monkeypatch.setattr(runtimes, "IN_CACHE", at_once * 64 * 96)
        seen.clear()
        engine(torch.randn(number, 3, 64, 96))
        assert sorted(seen) == parts


def test_a_file_for_one_image_answers_several(model, tmp_path, threads):
    threads(3)
    write_onnx(model, tmp_path / "one.onnx", ExportOptions(batch=1))
    for number in (1, 2, 5):
        agree(FileEngine(tmp_path / "one.onnx"), model, number)


def test_the_onnx_file_brings_names_preprocessing_and_configuration(model, onnx_file):
    engine = open_engine(onnx_file)
    assert (engine.name, engine.class_names) == ("ONNX Runtime", NAMES)
    assert (engine.preprocessing, engine.config) == (PREPROCESSING, model.config)


def test_preprocessing_follows_the_size_that_is_exported(model, tmp_path):
    write_onnx(model, tmp_path / "model.onnx", ExportOptions(image_size=(32, 41)))
    engine = FileEngine(tmp_path / "model.onnx")
    assert engine.preprocessing.image_size == (32, 41)
    agree(engine, model, 2, (32, 41))


def test_the_file_decides_the_engine(checkpoint, onnx_file):
    assert isinstance(open_engine(onnx_file), FileEngine)
    assert isinstance(open_engine(checkpoint), TorchEngine)
    assert open_engine(checkpoint).name == f"{optimize(maxvit.load_model(checkpoint)).engine}, optimised on cpu"


def test_a_network_in_memory_runs_as_it_is_and_keeps_its_mode(model):
    engine = open_engine(model)
    assert engine.network is model
    model.train()
    agree_with = model.stem.norm.running_mean.clone()
    engine(torch.randn(2, 3, 64, 96))
    assert model.training
    assert torch.equal(model.stem.norm.running_mean, agree_with)
    model.eval()


def test_predictor_and_evaluate_give_the_same_with_every_engine(model, checkpoint, onnx_file):
    random = np.random.default_rng(0)
    arrays = [random.integers(0, 20 + 33 * i, (70, 101, 3), dtype=np.uint8) for i in range(7)]
    labelled = LabelledImages(arrays, [0, 1, 2, 0, 1, 2, 0], NAMES, [str(i) for i in range(7)])
    wanted, metrics = maxvit.Predictor(model)(arrays), maxvit.evaluate(model, labelled).metrics
    for path in (checkpoint, onnx_file):
        for prediction, right in zip(maxvit.Predictor(path)(arrays), wanted, strict=True):
            torch.testing.assert_close(prediction.value, right.value, rtol=1e-4, atol=1e-6)
        found = maxvit.evaluate(open_engine(path), labelled, batch_size=3).metrics
        assert found == pytest.approx(metrics, rel=1e-4)


def test_a_checkpoint_is_exported_once_and_that_is_said(model, checkpoint, cache):
    said = []
    agree(open_engine(checkpoint, "onnxruntime", tell=said.append), model, 2)
    (file,) = cache.iterdir()
    assert said == [f"exporting {checkpoint} to {file}: some seconds, once"]
    made = file.stat().st_mtime_ns
    agree(open_engine(checkpoint, "onnxruntime", tell=said.append), model, 2)
    assert (len(said), file.stat().st_mtime_ns) == (1, made)


def test_fp16_on_a_cpu_is_computed_by_the_kernels_or_is_fp32(tmp_path, monkeypatch, capsys):
    skip_unless("fp16")
    checkpoint = tmp_path / "small.safetensors"
    MaxViT(SMALL).save(checkpoint)
    assert open_engine(checkpoint, device="cpu", precision="fp16").name == "native CPU kernels, fp16, optimised on cpu"
    monkeypatch.setattr(
        "maxvit.kernels.optimize.lacking",
        lambda packing: "this processor has none" if packing.precision == "fp16" else "",
    )
    engine = open_engine(checkpoint, device="cpu", precision="fp16")
    assert engine.name == "native CPU kernels, fp32, optimised on cpu"
    assert "fp16 is not used: this processor has none; it computes in fp32" in capsys.readouterr().err


def test_what_is_said_goes_to_standard_error(checkpoint, cache, capsys):
    open_engine(checkpoint, "onnxruntime")
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err.startswith("exporting ")) == ("", 1, True)


def test_another_checkpoint_or_exporter_is_another_file(model, checkpoint, cache, tmp_path, monkeypatch):
    other = MaxViT(model.config, PREPROCESSING, NAMES)
    other.save(tmp_path / "model.safetensors")
    for path in (checkpoint, tmp_path / "model.safetensors"):
        open_engine(path, "onnxruntime")
    monkeypatch.setattr("maxvit.inference.cache._exporter", lambda *_: "newer")
    open_engine(checkpoint, "onnxruntime")
    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize(
    ("size", "sentence"),
    [((64, 64), "images are 3 x 64 x 64, and .* is for 3 x 64 x 96: resize them, or export it again")],
)
def test_images_of_another_size_are_refused(onnx_file, size, sentence):
    with pytest.raises(MaxViTError, match=sentence):
        open_engine(onnx_file)(torch.randn(1, 3, *size))


def test_an_onnx_file_of_another_program_is_refused(onnx_file, tmp_path):
    other = onnx.load(onnx_file)
    del other.metadata_props[:]
    onnx.save(other, tmp_path / "other.onnx")
    with pytest.raises(MaxViTError, match=r"other\.onnx was not written by maxvit"):
        open_engine(tmp_path / "other.onnx")


def test_a_description_that_cannot_be_used_is_refused(onnx_file, tmp_path):
    other = onnx.load(onnx_file)
    next(p for p in other.metadata_props if p.key == "config").value = '{"depths": 3}'
    onnx.save(other, tmp_path / "other.onnx")
    with pytest.raises(MaxViTError, match=r"the description in .*other\.onnx cannot be used: depths is 3"):
        open_engine(tmp_path / "other.onnx")


def test_a_damaged_onnx_file_is_refused(onnx_file, tmp_path):
    (tmp_path / "half.onnx").write_bytes(onnx_file.read_bytes()[:5000])
    with pytest.raises(MaxViTError, match=r"ONNX Runtime cannot read .*half\.onnx"):
        open_engine(tmp_path / "half.onnx")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MaxViTError, match=r"gone\.onnx is not a file"):
        open_engine(tmp_path / "gone.onnx")


def test_engines_that_do_not_fit_the_file_are_refused(model, onnx_file, checkpoint):
    with pytest.raises(MaxViTError, match="unknown engine 'tensorrt'"):
        open_engine(checkpoint, "tensorrt")
    with pytest.raises(MaxViTError, match="runs in ONNX Runtime: give the checkpoint"):
        open_engine(onnx_file, "torch")
    with pytest.raises(MaxViTError, match="a network in memory runs in PyTorch"):
        open_engine(model, "onnxruntime")


def test_images_that_keep_their_shapes_are_refused_by_a_file_for_one(model, cache, tmp_path):
    aspect = MaxViT(model.config, Preprocessing(image_size=(64, 96), fit="aspect"))
    aspect.save(tmp_path / "aspect.safetensors")
    with pytest.raises(MaxViTError, match="keep their shapes, and a file for one size takes one: export it"):
        open_engine(tmp_path / "aspect.safetensors", "onnxruntime")


def test_without_onnxruntime_the_package_is_named(onnx_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MaxViTError, match=r"needs onnxruntime, which is not installed: pip install 'maxvit\[export\]'"):
        open_engine(onnx_file)


def test_sizes_share_one_network_with_its_own_windows(checkpoint, model):
    engines = open_sizes(checkpoint, [(37, 53), (96, 64)])
    assert list(engines) == [(37, 53), (96, 64)]
    assert engines[37, 53] is engines[96, 64]
    for size, engine in engines.items():
        agree(engine, model, 2, size)


def test_without_sizes_there_is_the_one_that_the_weights_expect(checkpoint, onnx_file):
    for path in (checkpoint, onnx_file):
        assert list(open_sizes(path)) == [(64, 96)]


def test_windows_are_scaled_to_each_size(checkpoint, model):
    engines = open_sizes(checkpoint, [(37, 130), (96, 64)], scale_windows=True)
    for size, engine in engines.items():
        scaled = maxvit.load_model(checkpoint)
        scaled.set_image_size(size)
        assert engine.config.window_size == {(37, 130): (2, 5), (96, 64): (3, 2)}[size]
        agree(engine, scaled, 2, size)
        images = torch.randn(2, 3, *size)
        with torch.inference_mode():
            assert not torch.allclose(engine(images), model(images), rtol=1e-2)  # whose windows are 2 x 3
        assert engine.preprocessing == dataclasses.replace(PREPROCESSING, image_size=size)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sizes": [(64, 96), (64, 64), (64, 96)]}, "size 64 x 96 is given twice"),
        ({"scale_windows": True}, "no size to scale them to was given"),
        (
            {"sizes": [(64, 96)], "scale_windows": True, "engine": "onnxruntime"},
            "windows are built into an exported file",
        ),
        ({"sizes": [(64, 96)], "scale_windows": True, "engine": "tensorrt"}, "unknown engine 'tensorrt'"),
        ({"sizes": [(0, 0)], "scale_windows": True}, r"image_size is \(0, 0\)"),
    ],
)
def test_sizes_that_cannot_be_are_refused(checkpoint, options, sentence):
    with pytest.raises(MaxViTError, match=sentence):
        open_sizes(checkpoint, **options)


def test_windows_of_an_onnx_file_are_not_scaled(onnx_file):
    with pytest.raises(MaxViTError, match="windows are built into an exported file"):
        open_sizes(onnx_file, [(64, 96)], scale_windows=True)


def test_an_onnx_file_for_one_size_refuses_another_before_it_measures(onnx_file):
    broken = LabelledImages([b"broken"], [0], NAMES, ["a"])
    with pytest.raises(MaxViTError, match=r"images are 3 x 32 x 41, and .*model\.onnx is for 3 x 64 x 96: resize them"):
        evaluate_sizes(open_sizes(onnx_file, [(64, 96), (32, 41)]), broken)


def test_mirror_images_are_answered_alike_by_every_engine(model, onnx_file):
    arrays = [np.random.default_rng(i).integers(0, 256, (71, 103, 3), dtype=np.uint8) for i in range(3)]
    labelled = LabelledImages(arrays, [0, 1, 2], NAMES, ["a", "b", "c"])
    wanted, found = (maxvit.evaluate(engine, labelled, tta="flip") for engine in (model, open_engine(onnx_file)))
    assert found.metrics == pytest.approx(wanted.metrics, rel=1e-3)


def test_embeddings_are_what_the_classifier_sees(model, checkpoint, onnx_file):
    images = torch.randn(3, 3, 64, 96)
    for engine in (open_engine(model), open_engine(checkpoint)):
        outputs, embeddings = engine.with_embeddings(images)
        with torch.inference_mode():
            logits = model.head.classifier(embeddings)
        torch.testing.assert_close(logits, outputs, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(outputs, engine(images), rtol=1e-4, atol=1e-5)
    with pytest.raises(MaxViTError, match=r"model\.onnx gives no embeddings: use the checkpoint"):
        open_engine(onnx_file).with_embeddings(images)
