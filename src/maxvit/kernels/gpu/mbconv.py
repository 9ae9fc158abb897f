"""MBConv for inference, by five kernels: expansion, filter, squeeze, excite, projection with the shortcut."""

import torch
from torch import Tensor, nn

from maxvit.kernels.gpu.activation import is_erf
from maxvit.kernels.gpu.depthwise import filtered
from maxvit.kernels.gpu.product import activated, projected
from maxvit.kernels.gpu.shortcut import projected_pooled
from maxvit.kernels.gpu.squeeze import excited
from maxvit.layers.mbconv import MBConv


class TritonMBConv(nn.Module):
    """`maxvit.layers.mbconv.MBConv` with its batch norms folded, its weights as the kernels read them."""

    taps: Tensor
    bias: Tensor
    pooled: Tensor | None

    def __init__(self, part: MBConv) -> None:
        super().__init__()
        self.expand, self.se, self.project, self.filter_bias = part.expand, part.se, part.project, part.depthwise.bias
        self.stride, self.symmetric = part.depthwise.stride[0], part.depthwise.padding[0] == 1
        self.erf, self.wide = is_erf(part.act), part.shortcut.wide
        self.register_buffer("taps", part.depthwise.weight.detach().flatten(1).t().contiguous())  # (9, C_hidden)
        self.shortcut = part.shortcut if self.stride == 1 else None
        bias, conv = part.project.bias, part.shortcut.conv
        assert bias is not None
        pooled = None  # (C, C_in)
        if self.shortcut is None:
            pooled = torch.eye(len(bias), dtype=bias.dtype, device=bias.device)
        if self.shortcut is None and isinstance(conv, nn.Conv2d):
            pooled, bias = conv.weight.detach().flatten(1), bias if conv.bias is None else bias + conv.bias
        self.register_buffer("pooled", pooled)
        self.register_buffer("bias", bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, H', W', C)."""
        tokens = x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C_in)
        hidden, shares = self.hidden_map(tokens)
        reduce, excite = self.se.reduce, self.se.expand
        scale = excited(shares, reduce.weight.flatten(1), reduce.bias, excite.weight.flatten(1), excite.bias)
        weight = self.project.weight.flatten(1)
        if self.pooled is not None:
            pooled: Tensor = projected_pooled(hidden, scale, weight, self.bias, tokens, self.pooled, self.wide)
            return pooled
        assert self.shortcut is not None
        out: Tensor = projected(hidden, scale, weight, self.bias, self.shortcut(x).permute(0, 2, 3, 1))
        return out

    def hidden_map(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, C_in), dense -> what squeeze-and-excite gets, and shares of its mean, see `depthwise.filtered`."""
        assert self.expand.bias is not None
        hidden = activated(tokens, self.expand.weight.flatten(1), self.expand.bias, self.erf)
        out: tuple[Tensor, Tensor] = filtered(
            hidden, self.taps, self.filter_bias, self.stride, self.symmetric, self.erf
        )
        return out
