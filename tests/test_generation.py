"""The example that makes pictures from noise: it goes on exactly, and each part of the noise and the picture counts."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

PROGRAM = Path(__file__).parent.parent / "examples" / "generation.py"


@pytest.fixture
def example():
    values = runpy.run_path(str(PROGRAM))
    values["train"].__globals__.update(BATCH=4, CHANNELS=(32, 32, 32))
    return SimpleNamespace(**values)


def test_a_run_that_was_stopped_goes_on_exactly(example, tmp_path):
    pictures = torch.rand(10, 1, 32, 32) * 2 - 1
    whole = example.train(pictures, tmp_path / "whole", "maxvit", steps=2, every=2)
    example.train(pictures, tmp_path / "parts", "maxvit", steps=1, every=1)
    parts = example.train(pictures, tmp_path / "parts", "maxvit", steps=2, every=2)
    assert parts.steps == whole.steps == 2
    assert torch.equal(parts.sample(2), whole.sample(2))
    with Image.open(tmp_path / "whole" / "samples-000002.png") as picture:
        assert picture.size == (640, 320)


@pytest.mark.parametrize("kind", ["maxvit", "convolutional"])
def test_noise_and_position_reach_every_part_of_a_picture(example, kind):
    generator = example.Generator(example.ORDERS[kind], 3).eval()
    noise = torch.randn(2, example.LATENT)
    with torch.no_grad():
        pictures = generator(noise)
        other = generator(noise + torch.tensor([[0.0], [1.0]]))
    assert pictures.shape == (2, 3, 32, 32)
    assert torch.equal(pictures[0], other[0])
    assert ((pictures[1] - other[1]).abs().amax(0) > 0).float().mean() > 0.99


def test_the_critic_sees_whether_a_batch_differs(example):
    critic = example.Critic(1)
    picture = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        same, mixed = critic(picture.expand(4, -1, -1, -1)), critic(torch.cat([picture, torch.randn(3, 1, 32, 32)]))
    assert torch.allclose(same, same[:1].expand(4))
    assert not torch.allclose(same[0], mixed[0])
