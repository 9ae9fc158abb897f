"""The names of ImageNet's classes, for published weights, whose files do not hold them."""

from collections import Counter
from importlib.util import find_spec

_OF_TIMM = {21_843: "imagenet21k_goog", 21_841: "imagenet22k", 11_821: "imagenet12k"}  # its names of the sets


def imagenet_names(classes: int) -> list[str] | None:
    """The names of the classes, in the order of the outputs.

    Args:
        classes: 1000, from torchvision; or as many as one of the sets of ImageNet-21K has, from timm.

    Returns:
        A name for each; those that two classes share have the synset after them, as "crane (n02012849)". None: the set
        is unknown, or timm is not installed.
    """
    if classes == 1000:
        from torchvision.models import MaxVit_T_Weights

        names: list[str] = MaxVit_T_Weights.IMAGENET1K_V1.meta["categories"]
        return list(names)
    if classes not in _OF_TIMM or find_spec("timm") is None:
        return None
    from timm.data import ImageNetInfo  # type: ignore[attr-defined]

    known = ImageNetInfo(_OF_TIMM[classes])
    names = [known.index_to_description(i) for i in range(classes)]
    count = Counter(names)
    return [name if count[name] == 1 else f"{name} ({known.index_to_label_name(i)})" for i, name in enumerate(names)]
