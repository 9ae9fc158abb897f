"""The run of an evaluation: every image once, at any size, with its mirror image, whole or in shares."""

import numpy as np
import pytest
import torch

from maxvit.config import MaxViTConfig, Preprocessing
from maxvit.data.labelled import LabelledImages
from maxvit.errors import MaxViTError
from maxvit.inference.evaluate import evaluate
from maxvit.inference.predictor import Predictor
from maxvit.model import MaxViT

NAMES = ["ant", "bee", "cat"]


def tiny(class_names=NAMES):
    config = MaxViTConfig(
        stem_channels=8,
        channels=(8, 16, 16, 24),
        depths=(1, 1, 1, 1),
        head_dim=8,
        window_size=(2, 3),
        grid_size=(3, 2),
        num_classes=3,
        image_size=(32, 41),
        drop_path_rate=0.5,
    )
    return MaxViT(config, Preprocessing(image_size=(32, 41)), class_names)


def images(count, broken=(), class_names=NAMES):
    arrays = [np.random.default_rng(i).integers(0, 256, (37, 43, 3), dtype=np.uint8) for i in range(count)]
    sources = [b"broken" if i in broken else array for i, array in enumerate(arrays)]
    labels = [i % len(class_names) for i in range(count)]
    return LabelledImages(sources, labels, class_names, [str(i) for i in range(count)])


def test_evaluate_gives_what_prediction_gives():
    model, data = tiny(), images(7)
    found = evaluate(model, data, batch_size=3)
    predicted = [dict(p.classes) for p in Predictor(model)(data.sources)]
    np.testing.assert_allclose(found.probabilities, [[p[c] for c in NAMES] for p in predicted], rtol=1e-5)
    assert found.labels.tolist() == data.labels
    assert found.indices.tolist() == list(range(7))
    assert found.class_names == NAMES


def test_unreadable_images_are_told_and_do_not_count():
    found = evaluate(tiny(), images(7, broken=[0, 1, 2, 4]), batch_size=3)  # a whole batch, and one of the next
    assert found.indices.tolist() == [3, 5, 6]
    assert found.labels.tolist() == [0, 2, 0]
    assert found.probabilities.shape == (3, 3)
    assert found.skipped == ["the data is not an image that can be read"] * 4


def test_no_readable_image_at_all_is_an_error():
    model = tiny().train()
    with pytest.raises(MaxViTError, match=r"none of the 3 images can be read; the first: the data is not"):
        evaluate(model, images(3, broken=[0, 1, 2]))
    assert model.training


def test_another_number_of_classes_is_refused():
    with pytest.raises(MaxViTError, match="the model has 3 classes and the data 2"):
        evaluate(tiny(), images(4, class_names=["ant", "bee"]))


@pytest.mark.parametrize("names", [["ant", "bee", "dog"], ["bee", "ant", "cat"]])
def test_other_classes_or_another_order_are_refused(names):
    with pytest.raises(MaxViTError, match="the model's classes are ant, bee, cat"):
        evaluate(tiny(), images(4, class_names=names))


def test_a_model_without_class_names_takes_the_data_s():
    assert evaluate(tiny(None), images(3)).class_names == NAMES


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training):
    model = tiny().train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate(model, images(5))
    assert model.training is training
    assert model.head.training is training
    for name, tensor in model.state_dict().items():  # the statistics of batch norm among them
        assert torch.equal(tensor, before[name])


def test_the_model_is_left_in_its_mode_when_evaluation_fails(monkeypatch):
    model = tiny().train()

    def fail(images):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model, "forward", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        evaluate(model, images(3))
    assert model.training
