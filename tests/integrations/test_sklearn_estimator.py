"""`MaxViTClassifier` behaves as scikit-learn's classifiers do, and answers as `maxvit.Predictor`."""

import csv
import io
import runpy
import sys

import joblib
import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks

from maxvit import MaxViTClassifier, MaxViTError, Predictor, create_model
from maxvit.data.images import decode
from maxvit.integrations import sklearn as integration
from maxvit.training.run import Outcome

Y = np.array(["10", "2"] * 6)
COLOURS = np.where((Y == "2")[:, None, None, None], (200, 50, 40), (40, 60, 200))
X = (COLOURS + np.random.default_rng(0).integers(-30, 31, (12, 37, 29, 3))).astype(np.uint8)
SMALL = {
    "model": "maxvit_micro",
    "scratch": True,
    "epochs": 1,
    "batch_size": 4,
    "image_size": 32,
    "settings": ["task.augmentation=none", "model.depths=[1, 1, 1, 1]", "model.kernels=none"],
    "random_state": 0,
    "device": "cpu",
}


def learn_nothing(patch):
    """In place of `maxvit.train`: what it is called with, and the list that it is given."""
    calls, network = [], create_model("maxvit_micro", num_classes=2, depths=(1, 1, 1, 1)).eval()

    def train(table, *, out, **given):
        rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
        calls.append((given, rows, [decoded(row["path"]) for row in rows]))
        network.class_names = sorted({row["label"] for row in rows}, reverse=True)
        return Outcome(out, True, [], None)

    patch.setattr(integration, "train", train)
    patch.setattr(integration, "load", lambda best: network)
    return calls


@pytest.fixture
def calls(monkeypatch):
    return learn_nothing(monkeypatch)


@pytest.fixture(scope="module")
def fitted():
    with pytest.MonkeyPatch.context() as patch:
        learn_nothing(patch)
        return MaxViTClassifier(**SMALL).fit(X, Y)


def decoded(path):
    return np.load(path) if path.endswith(".npy") else np.asarray(decode(path))


def test_answers_are_those_of_the_predictor_in_the_order_of_the_classes(fitted):
    assert fitted.classes_.tolist() == ["10", "2"]
    assert fitted.network_.class_names == ["2", "10"]
    expected = np.stack([one.value.numpy() for one in Predictor(fitted.network_)(list(X))])[:, ::-1]
    found = fitted.predict_proba(X)
    assert np.array_equal(found, expected)
    assert found.dtype == np.float64
    assert np.array_equal(fitted.predict(X), fitted.classes_[expected.argmax(1)])
    assert fitted.score(X, Y) == (fitted.predict(X) == Y).mean()


def test_pickle_answers_as_the_estimator(fitted):
    file = io.BytesIO()
    joblib.dump(fitted, file)
    assert np.array_equal(joblib.load(file).predict_proba(X), fitted.predict_proba(X))


def test_every_form_of_an_image_gets_the_same_answer(fitted, tmp_path):
    pictures = [Image.fromarray(pixels) for pixels in X]
    paths = [tmp_path / f"a, {i}.png" for i in range(len(X))]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    texts = [str(path) for path in paths]
    expected = fitted.predict_proba(X)
    for same in (list(X), pictures, paths, texts, np.array(texts), np.array(texts, object)):
        assert np.array_equal(fitted.predict_proba(same), expected)
    grey = X[..., 0]
    assert np.array_equal(fitted.predict_proba(grey), fitted.predict_proba(grey[..., None].repeat(3, 3)))


def test_training_sees_the_pixels_that_were_given(calls, tmp_path):
    deep = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 15
    turned = Image.fromarray(X[0])
    turned.getexif()[274] = 6  # to be seen on its side
    Image.fromarray(X[1]).save(tmp_path / "a.png")
    given = [X[2], turned, Image.fromarray(deep), tmp_path / "a.png", str(tmp_path / "a.png")]
    MaxViTClassifier().fit(given, [1, 2, 2, 1, 1])
    seen = calls[0][2]
    for one, expected in zip(seen, [X[2], np.rot90(X[0], -1), deep, X[1], X[1]], strict=True):
        assert np.array_equal(one, expected)
    rows = calls[0][1]
    assert [row["label"] for row in rows] == ["1", "2", "2", "1", "1"]
    assert len({row["path"] for row in rows}) == len(rows)  # a list names an image once


def test_every_parameter_reaches_training(calls):
    given = {
        "model": "maxvit_tiny", "recipe": "folder", "minutes": 3.0, "preset": "best", "scratch": True, "epochs": 7,
        "batch_size": 5, "learning_rate": 0.1, "image_size": (64, 96), "device": "cpu",
    }  # fmt: skip
    own = {"val_fraction": 0.4, "settings": ["task.mixup=0.1"], "random_state": 11, "verbose": True}
    estimator = MaxViTClassifier(**given, **own)
    assert set(estimator.get_params()) == {*given, *own}
    estimator.fit(X, Y)
    expected = ["seed=11", "data.max_unreadable_fraction=0", "data.val_fraction=0.4", "task.mixup=0.1"]
    rest = {"task": "classification", "settings": expected, "show_progress": True}
    assert calls[0][0] == {**given, **rest}


