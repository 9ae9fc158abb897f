"""The classifier of a network that stays as it is otherwise: a checkpoint within seconds, and where training starts."""

import torch
from torch import Tensor, nn

from maxvit.layers.inner_head import InnerHead
from maxvit.model import MaxViT
from maxvit.tasks.classification.linear import Linear, fit_linear
from maxvit.tasks.classification.suspicious_labels import judge
from maxvit.tasks.network import Network
from maxvit.tasks.suspicion import Suspicion


def fit_classifier(network: Network, embeddings: Tensor, targets: Tensor, *, balanced: bool) -> list[Suspicion] | None:
    """Fit the classifier of inner maps, where there is one, and put that of the last map to zero; else fit the latter.

    Args:
        network: A `MaxViT`.
        embeddings: (n, F), as `with_embeddings` gives them.
        targets: (n,) int64, or (n, classes) bool.
        balanced: Rare classes count as much as common ones.

    Returns:
        Labels that look wrong; None: there was no cross-validation to judge them by.

    Raises:
        ImportError: Without scikit-learn.
    """
    assert isinstance(network, MaxViT)
    last, number = network.head.classifier, len(network.class_names or ())
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        if network.inner_head is None:
            found = fit_linear(embeddings, targets, number, balanced)
            last.weight.copy_(found.weight * found.scale)
            last.bias.copy_(found.bias - last.weight @ found.mean)
        else:
            found = fit_linear(embeddings[:, last.in_features :], targets, number, balanced)
            _put(found, network.inner_head)
            last.weight.zero_()
            last.bias.zero_()
    return None if found.out_of_fold is None else judge(found.out_of_fold, targets.numpy())


def _put(found: Linear, head: InnerHead) -> None:
    """A classifier of what the head gave its own; the head standardises as it does from now on."""
    root = found.weight.shape[1] ** 0.5  # see `InnerHead.scale`
    head.mean += found.mean / head.scale
    head.scale *= found.scale / root
    head.classifier.weight.copy_(found.weight * root)
    head.classifier.bias.copy_(found.bias)
