"""One answer for each image, in order, whatever the batch and whatever the others are."""

import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from maxvit.config import MaxViTConfig, Preprocessing
from maxvit.data.transforms import preprocess as preprocess_one
from maxvit.errors import MaxViTError
from maxvit.inference.predictor import Predictor, preprocess
from maxvit.model import MaxViT

NAMES = ["ant", "bee", "cat"]


def tiny(num_classes=3, class_names=NAMES):
    config = MaxViTConfig(
        stem_channels=8,
        channels=(8, 16, 16, 24),
        depths=(1, 1, 1, 1),
        head_dim=8,
        window_size=(2, 3),
        grid_size=(3, 2),
        num_classes=num_classes,
        image_size=(32, 41),
        drop_path_rate=0.5,
    )
    model = MaxViT(config, Preprocessing(image_size=(32, 41), mean=(0.1, 0.2, 0.3)), class_names)
    for parameter in model.parameters():  # answers that differ from image to image
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.3)
    return model


def arrays(count):
    """From dark to bright, so that no two get the same answer."""
    random = np.random.default_rng(0)
    return [random.integers(0, 20 + 33 * i, (37, 43, 3), dtype=np.uint8) for i in range(count)]


@pytest.fixture
def model():
    return tiny()


def classes(prediction):
    return [(one["class"], one["probability"]) for one in prediction.to_json()["classes"]]


def same(first, second):
    assert first.error is None
    assert second.error is None
    assert [name for name, _ in classes(first)] == [name for name, _ in classes(second)]
    np.testing.assert_allclose([p for _, p in classes(first)], [p for _, p in classes(second)], rtol=1e-5)


def test_answers_are_the_softmax_of_the_network_most_probable_first(model):
    images = arrays(5)
    with torch.inference_mode():
        logits = model.eval()(torch.stack([preprocess_one(model.preprocessing, image) for image in images]))
    for answer, row in zip(Predictor(model)(images), logits.softmax(-1).tolist(), strict=True):
        order = sorted(range(3), key=lambda c: -row[c])
        assert [name for name, _ in classes(answer)] == [NAMES[c] for c in order]
        np.testing.assert_allclose([p for _, p in classes(answer)], [row[c] for c in order], rtol=1e-5)


def test_the_images_of_these_tests_get_different_answers(model):
    answers = Predictor(model)(arrays(7))
    assert len({classes(answer)[0] for answer in answers}) == 7
    assert len({classes(answer)[0][0] for answer in answers}) > 1


def test_every_kind_of_source_gets_the_same_answer(model, tmp_path):
    array = arrays(5)[4]
    image, buffer, path = Image.fromarray(array), io.BytesIO(), tmp_path / "a.png"
    image.save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())
    wanted, *others = Predictor(model)([array, image, buffer.getvalue(), path, str(path)])
    for answer in others:
        same(answer, wanted)


