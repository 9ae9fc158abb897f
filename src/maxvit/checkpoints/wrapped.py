"""Where in a file the weights are: found by the network's own names, whatever a training program puts around them."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from maxvit.errors import MaxViTError

_FIRST = ("stem.conv1.weight", "stem.0.0.weight")  # the first layer's name: ours and timm's, torchvision's
_PLACES = ("state_dict", "model")  # of several networks the one to take, if it is there
_AVERAGED = re.compile(r"(^|[._])(ema|swa|avg|average|averaged)([._]|$)")


class Place(NamedTuple):
    """Where a network's weights are.

    Attributes:
        prefix: What their names begin with.
        averaged: Whether they are the averaged ones of two sets.
    """

    prefix: str
    averaged: bool


def flatten(loaded: Any) -> dict[str, Tensor]:
    """All tensors of dictionaries in one another, under the keys that lead to each with dots between."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()  # dictionaries of a file may hold themselves
    waiting = [("", loaded)]
    while waiting:
        prefix, part = waiting.pop()
        if isinstance(part, Tensor):
            found[prefix.removesuffix(".")] = part
        elif isinstance(part, Mapping) and id(part) not in seen:
            seen.add(id(part))
            waiting += [(f"{prefix}{key}.", value) for key, value in [*part.items()][::-1]]
    return found


def find_network(names: Mapping[str, object], averaged: bool = True) -> Place | None:
    """Where the weights of a network are, the averaged ones if there are two sets; None: nowhere.

    So `state_dict_ema` of timm, `model_ema` of torchvision, `model.` or `net.` of Lightning, `module.` and `_orig_mod.`
    of PyTorch's wrappers are found, in any order and inside one another.

    Args:
        names: Of all tensors.
        averaged: False: the set that is not averaged.

    Raises:
        MaxViTError: If there are several networks, or not both an averaged set and another where the other is wanted.
    """
    prefixes = [
        name.removesuffix(first) for name in names for first in _FIRST if name == first or name.endswith(f".{first}")
    ]
    means = [prefix for prefix in prefixes if _AVERAGED.search(prefix)]
    others = [prefix for prefix in prefixes if prefix not in means]
    if not averaged and not (means and others):
        raise MaxViTError("it holds one set of weights, and not averaged and raw ones: do not ask for the raw ones")
    chosen = (means or others) if averaged else others
    for place in _PLACES:
        chosen = [prefix for prefix in chosen if prefix.startswith(f"{place}.")] or chosen
    if len(chosen) > 1:
        raise MaxViTError(f"it holds several networks ({', '.join(chosen[:3])}): save the state_dict of one of them")
    return Place(chosen[0], bool(means and others) and averaged) if chosen else None
