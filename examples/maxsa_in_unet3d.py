"""Put multi-axis attention into a 3-D U-Net, where labels at one end of a volume depend on the other end.

    python examples/maxsa_in_unet3d.py

Each volume is noise with a mark in its first slices, bright or dark, and grains in its last ones. All grains of a
volume are of one class, which the mark says; what lies around a grain does not. Convolutions see nine voxels far, and
the mark is farther away. Prints the share of grain voxels that are right, with MaxSA and without.

Volumes of your own: yield (B, C, T, H, W) floats and (B, T, H, W) classes in place of `volumes`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maxvit import MaxSA

SHAPE, SLICES = (16, 16, 16), 3  # of a volume; of the mark at its beginning, and of the grains at its end
IGNORED = -100  # class of all other voxels, which `F.cross_entropy` leaves out


def volumes(number: int, generator: torch.Generator, grains: int = 6) -> tuple[Tensor, Tensor]:
    """(B, 1, T, H, W) and the classes of the grains' voxels (B, T, H, W)."""
    x = 0.1 * torch.randn(number, 1, *SHAPE, generator=generator)
    classes = torch.full((number, *SHAPE), IGNORED)
    for i, kind in enumerate(torch.randint(2, (number,), generator=generator).tolist()):
        rows, columns = (torch.randint(side - 2, (grains + 1,), generator=generator).tolist() for side in SHAPE[1:])
        x[i, 0, :SLICES, rows[0] : rows[0] + 3, columns[0] : columns[0] + 3] += 2 if kind else -2
        for row, column in zip(rows[1:], columns[1:], strict=True):
            grain = (slice(-SLICES, None), slice(row, row + 2), slice(column, column + 2))
            x[i, 0][grain], classes[i][grain] = 1, kind
    return x, classes


def convolutions(channels_in: int, channels: int, stride: int = 1) -> nn.Module:
    """Two 3 x 3 x 3 convolutions."""
    first = nn.Conv3d(channels_in, channels, 3, stride, padding=1)
    return nn.Sequential(first, nn.GELU(), nn.Conv3d(channels, channels, 3, padding=1), nn.GELU())


class UNet3D(nn.Module):
    """One level of a U-Net; its lower map goes through multi-axis attention, or straight on."""

    def __init__(self, attention: bool, width: int = 16) -> None:
        super().__init__()
        self.down, self.bottom = convolutions(1, width), convolutions(width, 2 * width, stride=2)
        sizes = {"window_size": (4, 4, 4), "grid_size": (2, 2, 2), "head_dim": width}  # 4 * 2: the whole map
        self.attention = MaxSA(2 * width, **sizes) if attention else nn.Identity()
        self.up = nn.ConvTranspose3d(2 * width, width, 2, stride=2)
        self.classify = nn.Conv3d(2 * width, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, T, H, W) -> (B, 2, T, H, W)."""
        fine = self.down(x)
        coarse = self.attention(self.bottom(fine))
        return self.classify(torch.cat([fine, self.up(coarse)], 1))


def accuracy(network: nn.Module, x: Tensor, classes: Tensor) -> float:
    """The share of the grains' voxels that are right."""
    with torch.no_grad():
        right = network(x).argmax(1) == classes
    return float(right[classes != IGNORED].float().mean())


def train(network: nn.Module, steps: int, seed: int, batch: int = 8) -> float:
    """Train on fresh volumes, and give the accuracy on others."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(steps):
        x, classes = volumes(batch, generator)
        loss = F.cross_entropy(network(x), classes, ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    return accuracy(network, *volumes(64, generator))


if __name__ == "__main__":
    for seed in range(3):
        for attention in (True, False):
            torch.manual_seed(seed)
            network = UNet3D(attention)
            print(f"seed {seed}, {'with' if attention else 'without'} MaxSA: {train(network, 200, seed):.3f}")
