"""Deletion and insertion on a network whose answer rests on known pixels."""

import dataclasses

import numpy as np
import pytest
import torch
from networks import tiny
from torch import nn

from maxvit.errors import MaxViTError
from maxvit.explain.faithfulness import blur, faithfulness, ranks

SPOT = (slice(8, 12), slice(20, 28))  # whole cells of 4 pixels


class Spot(nn.Module):
    """Sees one corner of the image and nothing else: its logit is how far that is from its blur."""

    def __init__(self, model, image):
        super().__init__()
        self.config, self.head, self.class_names = model.config, model.head, None
        self.preprocessing = model.preprocessing
        self.wanted, self.start = image, blur(image)

    def forward(self, images):
        whole, blurred = self.wanted[:, *SPOT], self.start[:, *SPOT]
        share = ((images[:, :, *SPOT] - blurred) / (whole - blurred)).mean((1, 2, 3))
        return torch.stack([20 * share - 10, torch.zeros_like(share), torch.zeros_like(share)], 1)


@pytest.fixture
def spot():
    image = torch.randn(3, 37, 45)
    return Spot(tiny(), image), image


def map_of(values):
    relevance = np.zeros((10, 12), np.float32)
    relevance[2, 5:7] = values
    return relevance


def test_a_map_of_the_right_place_deletes_at_once_and_inserts_at_once(spot):
    network, image = spot
    right, wrong = (faithfulness(network, image, map_of(v), 0, steps=37) for v in (1.0, -1.0))
    # the spot is 32 of 1,665 pixels, less than a step, and smoothing of the map may add a ring around it
    assert right.deletion < 0.06
    assert right.insertion > 0.94
    assert wrong.deletion > 0.94
    assert wrong.insertion < 0.06


def test_curves_go_from_the_image_to_its_blur_and_back(spot):
    network, image = spot
    found = faithfulness(network, image, map_of(1.0), 0, steps=5, batch_size=2)
    top, bottom = (network(x[None]).softmax(-1)[0, 0].item() for x in (image, blur(image)))
    assert len(found.deleted) == len(found.inserted) == 6
    assert (found.deleted[0], found.deleted[-1]) == pytest.approx((top, bottom))
    assert (found.inserted[0], found.inserted[-1]) == pytest.approx((bottom, top))
    assert found.deletion == pytest.approx(torch.trapezoid(torch.tensor(found.deleted), dx=1 / 5).item())
    assert found.insertion == pytest.approx(torch.trapezoid(torch.tensor(found.inserted), dx=1 / 5).item())


def test_each_step_removes_the_most_relevant_that_are_left():
    model, image = tiny().eval(), torch.randn(3, 37, 45)
    relevance = np.random.default_rng(0).random((37, 45)).astype(np.float32)
    found = faithfulness(model, image, relevance, 1, steps=3)
    order = np.argsort(-relevance, axis=None)
    for step in (1, 2):
        pixels = image.clone().flatten(1)
        gone = torch.from_numpy(order[: 37 * 45 * step // 3].copy())
        pixels[:, gone] = blur(image).flatten(1)[:, gone]
        with torch.no_grad():
            wanted = model(pixels.view(1, 3, 37, 45)).softmax(-1)[0, 1].item()
        assert found.deleted[step] == pytest.approx(wanted, rel=1e-5)


def test_ranks_of_a_coarse_map_follow_its_cells():
    relevance = np.arange(6, dtype=np.float32).reshape(2, 3)  # 33 x 65 pixels in cells of 32: the last ones are slivers
    found = ranks(relevance, (33, 65))
    assert sorted(found.flatten().tolist()) == list(range(33 * 65))
    assert found[32, 64] == 0
    assert found[:16, :16].min() > found[:, 48:].max()


def test_a_map_that_is_alike_everywhere_goes_row_by_row():
    assert ranks(np.ones((2, 3), np.float32), (4, 6)).flatten().tolist() == list(range(24))


def test_what_does_not_fit_is_refused():
    model, image = tiny(), torch.randn(3, 37, 45)
    good = np.ones((2, 2), np.float32)
    with pytest.raises(MaxViTError, match="classes 0 to 2"):
        faithfulness(model, image, good, 3)
    with pytest.raises(MaxViTError, match=r"shape \(4,\)"):
        faithfulness(model, image, np.ones(4, np.float32), 0)
    with pytest.raises(MaxViTError, match="finite numbers"):
        faithfulness(model, image, good * np.nan, 0)
    with pytest.raises(MaxViTError, match="steps is 0"):
        faithfulness(model, image, good, 0, steps=0)


def test_scores_of_a_multi_label_network_follow_the_sigmoid(spot):
    network, image = spot
    network.config = dataclasses.replace(network.config, multi_label=True)
    found = faithfulness(network, image, map_of(1.0), 0, steps=5)
    top, bottom = (network(x[None]).sigmoid()[0, 0].item() for x in (image, blur(image)))
    assert (found.deleted[0], found.deleted[-1]) == pytest.approx((top, bottom))
