"""The figures of an evaluation, against values by hand and scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn import metrics

from maxvit.config import MaxViTConfig, Preprocessing
from maxvit.data.labelled import LabelledImages
from maxvit.errors import MaxViTError
from maxvit.inference.evaluate import Evaluation, evaluate
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


def answers(labels, probabilities, class_names=NAMES):
    labels, probabilities = np.array(labels), np.array(probabilities, np.float32)
    return Evaluation(class_names, labels, probabilities, np.arange(len(labels)), [])


@pytest.fixture
def by_hand():
    """Right, right, wrong, wrong; the true class of the last comes last."""
    rows = [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.4, 0.1], [0.8, 0.15, 0.05]]
    return answers([0, 1, 1, 2], rows)


def random_answers(n=211, classes=5):
    random = np.random.default_rng(0)
    labels = random.integers(0, classes - 1, n)  # the last class has no image
    scores = random.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]
    return answers(labels, np.exp(scores) / np.exp(scores).sum(1, keepdims=True), list("abcde"))


def test_the_figures_are_those_by_hand(by_hand):
    assert by_hand.predictions.tolist() == [0, 1, 0, 0]
    assert by_hand.accuracy == 0.5
    assert [by_hand.top_k_accuracy(k) for k in (1, 2, 3, 5)] == [0.5, 0.75, 1.0, 1.0]
    assert by_hand.loss == pytest.approx(-np.log(0.7 * 0.6 * 0.4 * 0.05) / 4)
    assert by_hand.confusion.tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 0]]  # rows are the truth
    assert by_hand.per_class() == [
        {"name": "ant", "images": 1, "precision": 1 / 3, "recall": 1.0, "f1": 0.5},
        {"name": "bee", "images": 2, "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)},
        {"name": "cat", "images": 1, "precision": 0.0, "recall": 0.0, "f1": 0.0},
    ]


def test_mistakes_come_with_the_most_confident_first(by_hand):
    assert by_hand.mistakes() == [3, 2]


def test_the_figures_are_those_of_scikit_learn():
    found = random_answers()
    labels, probabilities, classes = found.labels, found.probabilities.astype(np.float64), range(5)
    assert found.accuracy == metrics.accuracy_score(labels, found.predictions)
    assert np.array_equal(found.confusion, metrics.confusion_matrix(labels, found.predictions, labels=classes))
    probabilities /= probabilities.sum(1, keepdims=True)
    assert found.loss == pytest.approx(metrics.log_loss(labels, probabilities, labels=classes), rel=1e-5)
    for k in (1, 2, 3):
        wanted = metrics.top_k_accuracy_score(labels, probabilities, k=k, labels=classes)
        assert found.top_k_accuracy(k) == pytest.approx(wanted)
    wanted = metrics.precision_recall_fscore_support(labels, found.predictions, labels=classes, zero_division=0)
    rows = [(row["precision"], row["recall"], row["f1"], row["images"]) for row in found.per_class()]
    np.testing.assert_allclose(rows, np.transpose(wanted))


def test_a_certain_mistake_has_a_finite_loss():
    assert answers([0], [[0.0, 1.0, 0.0]]).loss == pytest.approx(-np.log(1e-12))


def with_accuracy(right, n):
    return answers([0] * right + [1] * (n - right), [[1.0, 0.0, 0.0]] * n)


@pytest.mark.parametrize(("right", "n"), [(81, 263), (15, 148), (0, 20), (1, 29), (29, 29), (353, 360)])
def test_the_interval_is_wilson_s(right, n):
    """Both ends solve (share - p)^2 = z^2 p (1 - p) / n, the definition, whose closed form the code has."""
    low, high = with_accuracy(right, n).interval
    roots = np.roots([1 + 1.959964**2 / n, -(2 * right / n + 1.959964**2 / n), (right / n) ** 2])
    assert (low, high) == pytest.approx(tuple(sorted(roots.real)), abs=1e-7)


@pytest.mark.parametrize(
    ("right", "n", "published"), [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611))]
)
def test_the_interval_is_the_published_one(right, n, published):
    """Newcombe 1998, Statistics in Medicine 17, Table I, method 3 (score, no continuity correction)."""
    assert with_accuracy(right, n).interval == pytest.approx(published, abs=5e-5)


def test_the_interval_stays_within_0_and_1():
    for n in range(1, 100):
        assert 0.0 <= with_accuracy(0, n).interval[0] < 1e-12  # a page would print -0.0 %
        assert 1.0 >= with_accuracy(n, n).interval[1] > 1 - 1e-12


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
    assert found.skipped == [f"{i}: the data is not an image that can be read" for i in (0, 1, 2, 4)]


def test_no_readable_image_at_all_is_an_error():
    model = tiny().train()
    with pytest.raises(MaxViTError, match=r"none of the 3 images can be read; the first: 0: the data is not"):
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
