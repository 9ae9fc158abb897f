"""Pictures from noise: the generator of MaxViT-GAN (arXiv 2204.01697, appendix A.4) at 32 pixels, from the kit's parts.

    python examples/generation.py --out runs/generation                    # scikit-learn's digits
    python examples/generation.py PICTURES --out runs/generation --steps 8000

It learns from any folder of pictures and writes samples as it goes. The same command goes on with a stopped run.
"""

import argparse
import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from maxvit import MaxViTBlock
from maxvit.config import OFFICIAL
from maxvit.data.builtin import load_digits
from maxvit.data.images import EXTENSIONS, decode
from maxvit.storage import write_atomically

SIDE, LATENT, TOKENS = 32, 128, 16  # pixels; numbers of noise; parts that it is seen in
CHANNELS = (128, 64, 32)  # of stages with 8, 16 and 32 pixels a side
ORDERS = {"maxvit": "GBC", "convolutional": "CCC"}  # grid attention, block attention, MBConv; or MBConv alone
BATCH_NORM = dataclasses.replace(OFFICIAL, norm="batch", batch_norm_momentum=0.1)
BATCH, RATE, R1, R1_EVERY, AVERAGE = 32, 2e-4, 1.0, 8, 0.995


class CrossAttention(nn.Module):
    """Each pixel asks the parts of the noise what it is to be."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.position = nn.Parameter(0.02 * torch.randn(1, side * side, channels))
        self.norm = nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(channels, channels // 32, kdim=LATENT, vdim=LATENT, batch_first=True)

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        """(B, C, H, W) and (B, TOKENS, LATENT) -> (B, C, H, W)."""
        tokens = x.flatten(2).transpose(1, 2)
        seen, _ = self.attention(self.norm(tokens + self.position), latent, latent, need_weights=False)
        return x + seen.transpose(1, 2).reshape(x.shape)


class Generator(nn.Module):
    """Noise -> pictures: in each stage cross-attention, a block, and twice the side by pixel shuffle.

    Args:
        order: Of the parts of each block, see `maxvit.MaxViTBlock`.
        colours: Channels of the pictures.
    """

    def __init__(self, order: str, colours: int) -> None:
        super().__init__()
        self.start = nn.Linear(LATENT, CHANNELS[0] * 8 * 8)
        self.latent = nn.Linear(LATENT, TOKENS * LATENT)
        self.crossings, self.blocks, self.ups = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for channels, wider in itertools.zip_longest(CHANNELS, CHANNELS[1:]):
            self.crossings.append(CrossAttention(channels, 8 << len(self.crossings)))
            self.blocks.append(
                MaxViTBlock(channels, channels, order=order, window_size=4, grid_size=4, dialect=BATCH_NORM)
            )
            if wider:
                self.ups.append(nn.Sequential(nn.Conv2d(channels, 4 * wider, 1), nn.PixelShuffle(2)))
        self.out = nn.Sequential(
            nn.BatchNorm2d(CHANNELS[-1]), nn.ReLU(), nn.Conv2d(CHANNELS[-1], colours, 3, padding=1)
        )

    def forward(self, noise: Tensor) -> Tensor:
        """(B, LATENT) -> (B, colours, SIDE, SIDE) in -1..1."""
        latent = self.latent(noise).unflatten(1, (TOKENS, LATENT))
        x = self.start(noise).unflatten(1, (CHANNELS[0], 8, 8))
        for cross, block, up in itertools.zip_longest(self.crossings, self.blocks, self.ups):
            x = block(cross(x, latent))
            x = up(x) if up else x
        return torch.tanh(self.out(x))


class Critic(nn.Module):
    """A small residual network: pictures -> how real they look."""

    def __init__(self, colours: int, channels: tuple[int, ...] = (32, 64, 128, 128)) -> None:
        super().__init__()
        self.first = nn.Conv2d(colours, channels[0], 3, padding=1)
        pairs = list(itertools.pairwise(channels))
        self.shortcuts = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in pairs)
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.LeakyReLU(0.2), nn.Conv2d(a, a, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(a, b, 3, padding=1)
            )
            for a, b in pairs
        )
        self.last = nn.Sequential(
            nn.Conv2d(channels[-1] + 1, channels[-1], 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(channels[-1] * 4 * 4, 1),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, colours, SIDE, SIDE) -> (B)."""
        x = self.first(pictures)
        for shortcut, branch in zip(self.shortcuts, self.branches, strict=True):
            x = F.avg_pool2d(shortcut(x) + branch(x), 2) * 0.5**0.5
        spread = x.std(0, correction=0).mean().expand(len(x), 1, 4, 4)  # of a batch of copies it is 0
        return self.last(torch.cat([x, spread], 1)).flatten()


