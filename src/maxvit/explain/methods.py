"""The ways to explain an answer by name: a map for an image and a class from each."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from torch import Tensor

from maxvit.explain.attention_maps import attention_maps
from maxvit.explain.attribution import grad_cam, integrated_gradients
from maxvit.explain.rollout import rollout
from maxvit.model import MaxViT

Map = npt.NDArray[np.float32]


def last_attention(model: MaxViT, image: Tensor, target: int) -> Map:
    """What positions receive in the last block of more than one token: the mean of its two attentions; of no class."""
    maps = attention_maps(model, image)
    values: Map = np.mean([m.values for m in maps if m.stage == maps[-1].stage], axis=0)
    return values


METHODS: Mapping[str, Callable[[MaxViT, Tensor, int], Map]] = MappingProxyType(
    {
        "attention": last_attention,
        "rollout": lambda model, image, target: rollout(model, image)[0],
        "class-rollout": lambda model, image, target: rollout(model, image, target)[0],
        "gradcam": lambda model, image, target: grad_cam(model, image, target, len(model.stages)),
        "gradients": lambda model, image, target: integrated_gradients(model, image, target).clip(min=0),
    }
)
