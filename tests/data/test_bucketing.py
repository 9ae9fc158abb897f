"""Images of one size travel together, and nothing is padded, lost or moved."""

import numpy as np
import pytest
import torch
from PIL import Image

from loaders import evaluation_loader, training_loader
from maxvit.config import MaxViTConfig, Preprocessing
from maxvit.data.dataset import LabelledImages
from maxvit.data.images import decode, read_size
from maxvit.data.transforms import preprocess, target_size
from maxvit.errors import MaxViTError
from maxvit.inference.evaluate import evaluate
from maxvit.inference.predictor import Predictor
from maxvit.model import MaxViT
from maxvit.tasks.classification import Classification, ClassificationSettings
from maxvit.tasks.examples import TaskExamples

ASPECT = Preprocessing(image_size=(64, 64), fit="aspect", crop_pct=1.0)
SIDES = [
    (50, 50),
    (50, 101),
    (101, 50),
    (50, 50),
    (30, 200),
    (50, 103),
    (49, 50),
    (103, 50),
    (51, 50),
    (50, 99),
    (50, 50),
]


def pictures():
    random = np.random.default_rng(0)
    arrays = [random.integers(0, 256, (*side, 3), dtype=np.uint8) for side in SIDES]
    return LabelledImages(arrays, [i % 3 for i in range(len(arrays))], ["a", "b", "c"], [str(s) for s in SIDES])


def model():
    torch.manual_seed(0)
    config = MaxViTConfig(
        stem_channels=4, channels=(8, 8, 8, 8), depths=(1, 1, 1, 1), head_dim=4, window_size=(2, 2), grid_size=(2, 2),
        num_classes=3, image_size=(64, 64),
    )  # fmt: skip
    network = MaxViT(config, ASPECT, ["a", "b", "c"])
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((50, 50), (64, 64)),
        ((480, 640), (64, 64)),
        ((50, 100), (32, 96)),
        ((640, 320), (96, 32)),
        ((10, 300), (32, 256)),
    ],
)
def test_an_image_keeps_its_shape_as_far_as_sides_of_32_pixels_allow(size, expected):
    assert target_size(ASPECT, size) == expected


@pytest.mark.parametrize("size", [(333, 500), (500, 333), (224, 224), (1080, 1920), (100, 700)])
def test_at_224_shape_and_pixels_are_close(size):
    height, width = target_size(Preprocessing(fit="aspect"), size)
    assert height * width == pytest.approx(224 * 224, rel=0.2)
    assert height / width == pytest.approx(size[0] / size[1], rel=0.2)


def test_every_image_has_its_bucket_s_size_and_a_fixed_fit_has_one_bucket():
    data = pictures()
    task = Classification(ClassificationSettings())
    sizes = TaskExamples(task, data, ASPECT).sizes(training=False)
    for source, size in zip(data.sources, sizes, strict=True):
        assert tuple(preprocess(ASPECT, source).shape[1:]) == size
    fixed = TaskExamples(task, data, Preprocessing(image_size=(37, 41)))
    assert set(fixed.sizes(training=False)) == {(37, 41)}


@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_header_says_the_size_that_decoding_gives(tmp_path, orientation, kind):
    path, exif = tmp_path / f"a.{kind}", Image.Exif()
    exif[274] = orientation
    Image.new("RGB", (37, 53)).save(path, exif=exif)
    upright = decode(path)
    assert read_size(path) == read_size(path.read_bytes()) == (upright.height, upright.width)


def test_a_file_that_has_no_size_is_named(tmp_path):
    (tmp_path / "text.jpg").write_text("text")
    with pytest.raises(MaxViTError, match=r"text\.jpg"):
        read_size(tmp_path / "text.jpg")


def test_loaders_give_batches_of_one_size():
    for loader in (training_loader(pictures(), ASPECT, "photos", 3, 0, 5), evaluation_loader(pictures(), ASPECT, 3)):
        sizes = [tuple(batch.images.shape[2:]) for batch in loader]
        assert len(sizes) == len(loader)
        assert set(sizes) == {(64, 64), (32, 96), (96, 32), (32, 224)}


def test_evaluation_answers_in_the_order_of_the_images_whatever_their_sizes():
    network, data = model(), pictures()
    result = evaluate(network, data, batch_size=3)
    assert [sample.index for sample in result.samples] == list(range(len(data)))
    assert [int(sample.target) for sample in result.samples] == list(data.labels)
    probabilities = torch.stack([sample.prediction for sample in result.samples]).numpy()
    with torch.inference_mode():
        alone = torch.cat([network(preprocess(ASPECT, source)[None]).softmax(1) for source in data.sources])
    assert np.abs(probabilities - alone.numpy()).max() < 1e-6
    assert len({row.tobytes() for row in probabilities}) == len(data)  # no two answers are alike


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_an_answer_does_not_depend_on_what_an_image_travels_with(batch_size):
    network, sources = model(), list(pictures().sources)
    alone = [Predictor(network)([source])[0].value for source in sources]
    together = Predictor(network, batch_size=batch_size)(sources)
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(other.value, one, rtol=0, atol=1e-6)