@pytest.mark.parametrize(("seed", "same"), [(None, False), (np.random.RandomState(3), False), (np.int64(3), True)])
def test_random_state_is_a_seed_as_elsewhere_in_scikit_learn(calls, seed, same):
    for _ in range(2):
        MaxViTClassifier(random_state=seed).fit(X, Y)
    first, second = (given["settings"][0] for given, *_ in calls)
    assert (first == second) is same


def test_model_selection_works_on_it(calls):
    def brighter(images):
        return [np.minimum(image, 250) for image in images]

    pipeline = make_pipeline(FunctionTransformer(brighter), MaxViTClassifier(random_state=0, device="cpu"))
    grid = {"maxvitclassifier__epochs": [1, 2], "maxvitclassifier__preset": ["fast"]}
    search = GridSearchCV(pipeline, grid, cv=2, scoring="neg_log_loss").fit(X, Y)
    assert [given["epochs"] for given, *_ in calls][:4] == [1, 1, 2, 2]
    assert search.predict(list(X)).shape == Y.shape
    assert len(cross_val_score(clone(pipeline), [Image.fromarray(x) for x in X], Y == "2", cv=2)) == 2
    assert all(given["preset"] == "good" for given, *_ in calls[5:])


@pytest.mark.full
def test_it_learns_and_with_the_same_seed_the_same():
    estimator = MaxViTClassifier(model="maxvit_micro", preset="fast", image_size=32, random_state=0, device="cpu")
    scores = cross_val_score(make_pipeline(estimator), list(X), Y == "2", cv=2)
    assert scores.tolist() == [1.0, 1.0]
    first, second = (clone(estimator).fit(X, Y) for _ in range(2))
    assert np.array_equal(first.predict_proba(X), second.predict_proba(X))
    assert first.score(X, Y) == 1.0
    assert first.network_.class_names != first.classes_.tolist()  # a list of integers has another order than text


@pytest.mark.parametrize(
    "check",
    [
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_estimator_tags_renamed",
        "check_get_params_invariance",
        "check_mixin_order",
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_set_params",
        "check_valid_tag_types",
    ],
)
def test_check_of_scikit_learn_passes(check):
    """Those that hand no rows of numbers to `fit`, which are no images; `check_estimator` leaves the others out too."""
    getattr(estimator_checks, check)("MaxViTClassifier", MaxViTClassifier())


@pytest.mark.parametrize(
    ("images", "y", "says"),
    [
        ("cat.jpg", [1], "X is one str, and takes several images: put it into a list"),
        (["cat.jpg"], [1], r"X\[0\] is 'cat.jpg', which is not a file"),
        ([], [], "X holds no image"),
        ([1, 2], [1, 2], r"X\[0\] is a int; X takes paths, PIL images"),
        (7, [1], "X is a int; it takes paths"),
        (X[0], [1], r"X has shape \(37, 29, 3\), which looks like one image: give X\[None\]"),
        (X.transpose(0, 3, 1, 2), Y, r"looks like \(N, C, H, W\): give X.transpose\(0, 2, 3, 1\)"),
        (np.zeros((12, 64)), Y, r"X is an array of float64 with shape \(12, 64\); .* reshape rows of pixels"),
        (X, None, "requires y to be passed, but the target y is None"),
        (X, ["a"] * 12, "y has one class only, 'a'"),
        (X, ["a", "a "] * 6, "classes of y cannot be told apart by name"),
        (X, np.linspace(0, 1, 12), "Unknown label type: continuous"),
        (X, Y[:5], "inconsistent numbers of samples"),
        (X[:3], ["a", "a", "b"], "class 'b' has a single image"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_what_cannot_be_learned_from_is_answered_in_words(images, y, says):
    with pytest.raises(ValueError, match=says):
        MaxViTClassifier(**SMALL).fit(images, y)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "maxvit_huge"}, "maxvit_huge"),
        ({"preset": "quick"}, "preset"),
        ({"val_fraction": 2}, "data.val_fraction is 2"),
        ({"settings": "task.mixup=1"}, "settings is 'task.mixup=1'; it takes a list"),
        ({"device": "tpu"}, "the device is 'tpu'"),
    ],
    ids=str,
)
def test_parameter_that_means_nothing_is_refused_by_fit(change, says):
    with pytest.raises(MaxViTError, match=says):
        MaxViTClassifier(**{**SMALL, **change}).fit(X, Y)


def test_image_that_cannot_be_read_is_named(fitted, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"nothing")
    with pytest.raises(MaxViTError, match=r"X\[1\]: .*a.jpg is "):
        fitted.predict([X[0], tmp_path / "a.jpg"])
    with pytest.raises(MaxViTError, match=r"cannot be read"):
        MaxViTClassifier(**SMALL).fit([*X, tmp_path / "a.jpg"], [*Y, "2"])


def test_interrupted_training_is_an_interruption(monkeypatch):
    monkeypatch.setattr(integration, "train", lambda *_, out, **__: Outcome(out, False, [], 2))
    with pytest.raises(KeyboardInterrupt, match="stopped by signal 2"):
        MaxViTClassifier().fit(X, Y)


def test_public_name_is_there_without_scikit_learn_and_says_what_it_needs(monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.setitem(sys.modules, module, None)
    without = runpy.run_path(integration.__file__)["MaxViTClassifier"]
    with pytest.raises(MaxViTError, match=r"needs sklearn, .*: pip install 'maxvit\[train\]'"):
        without().fit(X, Y)


def test_estimator_that_has_not_learned_says_so():
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        MaxViTClassifier().predict(X)
