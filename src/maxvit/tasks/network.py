"""A backbone with the head of a task: one module, one file."""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from maxvit import storage
from maxvit.config import MaxViTConfig, Preprocessing
from maxvit.description import FORMAT, check_dtype, check_same, describe
from maxvit.errors import MaxViTError
from maxvit.hub.mixin import HubModel
from maxvit.layers.novelty import pooled_maps
from maxvit.model import MaxViT


class TaskSettings(BaseModel):
    """The section `task` of a recipe; a task adds its own. They travel with the checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str


class TaskNetwork(nn.Module, HubModel):
    """A MaxViT without its classifier, and the head that a task puts on its maps.

    Args:
        backbone: It is used, not copied; its own head is taken off.
        head: Called as `head(maps, size, targets)`: maps of the strides that its attribute `strides` names, (height,
            width) of the images, and in training the targets of the task (None else). It must not hold the backbone.
            Its method `no_weight_decay()`, if it has one, names parameters that are not decayed, beside those of fewer
            than two dimensions.
        class_names: What the head tells apart.
        settings: Settings of the task; they travel with the checkpoint.

    Attributes:
        provenance: Where the weights come from.
    """

    def __init__(self, backbone: MaxViT, head: nn.Module, class_names: Sequence[str], settings: TaskSettings) -> None:
        super().__init__()
        backbone.head = nn.Identity()  # type: ignore[assignment]
        backbone.inner_head, backbone.config = None, dataclasses.replace(backbone.config, inner_fields=0)
        backbone.set_novelty(None)
        self.backbone, self.head = backbone, head
        self.class_names, self.settings = [str(name) for name in class_names], settings
        self.provenance: dict[str, Any] = {}
        self._freeze_what_is_not_used()

    def _freeze_what_is_not_used(self) -> None:
        """Stages above the largest stride of the head, which no gradient reaches."""
        for stride, stage in zip((4, 8, 16, 32), self.backbone.stages, strict=True):
            if stride > max(self.head.strides):  # type: ignore[arg-type]
                stage.requires_grad_(False)

    def forward(self, images: Tensor, targets: Any = None) -> Any:
        """What the head makes of the maps of images (B, C, H, W), normalised."""
        return self.head(self.maps(images), (images.shape[2], images.shape[3]), targets)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the backbone, as `torch.compile` does; in a head, sizes may depend on values."""
        self.maps = torch.compile(self.maps, *args, **kwargs)  # type: ignore[method-assign]

    def maps(self, images: Tensor) -> list[Tensor]:
        """What the head sees of images (B, C, H, W)."""
        return self.backbone.forward_pyramid(images, self.head.strides)  # type: ignore[arg-type]

    def with_embeddings(self, images: Tensor) -> tuple[Any, Tensor]:
        """`forward`, and the mean of the last map that the head sees (B, features)."""
        maps = self.maps(images)
        return self.head(maps, (images.shape[2], images.shape[3]), None), maps[-1].mean((2, 3))

    @property
    def config(self) -> MaxViTConfig:
        """Configuration of the backbone."""
        return self.backbone.config

    @property
    def preprocessing(self) -> Preprocessing:
        """What the weights expect of an image."""
        return self.backbone.preprocessing

    def with_backbone(self, backbone: MaxViT) -> Self:
        """The same head, tensors and all, on another backbone."""
        twin = copy.copy(self)
        twin._modules = {**self._modules, "backbone": backbone}
        return twin

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that are not decayed."""
        spared = {f"backbone.{name}" for name in self.backbone.no_weight_decay()}
        spared |= {f"head.{name}" for name, p in self.head.named_parameters() if p.ndim < 2}
        own = getattr(self.head, "no_weight_decay", set)
        return spared | {f"head.{name}" for name in own()}

    def metadata(self) -> dict[str, Any]:
        """What a checkpoint says beside its tensors."""
        said = describe(self.config, self.preprocessing, self.class_names, self.provenance)
        return said | {"format": FORMAT, "task": self.settings.model_dump(mode="json")}

    def save(self, path: str | Path) -> None:
        """Write one safetensors file. Raises `MaxViTError` as `MaxViT.save` does."""
        self.check_savable()
        storage.save(path, self.state_dict(), self.metadata())

    def check_savable(self) -> None:
        """Refuse a network that could not be read back. Raises `MaxViTError` as `save` does."""
        from maxvit.tasks import make_task, outline  # which import this file

        task = make_task(self.settings.model_dump(), imports=False)
        check_same(self, outline(task, self.config, self.class_names))

    @classmethod
    def load(cls, path: str | Path, dtype: torch.dtype = torch.float32) -> Self:
        """Read what `save` wrote, in evaluation mode; `maxvit.load` reads whatever network there is.

        Raises:
            MaxViTError: As `maxvit.load`, or if the network has no head of a task.
        """
        from maxvit.tasks import load

        network = load(path, dtype=dtype)
        if not isinstance(network, cls):
            raise MaxViTError(f"{path} holds a MaxViT with its own head: read it with maxvit.load")
        return network

    def take(self, state: Mapping[str, Tensor], source: str, dtype: torch.dtype = torch.float32) -> Self:
        """Use the tensors of a checkpoint, as they are if they have this type, in evaluation mode.

        Raises:
            MaxViTError: If they do not fit, or `dtype` is not a floating-point type.
        """
        check_dtype(dtype)
        wanted = {name: tensor.shape for name, tensor in self.state_dict().items()}
        wrong = sorted(n for n in wanted.keys() | state.keys() if n not in state or wanted.get(n) != state[n].shape)
        if wrong:
            raise MaxViTError(
                f"{source} does not hold the network that it describes: {', '.join(wrong[:3])} ({len(wrong)})"
            )
        self.load_state_dict(dict(state), assign=True)
        self.to(dtype).requires_grad_()._freeze_what_is_not_used()
        return self.eval()


Network = MaxViT | TaskNetwork  # a classifier is its own backbone


def backbone_of(network: Network) -> MaxViT:
    """The stem and the stages of a network."""
    return network.backbone if isinstance(network, TaskNetwork) else network


def has_own_head(network: Network) -> bool:
    """Whether the head is the backbone's, which fast kernels and graphs know; else it is a task's."""
    return not isinstance(network, TaskNetwork)


def tensors_of(network: Network, images: Tensor) -> list[Tensor]:
    """What a network gives as tensors, or what its head is given: to compare it in two precisions."""
    return network.maps(images) if isinstance(network, TaskNetwork) else [network(images)]


def last_stride(network: Network) -> int:
    """The stride of the smallest map that the head sees; where inner maps are classified, of the last of these.

    A gradient there holds what passes through the stage after it, too.
    """
    if isinstance(network, TaskNetwork):
        return max(network.head.strides)  # type: ignore[arg-type]
    return 32 if network.inner_head is None else network.inner_head.strides[-1]


def with_backbone(network: Network, backbone: MaxViT) -> Network:
    """The same network, tensors and all, on another backbone, such as an accelerated one."""
    return network.with_backbone(backbone) if isinstance(network, TaskNetwork) else backbone


def parts_below_head(network: Network) -> list[nn.Module]:
    """What stays as it is where only the last layers are trained."""
    backbone = backbone_of(network)
    own = [] if isinstance(network, TaskNetwork) else backbone.head.children()
    return [backbone.stem, backbone.stages, *(part for part in own if part is not backbone.head.classifier)]


def outputs_of(network: Network, images: Tensor) -> Any:
    """What a network gives; where it has a score for novelty, that beside its logits."""
    if isinstance(network, TaskNetwork) or network.novelty is None:
        return network(images)
    return network.forward_novelty(images)


def with_embeddings(network: Network, images: Tensor) -> tuple[Any, Tensor]:
    """`outputs_of`, and what a network sees of each image (B, features): a classifier's input, else a pooled map."""
    if isinstance(network, TaskNetwork):
        return network.with_embeddings(images)
    maps = network.forward_pyramid(images)
    embeddings = network.forward_head(maps[-1], pre_logits=True)
    logits = network.head.classifier(embeddings)
    if network.inner_head is not None:
        seen = network.inner_head.standardised(maps[1:3])
        logits, embeddings = logits + network.inner_head.classifier(seen), torch.cat([embeddings, seen], 1)
    return logits if network.novelty is None else (logits, network.novelty(pooled_maps(maps))), embeddings
