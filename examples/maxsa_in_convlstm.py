"""Put multi-axis attention into a recurrent network for frames, such as those of a rain radar or an event camera.

    python examples/maxsa_in_convlstm.py

Each step of the network is MaxSA on the frame, which sees all of it, then a convolutional LSTM, which remembers (as in
"Recurrent Vision Transformers for Object Detection with Event Cameras", arXiv 2212.05598). It is trained to foretell
the next frame of generated rain: cells that drift with one wind, which differs from film to film. Prints the squared
error over that of saying that nothing moves.

Frames of your own: yield (B, T, 1, H, W) floats in place of `rain`; frames may be of any size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maxvit import MaxSA

SIDE, FRAMES = 32, 8


def rain(number: int, generator: torch.Generator, cells: int = 4) -> Tensor:
    """(B, T, 1, H, W): round cells that leave the frame on one side and come back on the other."""
    place = torch.rand(number, 1, cells, 2, generator=generator) * SIDE
    wind = torch.rand(number, 1, 1, 2, generator=generator) * 4 - 2  # pixels from frame to frame
    centres = place + wind * torch.arange(FRAMES)[:, None, None]  # (B, T, cells, 2)
    apart = (torch.arange(SIDE) - centres[..., None] + SIDE / 2) % SIDE - SIDE / 2  # (B, T, cells, 2, SIDE)
    rows, columns = (-apart.square() / 8).exp().unbind(3)
    return torch.einsum("btch,btcw->bthw", rows, columns)[:, :, None]


class ConvLSTM(nn.Module):
    """A long short-term memory for each place of a map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(2 * channels, 4 * channels, 3, padding=1)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """(B, C, H, W), with what came out of the last step -> (what it says, what it remembers)."""
        said, memory = state or (torch.zeros_like(x), torch.zeros_like(x))
        forget, write, say, new = self.gates(torch.cat([x, said], 1)).chunk(4, 1)
        memory = (forget + 1).sigmoid() * memory + write.sigmoid() * new.tanh()
        return say.sigmoid() * memory.tanh(), memory


class Forecast(nn.Module):
    """From each frame, and those before it, the next."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 4, stride=4)
        self.attention = MaxSA(channels, window_size=4, grid_size=4, head_dim=16)
        self.memory = ConvLSTM(channels)
        self.head = nn.Sequential(nn.Conv2d(channels, 16, 1), nn.PixelShuffle(4))

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, 1, H, W) -> what comes after each, (B, T, 1, H, W)."""
        state, coming = None, []
        for frame in frames.unbind(1):
            state = self.memory(self.attention(self.stem(frame)), state)
            coming.append(frame + self.head(state[0]))
        return torch.stack(coming, 1)


def relative_error(network: nn.Module, frames: Tensor) -> float:
    """Squared error of the last frame, over that of saying that it is the one before."""
    with torch.no_grad():
        foretold = network(frames[:, :-1])[:, -1]
    return float(F.mse_loss(foretold, frames[:, -1]) / F.mse_loss(frames[:, -2], frames[:, -1]))


def train(network: nn.Module, steps: int, seed: int = 0, batch: int = 8) -> float:
    """Train on fresh films, and give the relative error on others."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(steps):
        frames = rain(batch, generator)
        loss = F.mse_loss(network(frames[:, :-1]), frames[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    return relative_error(network, rain(64, generator))


if __name__ == "__main__":
    torch.manual_seed(0)
    print(f"squared error over that of a picture that stands still: {train(Forecast(), 300):.2f}")
