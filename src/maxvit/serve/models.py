"""Networks as the server asks them: classifiers, and those of other tasks."""

from base64 import b64encode
from io import BytesIO
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from maxvit.config import Size, variant_name
from maxvit.inference.answering import TaskPredictor
from maxvit.inference.predictor import Predictor
from maxvit.serve.limits import Refusal
from maxvit.serve.schemas import ModelDetail, TaskPredicted
from maxvit.tasks import CLASSIFICATION
from maxvit.tasks.task import Answer

LONGEST = 1024  # pixels of a picture's longer side; PNG files of photographs would be many times the photographs
MOST_ENLARGED = 16  # pixels for the network, of those of a usual image: a line of pixels must not fill the memory


class Classifier:
    """One that names classes.

    Attributes:
        task: For clients.
        preprocessing: What its weights expect of an image.
        image_size: Usual.
        computes: What can be asked for, as `Batcher` takes it.
    """

    task = CLASSIFICATION

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.preprocessing = predictor, predictor.engine.preprocessing
        self.image_size = self.preprocessing.image_size
        self.computes = {"predict": self._probabilities, "embed": self._embeddings}

    def prepare(self, image: Image.Image) -> Tensor:
        """The image as the network takes it, (C, H, W)."""
        return self.predictor.prepare(image)

    def describe(self, name: str) -> ModelDetail:
        """What clients are told of it."""
        engine, names = self.predictor.engine, self.predictor.class_names
        return ModelDetail(
            name=name,
            task=self.task,
            variant=variant_name(engine.config),
            classes=engine.config.num_classes,
            image_size=self.image_size,
            engine=engine.name,
            threshold=engine.config.threshold if engine.config.multi_label else None,
            class_names=names,
        )

    def _probabilities(self, images: list[Tensor]) -> list[Tensor]:
        return list(self.predictor.probabilities(torch.stack(images)))

    def _embeddings(self, images: list[Tensor]) -> list[Tensor]:
        return list(self.predictor.engine.embed(torch.stack(images)))


class Prepared(NamedTuple):
    """An image as a task's network takes it, (C, H, W), and its size as decoded, in whose pixels the answer is."""

    image: Tensor
    size: Size

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""
        return self.image.shape


class OtherTask:
    """One that answers in the form of its task. Attributes as `Classifier`."""

    def __init__(self, predictor: TaskPredictor) -> None:
        self.predictor, self.task = predictor, predictor.task.name
        self.preprocessing, self.image_size = predictor.preprocessing, predictor.preprocessing.image_size
        self.computes = {"predict": self._answers}

    def prepare(self, image: Image.Image) -> Prepared:
        """The image as the network takes it. Raises `Refusal` (422) if it is far too long for its width."""
        wanted = self.predictor.task.prepared_size(self.predictor.preprocessing, (image.height, image.width))
        usual = self.image_size
        if wanted[0] * wanted[1] > MOST_ENLARGED * usual[0] * usual[1]:
            raise Refusal(
                422,
                f"the image has {image.width} x {image.height} pixels and would get {wanted[1]} x {wanted[0]}; at most"
                f" {MOST_ENLARGED} times {usual[1]} x {usual[0]} are taken: cut it into pieces",
            )
        return Prepared(*self.predictor.prepare(image))

    def describe(self, name: str) -> ModelDetail:
        """What clients are told of it."""
        names = self.predictor.class_names
        return ModelDetail(
            name=name,
            task=self.task,
            variant=variant_name(self.predictor.network.config),
            classes=len(names),
            image_size=self.image_size,
            engine=self.predictor.name,
            class_names=names,
        )

    def tell(self, name: str, answer: Answer, image: Image.Image | None) -> TaskPredicted:
        """An answer as it goes over the wire.

        Args:
            name: Of the image.
            answer: What the network says of it.
            image: To draw it over, as decoded; None: without a picture.
        """
        task, names = self.predictor.task, self.predictor.class_names
        said, sentence = task.to_json(answer, names), task.summary(answer, names)
        picture = None if image is None else _data_uri(task.draw_prediction(image, answer, names))
        return TaskPredicted(image=name, answer=said, sentence=sentence, picture=picture)

    def _answers(self, items: list[Prepared]) -> list[Answer]:
        return self.predictor.answers(torch.stack([item.image for item in items]), [item.size for item in items])


def _data_uri(picture: Image.Image) -> str:
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + b64encode(buffer.getvalue()).decode("ascii")
