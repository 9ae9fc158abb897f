"""Our classifiers in transformers: importing this module registers them with its Auto classes.

A folder that `save_transformers` writes is one of ours too: `maxvit.load_model` reads the same files.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from maxvit import storage
from maxvit.config import MaxViTConfig, Preprocessing
from maxvit.data.images import ImageLike
from maxvit.data.transforms import preprocess
from maxvit.errors import MaxViTError, say_missing
from maxvit.inference.predictor import is_one
from maxvit.layers.initialize import initialize
from maxvit.model import MaxViT
from maxvit.tasks.classification import Classification

try:
    from transformers import (
        AutoConfig,
        AutoImageProcessor,
        AutoModelForImageClassification,
        BaseImageProcessor,
        BatchFeature,
        PreTrainedConfig,
        PreTrainedModel,
    )
    from transformers.modeling_outputs import ImageClassifierOutput
except ImportError as error:
    raise MaxViTError(f"this needs {say_missing('transformers')}") from error

PROBLEMS = ("single_label_classification", "multi_label_classification")  # the latter: `config.multi_label`
PREFIX = "network."  # of tensors in memory, not in files
CODE = "maxvit_classes"  # the module in a folder that `trust_remote_code` imports


class MaxViTWrapperConfig(PreTrainedConfig):  # type: ignore[misc]
    """What a folder says of its network: what our own files say, and transformers' labels, which have the last word.

    Attributes:
        format: "maxvit".
        config: As `MaxViTConfig.to_dict` gives it.
        preprocessing: As `Preprocessing.to_dict` gives it.
        class_names: For our own reader; `id2label` are the names here.
        provenance: Where the weights come from.
    """

    model_type = "maxvit_wrapper"

    format: str = "maxvit"
    config: dict[str, Any] | None = None
    preprocessing: dict[str, Any] | None = None
    class_names: list[str] | None = None
    provenance: dict[str, Any] | None = None

    @classmethod
    def of(cls, network: MaxViT) -> "MaxViTWrapperConfig":
        """That of a classifier."""
        names = Classification.for_config(network.config).names(network.class_names, network.config)
        return cls(
            **json.loads(json.dumps(network.metadata())),
            id2label=dict(enumerate(names)),
            label2id={name: i for i, name in enumerate(names)},
            problem_type=PROBLEMS[network.config.multi_label],
        )

    def make_network(self) -> MaxViT:
        """The network, freshly initialised."""
        network = MaxViT(self._shape(), Preprocessing.from_dict(self.preprocessing or {}), self._names())
        network.provenance = dict(self.provenance or {})
        return network

    def to_dict(self) -> dict[str, Any]:
        """The file, in which what our own reader takes follows the labels."""
        said: dict[str, Any] = super().to_dict()
        if self.config is not None:
            said |= {"config": json.loads(json.dumps(self._shape().to_dict())), "class_names": self._names()}
            said["auto_map"] = {
                "AutoConfig": f"{CODE}.{MaxViTWrapperConfig.__name__}",
                "AutoModelForImageClassification": f"{CODE}.{MaxViTWrapperForImageClassification.__name__}",
                "AutoImageProcessor": f"{CODE}.{MaxViTWrapperImageProcessor.__name__}",
            }
        return said

    def _shape(self) -> MaxViTConfig:
        """The configuration, for as many classes as there are labels."""
        if self.config is None:
            raise MaxViTError("this configuration describes no network: use one that maxvit.save_transformers wrote")
        shape = MaxViTConfig.from_dict(self.config)
        several = self.problem_type == PROBLEMS[True]
        if (self.num_labels, several) != (shape.num_classes, shape.multi_label):
            return shape.for_classes(self.num_labels, several)
        return shape

    def _names(self) -> list[str] | None:
        """The labels; None, where they are the numbers that stand for names that are not known."""
        names = [self.id2label[i] for i in range(self.num_labels)]
        unknown = any(names == [f"{word}{i}" for i in range(len(names))] for word in ("LABEL_", "class "))
        return None if unknown else names


class MaxViTWrapperForImageClassification(PreTrainedModel):  # type: ignore[misc]
    """A `MaxViT` as transformers' classifiers are called.

    Attributes:
        network: The `MaxViT`.
    """

    config_class = MaxViTWrapperConfig
    base_model_prefix = PREFIX.removesuffix(".")  # it is put before the names in a file
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False

    def __init__(self, config: MaxViTWrapperConfig) -> None:
        super().__init__(config)
        self.network = config.make_network()
        self.post_init()

    def forward(
        self, pixel_values: Tensor, labels: Tensor | None = None, return_dict: bool | None = None
    ) -> ImageClassifierOutput | tuple[Tensor, ...]:
        """Class scores, and the loss.

        Args:
            pixel_values: (B, in_channels, H, W), as the image processor gives them.
            labels: Classes (B,) int64; or multi-label, which there are, (B, classes) of 0 and 1, floating point.
            return_dict: False: a tuple; None: as the configuration says.

        Returns:
            `logits` (B, classes): those of the network over its temperature, so that their softmax, or multi-label
            their sigmoid, are the probabilities of `maxvit.Predictor`. `loss`, where there are labels.
        """
        logits = self.network(pixel_values)
        if not self.network.config.multi_label:
            logits = logits / self.network.config.temperature
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        if not (self.config.return_dict if return_dict is None else return_dict):
            return (logits,) if loss is None else (loss, logits)
        return ImageClassifierOutput(loss=loss, logits=logits)

    def save_pretrained(self, save_directory: str | Path, *, state_dict: Any = None, **options: Any) -> None:
        """Write a folder that `maxvit.load_model` reads as well; arguments are those of transformers' own method."""
        tensors = self.state_dict() if state_dict is None else state_dict
        tensors = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
        super().save_pretrained(save_directory, state_dict=tensors, **options)
        _write_code(Path(save_directory))

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        """PyTorch's own, for names of a file too, which `Trainer` reads itself."""
        named = {PREFIX + name.removeprefix(PREFIX): tensor for name, tensor in state_dict.items()}
        return super().load_state_dict(named, *args, **options)

    def _init_weights(self, module: nn.Module) -> None:
        """The hook for weights that no file has."""
        initialize(module)

    def _set_gradient_checkpointing(
        self, enable: bool = True, gradient_checkpointing_func: object = None, every_n_layers: int = 1
    ) -> None:
        """The hook of activation checkpointing; the network has a function of its own for it."""
        if every_n_layers != 1:
            raise MaxViTError(
                f"every_n_layers is {every_n_layers}; a MaxViT keeps the input of each block: leave it out"
            )
        self.network.set_gradient_checkpointing(enable)


