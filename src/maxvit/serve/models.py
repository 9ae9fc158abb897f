"""A network as the server asks it, whatever its task."""

from collections.abc import Callable
from concurrent.futures import Executor

import torch
from PIL import Image
from torch import Tensor

from maxvit.config import variant_name
from maxvit.data.bands import Picture, show
from maxvit.errors import MaxViTError
from maxvit.explain.draw import data_uri
from maxvit.inference.predictor import Predictor, Prepared
from maxvit.search.embedder import search_features
from maxvit.search.index import ImageIndex
from maxvit.serve.batching import Batcher
from maxvit.serve.limits import Limits, Refusal
from maxvit.serve.schemas import Embedded, ModelDetail, Predicted
from maxvit.serve.uploads import Upload, decode_sent
from maxvit.tasks.protocols import Predicted as Value
from maxvit.tasks.task import Task

LONGEST = 1024  # pixels of a picture's longer side; PNG files of photographs would be many times the photographs
MOST_ENLARGED = 16  # pixels for the network, of those of a usual image: a line of pixels must not fill the memory


class ServedModel:
    """One of the networks of a server.

    Args:
        name: For clients.
        predictor: Predictor of any task.
        limits: Limits of the server.
        executor: The thread that computes.
        done: As for `Batcher`.
        index: Of pictures, made by this network; None: there is none.

    Raises:
        MaxViTError: If its task is not served, or its networks want an image of more than 8 bits decoded in several
            ways.

    Attributes:
        task: What it predicts.
        batcher: Computes what is asked for: "predict", "embed" or "search".
    """

    def __init__(
        self,
        name: str,
        predictor: Predictor,
        limits: Limits,
        executor: Executor,
        done: Callable[..., object],
        index: ImageIndex | None = None,
    ) -> None:
        self.name, self.predictor, self.task, self._limits = name, predictor, predictor.task, limits
        self.preprocessing, self.index = predictor.preprocessing, index
        if self.task.no_answer:
            raise MaxViTError(
                f"{self.task.name} is not served: {self.task.no_answer}; train another task from it (--model RUN), and "
                "serve that"
            )
        if len({spec.value_range for spec in predictor.ensemble.specs}) > 1:
            raise MaxViTError(f"the networks of {name} see other values as black and white: serve them apart")
        computes = {"predict": self.predict, "embed": self._embed, "search": self._search_features}
        self.batcher = Batcher(computes, executor, limits.max_batch, limits.max_delay_ms / 1000, done)

    def describe(self) -> ModelDetail:
        """What clients are told of it."""
        ensemble, names = self.predictor.ensemble, self.predictor.class_names
        variants = dict.fromkeys(filter(None, (variant_name(engine.config) for engine in ensemble.engines)))
        return ModelDetail(
            name=self.name,
            task=self.task.name,
            variant=", ".join(variants) or None,
            classes=len(names),
            image_size=self.preprocessing.image_size,
            engine=ensemble.name,
            tta=ensemble.tta,
            threshold=getattr(self.task.settings, "threshold", None),
            searched=None if self.index is None else len(self.index),
            class_names=names,
        )

    def decode(self, data: bytes) -> Picture:
        """A file's content as an image. Raises `Refusal` as `decode_sent`."""
        return decode_sent(data, self._limits.max_pixels, self.preprocessing)

    def prepare(self, image: Picture) -> Prepared:
        """The image as the network takes it. Raises `Refusal` (422) if it is far too long for its width."""
        usual = self.preprocessing.image_size
        wanted = self.task.prepared_size(self.preprocessing, (image.height, image.width))
        if wanted[0] * wanted[1] > MOST_ENLARGED * usual[0] * usual[1]:
            raise Refusal(
                422,
                f"the image has {image.width} x {image.height} pixels and would get {wanted[1]} x {wanted[0]}; at most"
                f" {MOST_ENLARGED} times {usual[1]} x {usual[0]} are taken: cut it into pieces",
            )
        return self.predictor.prepare(image)

    def predict(self, items: list[Prepared]) -> list[Value]:
        """What the network says of images of one shape."""
        return self.predictor.predict(items)

    def _embed(self, items: list[Prepared]) -> list[Tensor]:
        engine, images = self.predictor.engine, torch.stack([item.images[0] for item in items])
        parts = engine.portions(lambda part: engine.with_embeddings(images[part])[1], images)
        return list(torch.cat(list(parts)))

    def _search_features(self, items: list[Prepared]) -> list[Tensor]:
        return list(search_features(self.predictor.engine, torch.stack([item.images[0] for item in items])))

    def tell(self, task: Task, picture: bool, upload: Upload, value: Value) -> Predicted:
        """A prediction as it goes over the wire.

        Args:
            task: With the settings of the request.
            picture: Whether it is drawn over the image, which is decoded again: so as many images are in memory as
                there are threads that decode.
            upload: The image.
            value: What the network says of it.
        """
        names = self.predictor.class_names
        told = Predicted(image=upload.name, prediction=task.to_json(value, names), summary=task.summary(value, names))
        if picture:
            drawn = task.draw_prediction(show(self.decode(upload.data), self.preprocessing), value, names)
            drawn.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
            told.picture = data_uri(drawn)
        return told


def tell_embedding(upload: Upload, row: Tensor) -> Embedded:
    """An embedding as it goes over the wire."""
    return Embedded(image=upload.name, embedding=row.tolist())