class Game:
    """Generator and critic, and how far they have learned.

    Args:
        kind: One of `ORDERS`.
        colours: Channels of the pictures.
        seed: Of weights and noise.
    """

    def __init__(self, kind: str, colours: int, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.generator, self.critic = Generator(ORDERS[kind], colours), Critic(colours)
        self.average = Generator(ORDERS[kind], colours)  # of the generator's weights: what samples are taken from
        self.average.load_state_dict(self.generator.state_dict())
        self.optimizers = [
            torch.optim.Adam(network.parameters(), RATE, betas=(0.0, 0.99)) for network in (self.generator, self.critic)
        ]
        self.steps = 0

    def step(self, real: Tensor) -> tuple[float, float]:
        """One step of both, by the non-saturating loss with R1 (arXiv 1801.04406). Returns both losses."""
        random = torch.Generator().manual_seed(self.steps)
        noise = torch.randn(2, len(real), LATENT, generator=random)
        with torch.no_grad():
            fake = self.generator(noise[0])
        wants_r1 = self.steps % R1_EVERY == 0
        scores = self.critic(real.requires_grad_(wants_r1))
        loss = F.softplus(-scores).mean() + F.softplus(self.critic(fake)).mean()
        total = loss
        if wants_r1:
            (slope,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
            total = loss + R1_EVERY * R1 / 2 * slope.square().sum((1, 2, 3)).mean()
        self._update(1, total)
        wish = F.softplus(-self.critic(self.generator(noise[1]))).mean()
        self._update(0, wish)
        self.steps += 1
        with torch.no_grad():
            keep = min(AVERAGE, self.steps / (self.steps + 10))
            now = self.generator.state_dict()
            for name, value in self.average.state_dict().items():
                value.copy_(torch.lerp(now[name], value, keep) if value.is_floating_point() else now[name])
        return float(loss.detach()), float(wish.detach())

    def _update(self, which: int, loss: Tensor) -> None:
        self.optimizers[which].zero_grad()
        loss.backward()
        self.optimizers[which].step()

    @torch.no_grad()
    def sample(self, number: int, seed: int = 0) -> Tensor:
        """(number, colours, SIDE, SIDE) in -1..1, the same for the same seed."""
        noise = torch.randn(number, LATENT, generator=torch.Generator().manual_seed(seed))
        return torch.cat([self.average.eval()(part) for part in noise.split(100)])

    def save(self, path: Path) -> None:
        """All that it takes to go on."""
        parts = (self.generator, self.critic, self.average, *self.optimizers)
        state = {"steps": self.steps, "parts": [part.state_dict() for part in parts]}
        write_atomically(path, lambda partial: torch.save(state, partial))

    def load(self, path: Path) -> None:
        """Go on from what `save` wrote."""
        state = torch.load(path, weights_only=True)
        self.steps = state["steps"]
        parts = (self.generator, self.critic, self.average, *self.optimizers)
        for part, value in zip(parts, state["parts"], strict=True):
            part.load_state_dict(value)


def read_pictures(folder: Path | None) -> Tensor:
    """(n, 1 or 3, SIDE, SIDE) in -1..1: of a folder and those below it; None: scikit-learn's digits."""
    paths = sorted(path for path in (folder or Path()).rglob("*") if path.suffix.lower() in EXTENSIONS)
    sources = paths if folder else load_digits().train.sources
    if not sources:
        raise SystemExit(f"{folder} holds no pictures")
    resized = [decode(source).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for source in sources]
    pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in resized])).permute(0, 3, 1, 2)
    grey = bool((pixels == pixels[:, :1]).all())
    return pixels[:, : 1 if grey else 3].float() / 127.5 - 1


def batches(pictures: Tensor, first_step: int) -> Iterator[Tensor]:
    """Batches without end from a step on, another order for each time that all have been seen."""
    a_round = len(pictures) // BATCH
    for step in itertools.count(first_step):
        if step == first_step or step % a_round == 0:
            order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(step // a_round))
        yield pictures[order[step % a_round * BATCH :][:BATCH]].clone()


def draw(pictures: Tensor, path: Path, across: int = 10) -> None:
    """As one picture, `across` in a row."""
    pixels = ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    rows = [torch.cat(list(row), 2) for row in pixels.split(across) if len(row) == across]
    whole = torch.cat(rows, 1).expand(3, -1, -1).permute(1, 2, 0).numpy()
    Image.fromarray(whole).resize((2 * whole.shape[1], 2 * whole.shape[0]), Image.Resampling.NEAREST).save(path)


def train(pictures: Tensor, out: Path, kind: str, steps: int, every: int) -> Game:
    """Play so many steps, those of an earlier run included, and write samples and state on the way."""
    out.mkdir(parents=True, exist_ok=True)
    game, state = Game(kind, pictures.shape[1]), out / "state.pt"
    if state.exists():
        game.load(state)
        print(f"going on after {game.steps} steps")
    game.generator.train()
    for real in itertools.islice(batches(pictures, game.steps), max(0, steps - game.steps)):
        critic, wish = game.step(real)
        if game.steps % every == 0 or game.steps == steps:
            game.save(state)
            draw(game.sample(50), out / f"samples-{game.steps:06}.png")
            print(f"step {game.steps}: critic {critic:.3f}, generator {wish:.3f}", flush=True)
    return game


def main() -> None:
    """Train, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, nargs="?", help="a folder; default: scikit-learn's digits")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--generator", choices=list(ORDERS), default="maxvit")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--every", type=int, default=200, help="steps between samples")
    options = parser.parse_args()
    pictures = read_pictures(options.pictures)
    if len(pictures) < BATCH:
        raise SystemExit(f"{len(pictures)} pictures are too few: give {BATCH} or more")
    train(pictures, options.out, options.generator, options.steps, options.every)


if __name__ == "__main__":
    main()
