"""A copy that shares memory: the same numbers at the same place, and everything else its own."""

import torch
from torch import nn

from maxvit.layers.sharing import sharing_copy


def test_tensors_lie_in_the_original_s_memory_and_the_rest_is_the_copy_s():
    original = nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5)).train()
    copied = sharing_copy(original)
    for ours, theirs in zip(copied.state_dict().values(), original.state_dict().values(), strict=True):
        assert ours.data_ptr() == theirs.data_ptr()
    copied.eval().to(torch.bfloat16)
    copied[0].weight = nn.Parameter(torch.zeros(5, 3, 1, 1))
    assert original.training
    assert {t.dtype for t in original.state_dict().values()} == {torch.float32, torch.int64}
    assert all(p.requires_grad for p in original.parameters())
    assert original[0].weight.abs().sum() > 0
