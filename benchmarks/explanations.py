"""Do the maps show what the answer rests on? Measured where the deciding region is known.

**Images** (generated). A piece of a photograph, 64 x 64, with one of scikit-learn's handwritten digits (20 to 28 pixels)
at a random place in a random colour, and two distractors: other digits of that size whose 8 x 8 pixels are shuffled, in
colours of their own. The label is the digit; nothing else in the picture tells it. Test images are made of digits and
of parts of the photographs that the training never sees.

**Measured**, on test images that the network answers rightly: deletion (area under the probability of the class as the
most relevant pixels are blurred; lower is better), insertion (as they are given back; higher is better), the share of
relevance (its positive part) within the digit's square, and how often the most relevant pixel lies there. A map that is
alike everywhere has the square's share of the picture as its own.

    python benchmarks/explanations.py --work runs/explanations --out benchmarks/results/explanations_HARDWARE_YYYY-MM
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from maxvit import MaxViT, accelerate, create_model
from maxvit.benchmark.note import table, write_note
from maxvit.config import Preprocessing
from maxvit.data.digits import load_digits
from maxvit.explain.attribution import grad_cam, integrated_gradients
from maxvit.explain.faithfulness import faithfulness
from maxvit.explain.received import attention_maps
from maxvit.explain.rollout import rollout
from maxvit.kernels.accelerate import obstacle
from maxvit.storage import write_text
from maxvit.training.optim import learning_rate_factor, make_optimizer

SIDE, DISTRACTORS = 64, 2
EASY_SIDE = 32  # of the pictures without distractors that the training begins with
RATE, DECAY, CLIP = 1e-3, 0.05, 1.0
STATISTICS = 20  # training batches from which norms take their statistics in the end
SPEC = Preprocessing(image_size=(SIDE, SIDE), fit="squash", mean=(0.5,) * 3, std=(0.25,) * 3)
Map = npt.NDArray[np.float32]
Box = tuple[int, int, int]  # top, left, side


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One picture: (64, 64, 3) uint8, the digit on it, and where that is."""

    pixels: npt.NDArray[np.uint8]
    label: int
    box: Box


class Scenes:
    """Pictures without end; those for the test are of other digits and other parts of the photographs."""

    def __init__(self, test: bool, seed: int, side: int = SIDE, distractors: int = DISTRACTORS) -> None:
        self.side, self.distractors = side, distractors
        splits = load_digits()
        assert splits.test is not None
        parts = [splits.test] if test else [splits.train, splits.val]
        self.digits = [(np.asarray(s), label) for p in parts for s, label in zip(p.sources, p.labels, strict=True)]
        self.photographs = [_part(p, test) for p in _photographs()]
        self.random = np.random.default_rng((seed, test))

    def draw(self) -> Sample:
        """One more."""
        picture = self._background()
        boxes = self._boxes(1 + self.distractors)
        for number, box in enumerate(boxes):
            digit, its_label = self.digits[self.random.integers(len(self.digits))]
            if number == 0:
                label = its_label
            else:
                digit = self.random.permuted(digit.flatten()).reshape(8, 8)
            self._paint(picture, digit, box)
        return Sample(picture.round().astype(np.uint8), label, boxes[0])

    def _background(self) -> npt.NDArray[np.float32]:
        photograph = self.photographs[self.random.integers(len(self.photographs))]
        side = int(self.random.integers(self.side, min(photograph.size) + 1))
        left, top = (int(self.random.integers(length - side + 1)) for length in photograph.size)
        crop = photograph.crop((left, top, left + side, top + side)).resize(
            (self.side, self.side), Image.Resampling.BICUBIC
        )
        return np.array(crop, np.float32)

    def _boxes(self, number: int) -> list[Box]:
        """Squares that do not touch."""
        found: list[Box] = []
        while len(found) < number:
            side = int(self.random.integers(20, 29))
            top, left = (int(i) for i in self.random.integers(0, self.side - side + 1, 2))
            if all(
                abs(2 * top + side - 2 * t - s) > side + s or abs(2 * left + side - 2 * w - s) > side + s
                for t, w, s in found
            ):
                found.append((top, left, side))
            elif self.random.random() < 0.02:
                found = []  # there may be no room left
        return found

    def _paint(self, picture: npt.NDArray[np.float32], digit: npt.NDArray[np.uint8], box: Box) -> None:
        top, left, side = box
        large = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
        ink = np.asarray(large, np.float32)[..., None] / 255
        colour = self.random.choice([0.0, 255.0], 3) * 0.9 + self.random.random(3) * 25
        place = picture[top : top + side, left : left + side]
        place += ink * (colour.astype(np.float32) - place)


def _photographs() -> list[Image.Image]:
    from skimage import data
    from sklearn.datasets import load_sample_images

    pictures = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), *load_sample_images().images]
    return [Image.fromarray(p) for p in pictures]


def _part(photograph: Image.Image, test: bool) -> Image.Image:
    """The left two thirds to learn from, the rest to test on."""
    border = photograph.width * 2 // 3
    return photograph.crop(
        (border, 0, photograph.width, photograph.height) if test else (0, 0, border, photograph.height)
    )


def tensor(pixels: npt.NDArray[np.uint8]) -> Tensor:
    """As the network takes it: (..., H, W, 3) -> (..., 3, H, W)."""
    values = torch.from_numpy(pixels).float() / 255
    return ((values - torch.tensor(SPEC.mean)) / torch.tensor(SPEC.std)).movedim(-1, -3)


def train(steps: int, batch_size: int, seed: int) -> MaxViT:
    """A network that reads the digit."""
    torch.manual_seed(seed)
    network = create_model("maxvit_micro", image_size=None).train()
    network.preprocessing, network.class_names = SPEC, [str(i) for i in range(10)]
    fast = network if obstacle(network) else accelerate(network)
    optimizer, start = make_optimizer(network, RATE, DECAY), time.perf_counter()
    easy, hard = Scenes(False, seed, EASY_SIDE, distractors=0), Scenes(False, seed)

    def batch(scenes: Scenes) -> tuple[Tensor, Tensor]:
        samples = [scenes.draw() for _ in range(batch_size)]
        return tensor(np.stack([s.pixels for s in samples])), torch.tensor([s.label for s in samples])

    losses: list[float] = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * learning_rate_factor(step, steps, steps // 20, 0.01)
        images, labels = batch(easy if step < steps * 0.6 else hard)
        loss = F.cross_entropy(fast(images.contiguous(memory_format=torch.channels_last)), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        losses.append(loss.item())
        if step % 100 == 99:
            print(
                f"step {step + 1}: loss {np.mean(losses[-100:]):.3f}, {time.perf_counter() - start:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    with torch.no_grad():
        update_bn([batch(hard)[0] for _ in range(STATISTICS)], network)
    network.provenance = {"steps": steps, "batch": batch_size, "seed": seed, "seconds": time.perf_counter() - start}
    return network.eval()
