"""Grad-CAM and integrated gradients through captum, against their formulas."""

import sys

import pytest
import torch
from networks import tiny
from torch import nn

from maxvit.errors import MaxViTError
from maxvit.explain.attribution import grad_cam, integrated_gradients

pytest.importorskip("captum", reason="attribution needs captum: pip install 'maxvit[explain]'")


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_grad_cam_is_the_map_weighted_by_its_mean_gradients(stage):
    model, image, target = tiny().eval(), torch.randn(3, 83, 45), 1
    ours = grad_cam(model, image, target, stage)
    maps = []
    block = model.stages[stage - 1][-1]
    hook = block.register_forward_hook(lambda module, args, output: maps.append(output))
    score = model(image[None])[0, target]
    hook.remove()
    (gradient,) = torch.autograd.grad(score, maps)
    wanted = (maps[0] * gradient.mean((2, 3), keepdim=True)).sum(1).clamp(min=0)[0].detach()
    torch.testing.assert_close(torch.from_numpy(ours), wanted)


def test_grad_cam_before_a_plain_head_is_what_each_position_says_for_the_class():
    """Norm, pool, linear: the logit is a mean over positions, each of which has its say (CAM, arXiv 1512.04150)."""
    model, image, target = tiny(dialect="timm_rw").eval(), torch.randn(3, 83, 45), 1
    ours = grad_cam(model, image, target)
    with torch.no_grad():
        map_ = model.head.norm(model.forward_features(image[None]))[0]
        said = torch.einsum("c,chw->hw", model.head.classifier.weight[target], map_)
    torch.testing.assert_close(torch.from_numpy(ours), said.clamp(min=0) / said.numel())


def test_integrated_gradients_add_up_to_the_difference_of_the_logits():
    model, image = tiny().eval(), torch.randn(3, 37, 45)
    baseline = image + 0.1 * torch.randn(3, 37, 45)  # near, as such a network jumps on a longer way
    nn.init.normal_(model.head.classifier.weight)
    ours = integrated_gradients(model, image, 2, baseline, steps=50, batch_size=25)
    with torch.no_grad():
        difference = (model(image[None]) - model(baseline[None]))[0, 2].item()
    assert ours.shape == (37, 45)
    assert ours.sum() == pytest.approx(difference, rel=0.02)  # the integral's error


@pytest.mark.parametrize("batch_size", [3, 32])
def test_the_baseline_is_zeros_and_batches_do_not_matter(batch_size):
    model, image = tiny(), torch.randn(3, 37, 45)
    wanted = integrated_gradients(model, image, 1, torch.zeros(3, 37, 45), steps=8, batch_size=8)
    ours = integrated_gradients(model, image, 1, steps=8, batch_size=batch_size)
    torch.testing.assert_close(torch.from_numpy(ours), torch.from_numpy(wanted), rtol=1e-4, atol=1e-6)  # of batches


@pytest.mark.parametrize("method", [grad_cam, integrated_gradients])
def test_the_network_is_left_as_it_was(method):
    model = tiny().train()
    method(model, torch.randn(3, 37, 45), 0)
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_does_not_fit_is_refused():
    model, image = tiny(), torch.randn(3, 37, 45)
    with pytest.raises(MaxViTError, match="class is -1; this network has classes 0 to 2"):
        grad_cam(model, image, -1)
    with pytest.raises(MaxViTError, match="stages 1 to 4"):
        grad_cam(model, image, 0, stage=5)
    with pytest.raises(MaxViTError, match=r"baseline has shape \(3, 45, 37\)"):
        integrated_gradients(model, image, 0, torch.zeros(3, 45, 37))
    with pytest.raises(MaxViTError, match="steps is 0"):
        integrated_gradients(model, image, 0, steps=0)


def test_without_captum_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(MaxViTError, match=r"pip install 'maxvit\[explain\]'"):
        grad_cam(tiny(), torch.randn(3, 37, 45), 0)
