"""Batches of images to classify, as training and evaluation make them."""

from torch.utils.data import DataLoader

from maxvit.config import Preprocessing
from maxvit.data.dataset import LabelledImages
from maxvit.data.loading import Batch, evaluation_batches, training_batches
from maxvit.data.sampling import Share
from maxvit.tasks.classification import Classification, ClassificationSettings
from maxvit.tasks.examples import TaskExamples


def training_loader(
    images: LabelledImages,
    spec: Preprocessing,
    augmentation: str,
    batch_size: int,
    workers: int,
    seed: int,
    share: Share | None = None,
    keep: int = 0,
) -> DataLoader[Batch]:
    task = Classification(ClassificationSettings(augmentation=augmentation))
    return training_batches(TaskExamples(task, images, spec, keep=keep), batch_size, workers, seed, share)


def evaluation_loader(
    images: LabelledImages, spec: Preprocessing, batch_size: int, workers: int = 0, rank: int = 0, world: int = 1
) -> DataLoader[Batch]:
    task = Classification(ClassificationSettings())
    return evaluation_batches(TaskExamples(task, images, spec), batch_size, workers, rank, world)
