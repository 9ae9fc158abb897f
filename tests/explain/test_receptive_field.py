"""The effective receptive field, against the whole Jacobian and against what windows allow."""

import dataclasses

import numpy as np
import pytest
import torch
from networks import tiny
from torch import nn

from maxvit.errors import MaxViTError
from maxvit.explain.receptive_field import effective_side, receptive_field
from maxvit.model import MaxViT


def test_the_field_is_the_mean_square_of_the_jacobian_in_random_directions():
    model, images, generator = tiny().eval(), torch.randn(2, 3, 37, 45), torch.Generator().manual_seed(5)

    def token(x):
        return model.forward_pyramid(x[None], [16])[0][0, :, 1, 1]  # of 3 x 3

    total = torch.zeros(37, 45)
    for image in images:
        jacobian = torch.autograd.functional.jacobian(token, image)  # (C, 3, H, W)
        direction = torch.randn(len(jacobian), generator=generator)
        total += torch.einsum("c,cihw->ihw", direction, jacobian).square().sum(0)
    field = torch.from_numpy(receptive_field(model, images, 3, seed=5))
    torch.testing.assert_close(field, total.sqrt() / total.sqrt().max())


def test_nothing_counts_that_windows_and_convolutions_cannot_reach():
    model = MaxViT(dataclasses.replace(tiny().config, grid_size=(1, 1)))
    for module in model.modules():
        if type(module).__name__ == "SqueezeExcite":  # which tells every token the mean of all
            nn.init.zeros_(module.reduce.weight)
            nn.init.zeros_(module.expand.weight)
    field = receptive_field(model, torch.randn(2, 3, 96, 160), 1)
    rows, columns = np.nonzero(field)
    # token (12, 20) is in the window of rows 12, 13 and columns 18 to 20, pixels 48 to 55 and 72 to 83; on to both
    # sides the depthwise convolution and the stem reach 1 to 2 tokens of 2 pixels, and 3 pixels more
    assert 40 <= rows.min() < 48
    assert 55 < rows.max() <= 63
    assert 64 <= columns.min() < 72
    assert 83 < columns.max() <= 91


def test_another_seed_takes_other_directions_and_the_same_seed_the_same():
    model, images = tiny(), torch.randn(1, 3, 37, 45)
    first, again, other = (receptive_field(model, images, 2, seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert not np.allclose(first, other)
    assert first.max() == 1


def test_the_side_is_that_of_a_square_as_large_as_the_part_above_two_deviations():
    field = np.zeros((20, 30), np.float32)
    field[2:6, 5:14] = 0.05
    field[3, 7] = 1
    field[10:, :] = 0.04
    assert effective_side(field) == pytest.approx(6)


def test_what_does_not_fit_is_refused():
    with pytest.raises(MaxViTError, match="stages 1 to 4"):
        receptive_field(tiny(), torch.randn(1, 3, 37, 45), 0)
    with pytest.raises(MaxViTError, match="no images"):
        receptive_field(tiny(), torch.randn(0, 3, 37, 45), 1)
    with pytest.raises(MaxViTError, match="smallest side is 32"):
        receptive_field(tiny(), torch.randn(1, 3, 31, 45), 1)