def test_answers_are_named_by_path_or_position(model, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(arrays(1)[0]).save(path)
    answers = Predictor(model, batch_size=2)([arrays(1)[0], path, str(path), path.read_bytes()])
    assert [answer.name for answer in answers] == ["image 0", str(path), str(path), "image 3"]


def test_the_batch_size_changes_no_answer(model):
    images = arrays(7)
    alone = Predictor(model, batch_size=1)(images)
    for batch_size in (2, 3, 64):
        for answer, wanted in zip(Predictor(model, batch_size=batch_size)(images), alone, strict=True):
            same(answer, wanted)


def test_no_forward_sees_more_than_a_batch(model):
    seen = []
    model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    Predictor(model, batch_size=3)([*arrays(4), b"broken", *arrays(3)])
    assert seen == [3, 2, 2]  # of 3, 3 (one is broken) and 2 images


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_an_unreadable_image_is_told_and_the_others_are_answered(model, tmp_path, batch_size):
    good = arrays(3)
    images = [tmp_path / "gone.png", good[0], b"broken", good[1], good[2], np.zeros((5, 7, 2), np.uint8)]
    answers = Predictor(model, batch_size=batch_size)(images)
    for i, wanted in ((0, "gone.png does not exist"), (2, "the data is not an image"), (5, "shape (5, 7, 2)")):
        assert wanted in answers[i].error
        assert answers[i].value is None
    for i, image in ((1, good[0]), (3, good[1]), (4, good[2])):
        same(answers[i], Predictor(model)([image])[0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_told_and_the_others_are_answered(model, tmp_path, value):
    good, bad = arrays(1)[0], np.full((37, 43, 3), 0.5, np.float32)
    bad[5, 7, 1] = value
    Image.fromarray(bad[:, :, 1]).save(tmp_path / "bad.tif")
    answers = Predictor(model)([good, bad, tmp_path / "bad.tif", good])
    assert [answer.value is None for answer in answers] == [False, True, True, False]
    assert answers[1].error == "a float array must hold values in 0..1; scale it, or give uint8"
    assert answers[2].error.endswith("bad.tif is damaged: some pixels are NaN or infinite, give them a value first")


def test_no_image_is_no_answer(model):
    assert Predictor(model)([]) == []


def test_answers_come_as_soon_as_their_batch_is_done(model):
    taken = []

    def source():
        for i, image in enumerate(arrays(7)):
            taken.append(i)
            yield image

    stream = Predictor(model, batch_size=2).stream(source())
    assert [next(stream).name for _ in range(3)] == ["image 0", "image 1", "image 2"]
    assert taken == [0, 1, 2, 3]


@pytest.mark.parametrize(("top_k", "given"), [(1, 1), (2, 2), (3, 3), (50, 3)])
def test_top_k_is_at_most_the_number_of_classes(model, top_k, given):
    (answer,) = Predictor(model, settings={"top_k": top_k})(arrays(1))
    (whole,) = Predictor(model)(arrays(1))
    assert classes(answer) == classes(whole)[:given]


def test_a_file_brings_weights_names_and_preprocessing(model, tmp_path):
    model.save(tmp_path / "model.safetensors")
    for path in (tmp_path / "model.safetensors", str(tmp_path / "model.safetensors")):
        predictor = Predictor(path)
        assert predictor.class_names == NAMES
        for answer, wanted in zip(predictor(arrays(3)), Predictor(model)(arrays(3)), strict=True):
            same(answer, wanted)


def test_classes_without_names_are_numbered():
    (answer,) = Predictor(tiny(class_names=None))(arrays(1))
    assert sorted(name for name, _ in classes(answer)) == ["class 0", "class 1", "class 2"]


def test_a_network_in_training_mode_still_answers_the_same(model):
    same(Predictor(model.train())(arrays(1))[0], Predictor(model.train())(arrays(1))[0])


def test_numbers_below_1_are_refused(model):
    with pytest.raises(MaxViTError, match=r"batch_size is 0; it takes whole numbers from 1 up"):
        Predictor(model, batch_size=0)
    with pytest.raises(MaxViTError, match=r"task\.top_k is 0: input should be greater than or equal to 1"):
        Predictor(model, settings={"top_k": 0})


def test_a_network_without_classifier_is_refused():
    with pytest.raises(MaxViTError, match="no classifier"):
        Predictor(tiny(num_classes=0, class_names=None))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MaxViTError, match=r"gone\.safetensors does not exist"):
        Predictor(tmp_path / "gone.safetensors")


def test_preprocess_gives_a_batch_of_one_as_the_weights_expect(model):
    image = arrays(5)[4]
    tensor = preprocess(model, image)
    assert tensor.shape == (1, 3, 32, 41)
    assert torch.equal(tensor[0], preprocess_one(model.preprocessing, image))
    assert not torch.equal(tensor[0], preprocess_one(Preprocessing(image_size=(32, 41)), image))  # not the default's
    with torch.inference_mode():
        probabilities = model.eval()(tensor)[0].softmax(-1)
    (answer,) = Predictor(model)([image])
    assert classes(answer)[0][1] == pytest.approx(float(probabilities.max()), rel=1e-5)


def test_one_image_needs_no_list(tmp_path):
    predictor, pixels = Predictor(tiny()), np.random.default_rng(0).integers(0, 256, (37, 41, 3), dtype=np.uint8)
    assert classes(predictor(pixels)[0]) == classes(predictor([pixels])[0])
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert [p.name for p in predictor(str(tmp_path / "a.png"))] == [str(tmp_path / "a.png")]


def answering(*probabilities, **config):
    """A multi-label network that gives these probabilities to every image."""
    model = tiny(len(probabilities), NAMES[: len(probabilities)])
    model.config = dataclasses.replace(model.config, multi_label=True, **config)
    nn.init.zeros_(model.head.classifier.weight)
    model.head.classifier.bias.data = torch.tensor(probabilities).logit()
    return model


@pytest.mark.parametrize(
    ("probabilities", "config", "sentence"),
    [
        ((0.97, 0.5), {}, "ant 97.0%, bee 50.0%"),
        ((0.97, 0.5), {"threshold": 0.6}, "ant 97.0%"),
        ((0.02, 0.04), {}, "none (highest: bee 4.0%)"),
        ((0.04,), {}, "none (highest: ant 4.0%)"),
    ],
)
def test_a_multi_label_network_answers_each_class_by_itself(probabilities, config, sentence):
    (answer,) = Predictor(answering(*probabilities, **config))(arrays(1))
    assert answer.summary == sentence
    assert [p for _, p in classes(answer)] == pytest.approx(sorted(probabilities, reverse=True))


def test_top_k_cuts_off_no_class_that_is_answered():
    (answer,) = Predictor(answering(0.6, 0.1, 0.7), settings={"top_k": 1})(arrays(1))
    assert [name for name, _ in classes(answer)] == ["cat", "ant"]
    assert [one["predicted"] for one in answer.to_json()["classes"]] == [True, True]


def test_one_class_of_many_names_the_most_probable_ones(model):
    (answer,) = Predictor(model, settings={"top_k": 2})(arrays(1))
    assert "predicted" not in answer.to_json()["classes"][0]
    assert answer.summary == ", ".join(f"{name} {p:.1%}" for name, p in classes(answer))


@pytest.mark.parametrize("images", ["p.png", ["p.png"]])
def test_predict_says_what_takes_paths(images):
    with pytest.raises(MaxViTError, match="a str was given; predict takes a list of what prepare gives: call"):
        Predictor(tiny()).predict(images)
