"""The weights and images behind the golden data: pure functions of a name, as the reference describes them.

The arrays in `golden/` are outputs of the official TensorFlow model with these weights.
"""

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maxvit.checkpoints.tensorflow import from_official, name_table
from maxvit.config import MaxViTConfig
from maxvit.model import MaxViT

GOLDEN = Path(__file__).parent / "golden"
CHECKPOINT = GOLDEN / "tf_checkpoint_micro"
Array = npt.NDArray[np.float32]

# the network of the checkpoint; not `maxvit_micro`
MICRO = MaxViTConfig(stem_channels=16, channels=(32, 32, 64, 64), depths=(1, 2, 1, 1), num_classes=10)


def weight(name: str, shape: tuple[int, ...], salt: str = "", at_start: bool = False) -> Array:
    """The variable `name`: healthy random numbers, or those of the start of training."""
    random = np.random.RandomState(zlib.crc32(f"{salt}|{name}".encode()))
    *_, layer, kind = name.split("/")
    if kind in ("bias", "beta", "moving_mean"):
        values = np.zeros(shape) if at_start else 0.1 * random.standard_normal(shape)
    elif kind in ("gamma", "moving_variance"):
        values = np.ones(shape) if at_start else 0.5 + random.random_sample(shape)
    elif at_start:
        values = 0.02 * random.standard_normal(shape)
    elif kind == "relative_bias":
        values = 0.5 * random.standard_normal(shape)
    else:
        one_axis = kind == "weight" and layer in ("q", "k", "v")
        inputs = shape[0] if one_axis else 9 if kind == "depthwise_kernel" else int(np.prod(shape[:-1]))
        values = random.standard_normal(shape) / np.sqrt(inputs)
    return values.astype(np.float32)


def images(number: int, size: int, salt: str = "") -> Tensor:
    """Smooth random images, (number, 3, size, size): three enlarged grids of normal numbers, and noise."""
    made = np.empty((number, size, size, 3), np.float32)
    for i in range(number):
        random = np.random.RandomState(zlib.crc32(f"{salt}|image/{i}".encode()))
        total = np.zeros((size, size, 3))
        for cells, share in ((5, 1.0), (14, 0.7), (56, 0.5)):
            grid = random.standard_normal((cells, cells, 3))
            at = np.arange(size) * ((cells - 1) / (size - 1))
            low = np.minimum(at.astype(int), cells - 2)
            rest = at - low
            rows = grid[low] * (1 - rest)[:, None, None] + grid[low + 1] * rest[:, None, None]
            total += share * (rows[:, low] * (1 - rest)[:, None] + rows[:, low + 1] * rest[:, None])
        total += 0.1 * random.standard_normal((size, size, 3))
        made[i] = np.round(total * 64) / 64
    return torch.from_numpy(made).permute(0, 3, 1, 2)


TO_THEIRS = {  # the way back of `maxvit.checkpoints.tensorflow.TO_OURS`, for heads of d channels
    "vector": lambda t, d: [t],
    "conv": lambda t, d: [t.transpose(2, 3, 1, 0)],
    "depthwise": lambda t, d: [t.transpose(2, 3, 0, 1)],
    "dense": lambda t, d: [t.T],
    "qkv_weight": lambda t, d: [w.T.reshape(t.shape[1], -1, d) for w in np.split(t, 3)],
    "qkv_bias": lambda t, d: [b.reshape(-1, d) for b in np.split(t, 3)],
    "out_weight": lambda t, d: [t.T.reshape(-1, d, t.shape[0])],
}


def to_official(state: Mapping[str, Tensor], config: MaxViTConfig) -> dict[str, Array]:
    """Our state dict to official variables, by name."""
    arrays: dict[str, Array] = {}
    for entry in name_table(config):
        parts = TO_THEIRS[entry.layout](state[entry.ours].detach().cpu().numpy(), config.head_dim)
        arrays |= zip(entry.theirs, (np.ascontiguousarray(p) for p in parts), strict=True)
    return arrays


def network(config: MaxViTConfig, salt: str = "", at_start: bool = False) -> MaxViT:
    """The network with these weights, in evaluation mode."""
    model = MaxViT(config).eval()
    arrays = {
        name: weight(name, a.shape, salt, at_start) for name, a in to_official(model.state_dict(), config).items()
    }
    model.load_state_dict(from_official(arrays, config))
    return model


def golden(name: str) -> dict[str, Tensor]:
    """The arrays of one golden file; `images` is float32 with the channels in front."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        arrays = {key: torch.from_numpy(file[key].astype(np.float32)) for key in file.files}
    if "images" in arrays:
        arrays["images"] = arrays["images"].permute(0, 3, 1, 2)
    return arrays


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference over the deviation of theirs: the measure of every golden comparison."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.std(correction=0))