class MaxViTWrapperImageProcessor(BaseImageProcessor):  # type: ignore[misc]
    """What a network's weights expect of an image, as `maxvit.preprocess` does it.

    Args:
        preprocessing: As `Preprocessing.to_dict` gives it.
        options: What else transformers keeps in the file.
    """

    model_input_names = ("pixel_values",)

    def __init__(self, preprocessing: dict[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self.preprocessing = preprocessing

    def preprocess(
        self, images: ImageLike | Tensor | Iterable[ImageLike | Tensor], return_tensors: str | None = "pt"
    ) -> BatchFeature:
        """Decode, crop, resize and normalise.

        Args:
            images: One image or several: what `maxvit.preprocess` takes, or a tensor (C, H, W), uint8 or 0..1.
            return_tensors: "pt", or "np" for NumPy's.

        Returns:
            `pixel_values` (B, C, H, W) float32.

        Raises:
            MaxViTError: If one is not an image; or if they get different sizes, which a fit of "aspect" gives them.
        """
        spec = Preprocessing.from_dict(self.preprocessing)
        ready = [preprocess(spec, image) for image in _arrays(images)]
        if len(sizes := {tuple(image.shape[1:]) for image in ready}) > 1:
            raise MaxViTError(
                f"these weights see images in their own shapes, and here are {len(sizes)}: give them one by one"
            )
        return BatchFeature({"pixel_values": torch.stack(ready)}, tensor_type=return_tensors)

    def to_dict(self) -> dict[str, Any]:
        """The file. Without the name of this class, transformers asks the network's config.json for it."""
        said: dict[str, Any] = super().to_dict()
        del said["image_processor_type"]
        return said


def _arrays(images: ImageLike | Tensor | Iterable[ImageLike | Tensor]) -> list[ImageLike]:
    """Each image, a tensor (C, H, W) as the array (H, W, C) that it is."""
    one = images.ndim == 3 if isinstance(images, Tensor) else is_one(images)  # type: ignore[arg-type]
    several: Iterable[Any] = [images] if one else images  # type: ignore[assignment]
    return [image.movedim(0, -1).cpu().numpy() if isinstance(image, Tensor) else image for image in several]


def _write_code(folder: Path) -> None:
    """The module that leads `trust_remote_code=True` to the installed package."""
    classes = (MaxViTWrapperConfig, MaxViTWrapperForImageClassification, MaxViTWrapperImageProcessor)
    names = ", ".join(one.__name__ for one in classes)
    storage.write_text(folder / f"{CODE}.py", f"from maxvit.integrations.transformers import {names}\n")


AutoConfig.register(MaxViTWrapperConfig.model_type, MaxViTWrapperConfig)
AutoModelForImageClassification.register(MaxViTWrapperConfig, MaxViTWrapperForImageClassification)
AutoImageProcessor.register(
    MaxViTWrapperConfig, image_processor_classes=dict.fromkeys(("torchvision", "pil"), MaxViTWrapperImageProcessor)
)
