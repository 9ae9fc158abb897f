"""Multi-axis attention in a network that is not MaxViT: one `MaxSA` after a stage of a plain ResNet.

    python examples/maxsa_in_resnet.py

Trains on scikit-learn's handwritten digits for two epochs and prints the loss.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18

from maxvit import MaxSA, Preprocessing
from maxvit.data.builtin import load_digits
from maxvit.data.loading import training_batches
from maxvit.tasks import make_task
from maxvit.tasks.examples import TaskExamples


def resnet_with_maxsa(num_classes: int) -> nn.Module:
    """A ResNet-18 that, from its second stage on, has seen the whole image."""
    network = resnet18(num_classes=num_classes)
    network.layer2 = nn.Sequential(network.layer2, MaxSA(dim=128, window_size=4, grid_size=4))
    return network


def train(network: nn.Module, epochs: int) -> list[float]:
    """Train on digits, and give the loss of each step."""
    spec = Preprocessing(image_size=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    task = make_task({"name": "classification", "augmentation": "characters"})
    examples = TaskExamples(task, load_digits().train, spec)
    batches = training_batches(examples, batch_size=64, workers=0, seed=0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for epoch in range(epochs):
        batches.sampler.set_epoch(epoch)
        for batch in batches:
            loss = step(network, optimizer, batch.images, batch.targets)
            losses.append(loss)
        print(f"epoch {epoch + 1}: loss {loss:.3f}")
    return losses


def step(network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> float:
    """One step down the gradient."""
    optimizer.zero_grad()
    loss = F.cross_entropy(network(images), labels)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


if __name__ == "__main__":
    torch.manual_seed(0)
    train(resnet_with_maxsa(10), epochs=2)
