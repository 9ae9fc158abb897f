"""The ways to explain a prediction by name: a map for an image, and for a class where the way needs one, from each."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from torch import Tensor

from maxvit.explain.attention_maps import attention_maps
from maxvit.explain.attribution import grad_cam, integrated_gradients
from maxvit.explain.capture import stages_of
from maxvit.explain.rollout import rollout
from maxvit.explain.target import check_target, classes_of
from maxvit.tasks.network import Network

Map = npt.NDArray[np.float32]
Method = Callable[[Network, Tensor, int | None], Map]  # the class is None where the network has none


def last_attention(network: Network, image: Tensor, target: int | None) -> Map:
    """What positions receive in the last block of more than one token: the mean of its two attentions; of no class."""
    maps = attention_maps(network, image)
    values: Map = np.mean([m.values for m in maps if m.stage == maps[-1].stage], axis=0)
    return values


def default_methods(network: Network) -> list[str]:
    """What is shown where nothing is asked for."""
    return ["rollout", "class-rollout"] if classes_of(network) else ["rollout"]


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "attention": last_attention,
        "rollout": lambda network, image, target: rollout(network, image)[0],
        "class-rollout": lambda network, image, target: rollout(network, image, check_target(network, target))[0],
        "gradcam": lambda network, image, target: grad_cam(
            network, image, check_target(network, target), len(stages_of(network))
        ),
        "gradients": lambda network, image, target: integrated_gradients(
            network, image, check_target(network, target)
        ).clip(min=0),
    }
)
