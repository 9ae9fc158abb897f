"""MBConv and its parts, against TensorFlow's rules written out."""

import pytest
import torch
import torch.nn.functional as F

from maxvit.layers.mbconv import MBConv, SameConv2d, Shortcut, SqueezeExcite


def same_padding(side: int, stride: int) -> tuple[int, int]:
    """TensorFlow's 'same' for a kernel of 3: (before, after)."""
    total = max((-(-side // stride) - 1) * stride + 3 - side, 0)
    return total // 2, total - total // 2


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("hw", [(8, 11), (7, 6), (13, 5), (1, 2)])
def test_padding_is_tensorflows_same(hw, stride):
    conv, x = SameConv2d(3, 5, stride), torch.randn(2, 3, *hw)
    padded = F.pad(x, (*same_padding(hw[1], stride), *same_padding(hw[0], stride)))
    expected = F.conv2d(padded, conv.weight, conv.bias, stride)
    torch.testing.assert_close(conv(x), expected)
    assert expected.shape[2:] == (-(-hw[0] // stride), -(-hw[1] // stride))


def test_padding_counts_as_zero_in_the_convolution_but_not_in_the_shortcuts_mean():
    x = torch.arange(15.0).reshape(1, 1, 3, 5)
    pooled = Shortcut(1, 1, stride=2)(x)
    assert pooled.tolist() == [[[[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]]]]


def test_shortcut_convolves_only_where_the_channels_change():
    assert not list(Shortcut(8, 8, stride=2).parameters())
    assert [tuple(p.shape) for p in Shortcut(8, 12, stride=1).parameters()] == [(12, 8, 1, 1), (12,)]


def test_squeeze_excitation_scales_channels_by_a_silu_and_a_sigmoid_of_their_means():
    se, x = SqueezeExcite(6, 2), torch.randn(3, 6, 4, 5)
    means = x.sum((2, 3)) / 20
    hidden = means @ se.reduce.weight[:, :, 0, 0].T + se.reduce.bias
    scale = (hidden * hidden.sigmoid() @ se.expand.weight[:, :, 0, 0].T + se.expand.bias).sigmoid()
    torch.testing.assert_close(se(x), x * scale[:, :, None, None])


def test_widths_follow_from_the_output_channels():
    mbconv = MBConv(5, 12, expansion=3, se_ratio=0.25)
    assert mbconv.expand.weight.shape == (36, 5, 1, 1)
    assert mbconv.depthwise.weight.shape == (36, 1, 3, 3)
    assert mbconv.se.reduce.weight.shape == (3, 36, 1, 1)  # a quarter of 12, not of 36
    assert mbconv.project.weight.shape == (12, 36, 1, 1)


def test_convolutions_before_a_norm_have_no_bias():
    mbconv = MBConv(5, 12)
    assert mbconv.expand.bias is None
    assert mbconv.depthwise.bias is None
    assert mbconv.project.bias is not None


def test_batch_norm_in_training_moves_by_a_hundredth():
    mbconv, x = MBConv(4, 4).train(), 3 + torch.randn(5, 4, 6, 7)
    mbconv(x)
    mean = x.transpose(0, 1).flatten(1).mean(1)
    torch.testing.assert_close(mbconv.pre_norm.running_mean, 0.01 * mean)


def test_gradients_reach_every_parameter():
    mbconv = MBConv(4, 6, stride=2, drop_path=0.0).train()
    mbconv(torch.randn(3, 4, 9, 7)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in mbconv.parameters())
