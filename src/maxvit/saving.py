"""A network as one file: written with all that describes it, and read back."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from maxvit import storage
from maxvit.config import MaxViTConfig, Preprocessing
from maxvit.description import FORMAT, check_dtype, check_same, checked_names, describe, misfits, reading
from maxvit.errors import MaxViTError


class SavedNetwork(nn.Module):
    """What `MaxViT` does with files.

    Attributes:
        config: Shape of the network.
        preprocessing: What the weights expect of an image.
        class_names: One per class; None where they are not known.
        provenance: Where the weights come from (data set, command, versions); travels with the checkpoint.
    """

    config: MaxViTConfig
    preprocessing: Preprocessing
    class_names: list[str] | None
    provenance: dict[str, Any]

    def save(self, path: str | Path) -> None:
        """Write weights, configuration, preprocessing, class names and provenance into one safetensors file.

        Another `head.classifier` is followed, see `metadata`.

        Raises:
            MaxViTError: If a layer was put in the place of another, which no configuration describes, or the file
                cannot be written; a file that was there before is untouched.
        """
        self.check_savable()
        storage.save(path, self.state_dict(), self.metadata())

    def check_savable(self) -> None:
        """Refuse a network that could not be read back. Raises `MaxViTError` as `save` does."""
        check_same(self, self.outline(self._described()[0]))

    @classmethod
    def load(cls, path: str | Path, dtype: torch.dtype = torch.float32) -> Self:
        """Read what `save` wrote, in evaluation mode. `maxvit.load_model` reads files of other programs too.

        Args:
            path: A file, or a folder that holds one, see `maxvit.load_model`.
            dtype: Type of the network, whatever the file's.

        Raises:
            MaxViTError: If the file is missing, damaged or not ours, or `dtype` is not a floating-point type.
        """
        state, metadata = storage.load(path)
        return cls.restore(state, metadata, str(path), dtype)

    @classmethod
    def outline(cls, config: MaxViTConfig) -> Self:
        """The network without memory for its tensors, on the meta device: their names, shapes and types.

        Raises:
            MaxViTError: If it is too large to exist.
        """
        try:
            with torch.device("meta"):
                return cls(config)
        except (RuntimeError, OverflowError, TypeError) as error:
            raise MaxViTError(
                f"PyTorch cannot make so large a network ({str(error).splitlines()[0]}): lower channels or depths"
            ) from error

    def metadata(self) -> dict[str, Any]:
        """What a checkpoint says besides its tensors.

        Where a `head.classifier` (`nn.Linear` or `nn.Identity`) of another number of classes was put in place, it says
        what it would after `reset_classifier` with that number, and `class_names` if they were set again.

        Raises:
            MaxViTError: If `class_names` are of another number of classes.
        """
        config, names = self._described()
        return describe(config, self.preprocessing, names, self.provenance)

    def _described(self) -> tuple[MaxViTConfig, list[str] | None]:
        """Configuration and class names, of the classifier that is there."""
        classifier, config, names = getattr(self.head, "classifier", None), self.config, self.class_names
        if isinstance(classifier, nn.Linear | nn.Identity):
            classes = classifier.out_features if isinstance(classifier, nn.Linear) else 0
            if classes != config.num_classes:
                names = None if names is not None and len(names) == config.num_classes else names
                config = dataclasses.replace(config.for_classes(classes), novelty_centres=config.novelty_centres)
        return config, checked_names(names, config.num_classes)

    @classmethod
    def restore(
        cls, state: Mapping[str, Tensor], metadata: Mapping[str, Any], source: str, dtype: torch.dtype = torch.float32
    ) -> Self:
        """Make the network that a checkpoint describes, with its weights, in evaluation mode.

        Args:
            state: As `state_dict` gives it.
            metadata: As `metadata` gives it.
            source: Where they come from, for messages.
            dtype: Type of the network; weights of another type are converted, those of this type are used as they are.

        Raises:
            MaxViTError: If they are not ours, or an entry is missing, left over or of another shape; or if `dtype` is
                not a floating-point type.
        """
        check_dtype(dtype)
        if isinstance(task := metadata.get("task"), dict):
            name = task.get("name")
            raise MaxViTError(f"{source} holds a network for {name} (see maxvit.load): a classifier is wanted")
        if metadata.get("format") != FORMAT:
            raise MaxViTError(f"{source} was not written by maxvit; maxvit.load_model reads files of other programs")
        with reading(metadata, source):
            config = MaxViTConfig.from_dict(metadata["config"])
            preprocessing = Preprocessing.from_dict(metadata["preprocessing"])
            class_names = checked_names(metadata.get("class_names"), config.num_classes)
        if sum(config.depths) > len(state):  # before that many are made
            raise MaxViTError(
                f"{source} describes {sum(config.depths)} blocks and holds {len(state)} tensors: copy it again"
            )
        model = cls.outline(config)
        model.preprocessing, model.class_names = preprocessing.for_channels(config.in_channels), class_names
        if problems := misfits(state, model.state_dict()):
            more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
            raise MaxViTError(f"{source} does not hold the network that it describes: {'; '.join(problems[:3])}{more}")
        model.load_state_dict(state, assign=True)
        provenance = metadata.get("provenance")
        model.provenance = provenance if isinstance(provenance, dict) else {}
        return model.to(dtype).requires_grad_().eval()
