"""A classifier of images for scikit-learn: `maxvit.train` and `maxvit.Predictor` behind `fit` and `predict`."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maxvit.config import Size
from maxvit.errors import MaxViTError, require
from maxvit.inference.device import choose_device
from maxvit.inference.predictor import Predictor
from maxvit.integrations.sklearn_inputs import class_names, images_of, write_list
from maxvit.tasks import DEFAULT, load
from maxvit.tasks.network import Network
from maxvit.training.train import train

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
except ImportError:  # the class is there all the same, for those who look at the public names, and `fit` says it

    class BaseEstimator:  # type: ignore[no-redef]
        """In place of scikit-learn's."""

    class ClassifierMixin:  # type: ignore[no-redef]
        """In place of scikit-learn's."""


STRICT = ["data.max_unreadable_fraction=0"]  # an estimator answers for every image that it is given


class MaxViTClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Learn to classify images, in scikit-learn's way.

    X holds images: paths, PIL images or arrays (H, W) or (H, W, 3) in a list; or one array (N, H, W) or (N, H, W, 3).
    Numbers are uint8, uint16, or floating point from 0 to 1. y holds a class for each: text, whole numbers or bool.

    A part of the images that `fit` is given, of each class in proportion, chooses the best epoch.

    Args:
        model: A variant such as "maxvit_tiny"; or a run or a checkpoint to start from; None: what `maxvit.train` takes.
        recipe: A name of `maxvit list --recipes`, or a YAML file; None: the usual one.
        minutes: For `fit`: training is planned so, from measured speed; None: as long as it takes.
        preset: "fast", "good" or "best", as `maxvit.train` has them.
        scratch: Start from random weights.
        epochs: Times that each image is seen; None, here and below: the recipe's.
        batch_size: Images of one update.
        learning_rate: Its peak.
        image_size: A side in pixels, or (height, width).
        val_fraction: Share of the images that chooses the best epoch, above 0 and below 1.
        settings: Each "section.key=value", as of `maxvit train --set`, which has the last word.
        random_state: Seed: a whole number, a `numpy.random.RandomState`, or None: another one each time.
        device: Where to compute: "auto", "cpu", "cuda", "cuda:N" or "mps".
        verbose: Show how training goes, on standard error.

    Attributes:
        classes_: The classes of y, sorted.
        network_: The trained network, which `maxvit.Predictor`, `maxvit.export_model` and others take; in evaluation
            mode.
    """

    def __init__(
        self,
        *,
        model: str | Path | None = None,
        recipe: str | Path | None = None,
        minutes: float | None = None,
        preset: str = "good",
        scratch: bool = False,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        image_size: int | Size | None = None,
        val_fraction: float | None = None,
        settings: Sequence[str] = (),
        random_state: Any = None,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.minutes = minutes
        self.preset = preset
        self.scratch = scratch
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.image_size = image_size
        self.val_fraction = val_fraction
        self.settings = settings
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> "MaxViTClassifier":
        """Train a network, from the beginning.

        Args:
            X: Images, at least two of each class.
            y: Their classes (N,), two or more.

        Raises:
            MaxViTError: If X or y cannot be used, an image cannot be read, or a parameter is not allowed.
            KeyboardInterrupt: If training was interrupted.
        """
        require("the estimator", "sklearn")
        from sklearn.utils.multiclass import check_classification_targets
        from sklearn.utils.validation import check_consistent_length, column_or_1d

        images = images_of(X)
        if y is None:
            raise MaxViTError("this estimator requires y to be passed, but the target y is None")
        y = column_or_1d(y, warn=True)
        check_consistent_length(images, y)
        check_classification_targets(y)
        classes, numbers = np.unique(y, return_inverse=True)
        names = class_names(classes)
        with tempfile.TemporaryDirectory(prefix="maxvit-") as folder:
            table = write_list(images, [names[i] for i in numbers], Path(folder))
            outcome = train(
                table,
                out=Path(folder) / "run",
                task=DEFAULT,
                recipe=self.recipe,
                model=self.model,
                minutes=self.minutes,
                preset=self.preset,
                scratch=self.scratch,
                epochs=self.epochs,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                image_size=self.image_size,
                settings=self._settings(),
                device=self.device,
                show_progress=self.verbose,
            )
            if not outcome.finished:
                raise KeyboardInterrupt(f"training was stopped by signal {outcome.signal}")
            self.network_: Network = load(outcome.best)
        self.classes_ = classes
        return self

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """The probability of each class.

        Args:
            X: Images of any size.

        Returns:
            (N, classes), in the order of `classes_`.

        Raises:
            MaxViTError: If one of them cannot be read.
        """
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)
        images = images_of(X)
        predictor = Predictor(self.network_, device=choose_device(self.device))
        found = predictor(images)
        for i, one in enumerate(found):
            if one.error is not None:
                raise MaxViTError(f"X[{i}]: {one.error}")
        order = [predictor.class_names.index(name) for name in class_names(self.classes_)]
        return np.stack([np.asarray(one.value, np.float64) for one in found])[:, order]

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The most probable class of each image, (N,): as of y. Arguments and errors as of `predict_proba`."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]

    def _settings(self) -> list[str]:
        """All that `maxvit.train` takes as settings."""
        if isinstance(self.settings, str):
            raise MaxViTError(f"settings is {self.settings!r}; it takes a list of section.key=value")
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            from sklearn.utils import check_random_state

            seed = check_random_state(seed).randint(2**31)
        held_out = [] if self.val_fraction is None else [f"data.val_fraction={self.val_fraction}"]
        return [f"seed={seed}", *STRICT, *held_out, *self.settings]

    def __getstate__(self) -> dict[str, Any]:
        """For pickles, which are to be read where there is no GPU too."""
        if "network_" in vars(self):
            self.network_.cpu()
        state: dict[str, Any] = super().__getstate__()
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.non_deterministic = self.random_state is None
        return tags
