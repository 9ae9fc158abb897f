"""Rollout against the dense product of all layers' matrices, made from the slow definition of attention."""

import numpy as np
import pytest
import torch
from networks import given_to, tiny
from torch import nn

from maxvit.errors import MaxViTError
from maxvit.explain.capture import look
from maxvit.explain.rollout import rollout, spread, unpool, weight_gradients
from maxvit.layers.attention import GroupAttention
from maxvit.layers.mbconv import MBConv
from maxvit.layers.multiaxis import AttentionLayer
from maxvit.layers.parallel import ParallelAttention
from maxvit.layers.plain_head import PlainHead
from slow_attention import project, slow_weights

SIDES = [(21, 12), (11, 6), (6, 3), (3, 2)]  # of the maps of 83 x 45 pixels: padded ones, and odd sides


def mean_pooling(fine, coarse):
    """(coarse tokens, fine tokens): each is the mean of the at most 2 x 2 that exist."""
    matrix = torch.zeros(coarse[0] * coarse[1], fine[0] * fine[1])
    for i in range(fine[0]):
        for j in range(fine[1]):
            matrix[i // 2 * coarse[1] + j // 2, i * fine[1] + j] = 1
    return matrix / matrix.sum(1, keepdim=True)


def neighbours(hw):
    """(token, token): half itself, half the mean of the 3 x 3 around it that exist."""
    i, j = (side.flatten() for side in torch.meshgrid(torch.arange(hw[0]), torch.arange(hw[1]), indexing="ij"))
    near = ((i[:, None] - i).abs() <= 1) & ((j[:, None] - j).abs() <= 1)
    return (torch.eye(len(i)) + near / near.sum(1, keepdim=True)) / 2


def dense_rollout(model, image, spreads, start, matrices):
    """The row vector of the last map's relevance times every layer's matrix, the last first."""
    found, r = [], start
    for stage in (3, 2, 1, 0):
        depth = len(model.stages[stage])
        for block in reversed(range(depth)):
            parts, kept = list(model.stages[stage][block]), []
            for part in reversed(parts):
                if isinstance(part, ParallelAttention):
                    weights = (matrices[part.block] + matrices[part.grid]) / 2
                elif isinstance(part, AttentionLayer):
                    weights = matrices[part.attention]
                if isinstance(part, ParallelAttention | AttentionLayer):
                    r = r @ (torch.eye(len(weights)) + weights) / 2
                    kept.append(r)  # before the first attention, in the end
                if block == 0 and part is parts[0] and stage:  # it strides
                    r = r @ mean_pooling(SIDES[stage - 1], SIDES[stage])
                if isinstance(part, MBConv) and spreads:
                    strides = block == 0 and part is parts[0]
                    r = r @ neighbours(SIDES[max(stage - 1, 0) if strides else stage])
            if block == 0:
                found.append(kept[-1].view(SIDES[stage]) * kept[-1].numel())
    return found[::-1]


@pytest.mark.parametrize("mbconv", ["identity", "spread"])
@pytest.mark.parametrize(
    "options", [{}, {"dialect": "timm_rmlp"}, {"dialect": "timm_pm"}, {"order": ("CGB", "GBC", "BG", "CBB")}]
)
def test_rollout_is_the_product_of_all_layers(options, mbconv):
    model, image = tiny(**options), torch.randn(3, 83, 45)
    with torch.no_grad():
        matrices = {layer: slow_weights(layer, x).mean(0) for layer, x in given_to(model, image).items()}
        wanted = dense_rollout(model, image, mbconv == "spread", torch.full((6,), 1 / 6), matrices)
    for ours, slow in zip(rollout(model, image, mbconv=mbconv), wanted, strict=True):
        torch.testing.assert_close(torch.from_numpy(ours), slow)


def dense_forward(layer, kept):
    """Attention by its matrix, which is kept for its gradient."""

    def forward(x, mask=None):
        weights = slow_weights(layer, x)
        weights.retain_grad()
        kept[layer] = weights
        out = (weights @ project(layer, x)[2, 0]).transpose(0, 1).flatten(1)  # (H * W, C)
        return layer.proj(out.unflatten(0, x.shape[1:3]))[None]

    return forward


@pytest.mark.parametrize("dialect", ["official", "timm_rmlp", "timm_pm"])
def test_class_rollout_weighs_attention_by_its_gradient(dialect, monkeypatch):
    model, image = tiny(dialect=dialect).eval(), torch.randn(3, 83, 45)
    nn.init.normal_(model.head.classifier.weight)
    target = int(model(image[None]).argmax())  # something speaks for it
    ours = rollout(model, image, target)
    kept, last = {}, []
    for layer in model.modules():
        if isinstance(layer, GroupAttention):
            monkeypatch.setattr(layer, "forward", dense_forward(layer, kept))
    if isinstance(model.head, PlainHead):  # its norm comes before its pool
        model.head.norm.register_forward_hook(lambda _, args, map_: (map_.retain_grad(), last.append(map_))[0])
    else:
        model.head.register_forward_pre_hook(lambda _, args: (args[0].retain_grad(), last.append(args[0]))[0])
    model(image[None])[0, target].backward()
    matrices = {}
    for layer, weights in kept.items():
        counted = (weights * weights.grad).clamp(min=0).mean(0).detach()
        total = counted.sum(1, keepdim=True)
        matrices[layer] = torch.where(total > 0, counted / total, torch.eye(len(counted)))
    start = (last[0] * last[0].grad)[0].sum(0).clamp(min=0).flatten().detach()
    for map_, slow in zip(ours, dense_rollout(model, image, False, start / start.sum(), matrices), strict=True):
        torch.testing.assert_close(torch.from_numpy(map_), slow, rtol=1e-3, atol=1e-3)  # rows are divided by tiny sums


def test_gradients_of_weights_are_autograd_s():
    model, image, target = tiny().eval(), torch.randn(3, 83, 45), 2
    looks, kept = look(model, image, lambda logits: logits[target]), {}
    seen = looks.layers[-1]
    seen.attention.forward = dense_forward(seen.attention, kept)
    model(image[None])[0, target].backward()
    (weights,) = kept.values()
    with torch.no_grad():
        ours = weight_gradients(seen.attention, seen.tokens, seen.gradient)[0]  # (N, T, T): grids of 3 x 2 hold it all
    assert seen.hw == seen.attention.size == (3, 2)
    torch.testing.assert_close(ours, weights.grad)


@pytest.mark.parametrize("target", [None, 0, 2])
@pytest.mark.parametrize("mbconv", ["identity", "spread"])
@pytest.mark.parametrize("hw", [(83, 45), (32, 33), (65, 97)])
def test_nothing_is_lost_or_gained_on_the_way(target, mbconv, hw):
    for values in rollout(tiny(), torch.randn(3, *hw), target, mbconv):
        assert values.dtype == np.float32
        assert (values >= 0).all()
        assert values.mean() == pytest.approx(1, abs=1e-5)


def test_with_max_pooling_tokens_count_by_the_channels_that_they_win():
    model, image = tiny(pool="max").eval(), torch.randn(3, 83, 45)
    with torch.no_grad():
        features = model.forward_features(image[None])[0].flatten(1)  # (C, H * W)
        wins = torch.zeros(6)
        for channel in features:
            wins[channel.argmax()] += 1 / len(features)
        matrices = {layer: slow_weights(layer, x).mean(0) for layer, x in given_to(model, image).items()}
        wanted = dense_rollout(model, image, False, wins, matrices)
    torch.testing.assert_close(torch.from_numpy(rollout(model, image)[0]), wanted[0])


@pytest.mark.parametrize("fine", [(21, 12), (6, 11), (1, 5), (7, 1)])
def test_unpooling_is_the_transpose_of_mean_pooling(fine):
    coarse = tuple(-(-side // 2) for side in fine)
    r = torch.rand(coarse)
    torch.testing.assert_close(unpool(r, fine), (r.flatten() @ mean_pooling(fine, coarse)).view(fine))


def test_spreading_is_the_transpose_of_a_mean_over_neighbours():
    r = torch.rand(5, 7)
    torch.testing.assert_close(spread(r), (r.flatten() @ neighbours((5, 7))).view(5, 7))


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_was(training):
    model = tiny().train(training)
    for parameter in model.parameters():
        parameter.requires_grad_(False)  # as of a frozen one
    rollout(model, torch.randn(3, 37, 45), 1)
    assert all(module.training is training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


def test_what_cannot_be_explained_is_refused():
    model, image = tiny(), torch.randn(3, 37, 45)
    with pytest.raises(MaxViTError, match="classes 0 to 2"):
        rollout(model, image, 3)
    with pytest.raises(MaxViTError, match="unknown mbconv 'sprea': did you mean 'spread'"):
        rollout(model, image, mbconv="sprea")
    model.reset_classifier(0)
    with pytest.raises(MaxViTError, match="no classifier"):
        rollout(model, image, 0)
    assert len(rollout(model, image)) == 4
