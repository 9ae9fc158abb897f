"""One step of training, everything that it finds, and what it keeps for backward."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def step(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Logits, the gradients of everything, and the statistics after one step. Leaves gradients on the network."""
    images = images.clone().requires_grad_()
    torch.manual_seed(1)  # of stochastic depth
    logits = network(images)
    F.cross_entropy(logits, torch.arange(len(images), device=images.device) % 7).backward()
    found = {"logits": logits.detach(), "images": images.grad}
    found |= {f"gradient of {name}": p.grad.clone() for name, p in network.named_parameters()}
    network.zero_grad()
    return found | {name: buffer.clone() for name, buffer in network.named_buffers()}


def error(ours: Tensor, truth: Tensor) -> float:
    return float((ours.double() - truth.double()).norm() / truth.double().norm().clamp(min=1e-6))


def saved_bytes(network: nn.Module, images: Tensor) -> int:
    """What a forward keeps for backward, beside parameters."""
    kept = {p.untyped_storage().data_ptr(): 0 for p in network.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = network(images)
    assert logits.requires_grad
    return sum(kept.values())
