"""ONNX files: valid, and answered by ONNX Runtime as by the network."""

import pytest
import torch

from maxvit import MaxViT, MaxViTConfig
from maxvit.export.onnx import export_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

CONFIG = MaxViTConfig(
    stem_channels=4, channels=(8, 8, 8, 8), depths=(1, 1, 1, 1), head_dim=4, window_size=(3, 2), grid_size=(2, 3),
    num_classes=5, image_size=(64, 96),
)  # fmt: skip


@pytest.mark.filterwarnings("ignore:::onnxscript", "ignore:::copyreg")
@pytest.mark.parametrize(
    ("any_size", "shapes"),
    [
        (False, [(1, 3, 64, 96), (5, 3, 64, 96)]),
        pytest.param(True, [(2, 3, 64, 96), (1, 3, 33, 33), (3, 3, 37, 101), (1, 3, 211, 33)], marks=pytest.mark.full),
    ],
)
def test_onnx_runtime_answers_as_the_network(tmp_path, any_size, shapes):
    model, path = MaxViT(CONFIG).eval(), tmp_path / "model.onnx"
    export_onnx(model, path, any_size=any_size)
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path)
    for shape in shapes:
        images = torch.randn(*shape)
        expected = model(images)
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        assert (torch.from_numpy(logits) - expected).abs().max() < 1e-5 * expected.std()
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
