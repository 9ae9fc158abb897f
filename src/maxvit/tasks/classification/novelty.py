"""What a trained classifier learns of its images, to say of others that they are none of the classes."""

from collections.abc import Callable
from math import ceil

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maxvit.data.dataset import LabelledImages
from maxvit.data.loading import evaluation_batches
from maxvit.errors import MaxViTError
from maxvit.layers.modes import evaluating
from maxvit.layers.novelty import Novelty, pooled_maps
from maxvit.model import MaxViT
from maxvit.tasks.classification.single_label import true_classes
from maxvit.tasks.examples import TaskExamples
from maxvit.tasks.task import Task

REFUSED = 0.05  # share of the validation images that count as none of the classes
MOST = 20_000  # training images to learn from, evenly from all
Floats = npt.NDArray[np.float64]


def fit_novelty(
    network: MaxViT,
    task: Task,
    train: LabelledImages,
    val: LabelledImages,
    workers: int = 0,
    between: Callable[[], None] = lambda: None,
) -> str:
    """Give a trained network its `Novelty`, unless there are too few images.

    Class means and the covariance around them come from the training images, as evaluation prepares them. The limit is
    the distance that the share `REFUSED` of the validation images exceeds.

    Args:
        network: It is changed.
        task: What it has learned.
        train: Images with the labels of the task.
        val: Other images, which it has not learned from.
        workers: Processes that decode.
        between: Called between batches; what it raises ends the fitting, and the network is as it was.

    Returns:
        What was found, as a sentence.
    """
    needed = ceil(1 / REFUSED) - 1  # with one image more, the limit is one of their distances
    without = "predictions cannot say 'none of these', which takes"
    if len(val) < needed:
        return f"{without} {needed} validation images: there are {len(val):,}"
    if len(train) <= len(train.class_names):
        return f"{without} more training images than classes: there are {len(train):,} of {len(train.class_names):,}"
    every = np.linspace(0, len(train) - 1, min(MOST, len(train))).round().astype(int).tolist()
    features, labels = _describe(network, task, train.subset(every), workers, between)
    others, _ = _describe(network, task, val, workers, between)
    mean, whitening, centres = fit_gaussians(features, labels, 1 if labels is None else len(train.class_names))
    found = Novelty(len(mean), len(centres))
    for name, values in (("mean", mean), ("whitening", whitening), ("centres", centres)):
        setattr(found, name, torch.as_tensor(values, dtype=torch.float32))
    distances = np.sort(found(torch.as_tensor(others, dtype=torch.float32)).double().numpy())
    limit = float(distances[ceil((len(others) + 1) * (1 - REFUSED) - 1e-9) - 1])
    found.whitening, found.centres = found.whitening / limit, found.centres / limit
    network.set_novelty(found.to(network.any_weight()))
    return (
        f"predictions can say 'none of these', learned from {len(features):,} training images; of images like the "
        f"{len(others):,} of validation, {REFUSED:.0%} are called so"
    )


def fit_gaussians(
    features: Floats, labels: npt.NDArray[np.int64] | None, centres: int
) -> tuple[Floats, Floats, Floats]:
    """One Gaussian for each class, all with the same covariance.

    Args:
        features: (n, D).
        labels: (n,), a class each; None: all are of one.
        centres: Classes. One that no image has is put where another is.

    Returns:
        The mean of all (D,), what makes the covariance the identity (D, D), and the whitened class means (centres, D):
        the distance of x to a class is |(x - mean) @ whitening - centre|.

    Reference: the covariance is shrunk as by Ledoit and Wolf, "A well-conditioned estimator for large-dimensional
    covariance matrices" (2004), lemma 3.1 to 3.4, each feature first divided by its deviation within the classes.
    """
    of = np.zeros(len(features), np.int64) if labels is None else labels
    present = np.unique(of)
    means = np.array([features[of == (c if c in present else present[0])].mean(0) for c in range(centres)])
    rest = features - means[of]
    deviation = np.sqrt((rest**2).mean(0))
    deviation = np.maximum(deviation, max(1e-6 * deviation.max(), 1e-12))
    rest /= deviation
    n, width = rest.shape
    covariance, identity = rest.T @ rest / n, np.eye(width)
    size = np.trace(covariance) / width
    from_identity = ((covariance - size * identity) ** 2).sum()
    noise = (((rest**2).sum(1) ** 2).mean() - (covariance**2).sum()) / n
    share = 1.0 if from_identity <= noise else noise / from_identity
    shrunk = (1 - share) * covariance + share * max(size, 1e-12) * identity
    whitening = np.linalg.cholesky(np.linalg.inv(shrunk)) / deviation[:, None]
    mean = features.mean(0)
    return mean, whitening, (means - mean) @ whitening


@torch.inference_mode()
def _describe(
    network: MaxViT, task: Task, images: LabelledImages, workers: int, between: Callable[[], None]
) -> tuple[Floats, npt.NDArray[np.int64] | None]:
    """Pooled maps of images (n, D), and their classes (n,); None where they have any number of them.

    Raises:
        MaxViTError: If none can be read.
    """
    like, found = network.any_weight(), list[Tensor]()
    labels: list[npt.NDArray[np.int64]] | None = []
    examples = TaskExamples(task, images, network.preprocessing)
    with evaluating(network):
        for batch in evaluation_batches(examples, task.batch_size, workers):
            between()
            if not len(batch.targets):
                continue
            found.append(pooled_maps(network.forward_pyramid(batch.images.to(like))).double().cpu())
            if batch.targets[0].dtype == torch.bool:
                labels = None
            if labels is not None:
                labels.append(true_classes(list(batch.targets)))
    if not found:
        raise MaxViTError(
            f"none of {len(images):,} images can be read any more, the first is {images.names[0]}: restore them, then "
            "go on with --resume"
        )
    return torch.cat(found).numpy(), None if labels is None else np.concatenate(labels)
