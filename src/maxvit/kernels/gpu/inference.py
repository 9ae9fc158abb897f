"""Blocks of the network on the Triton kernels, for inference."""

from torch import Tensor, nn

from maxvit.kernels.gpu.activation import is_erf
from maxvit.kernels.gpu.attention_inference import attend_fixed, padded_bias
from maxvit.kernels.gpu.feedforward import feedforward
from maxvit.kernels.gpu.linear import normed_linear
from maxvit.kernels.gpu.mbconv import TritonMBConv
from maxvit.kernels.gpu.product import projected
from maxvit.kernels.gradients import refuse_gradients
from maxvit.layers.block import MaxViTBlock
from maxvit.layers.multiaxis import AttentionLayer


class TritonBlock(nn.Module):
    """`MaxViTBlock` with batch norms folded."""

    block_bias: Tensor | None
    grid_bias: Tensor | None

    def __init__(self, block: MaxViTBlock) -> None:
        super().__init__()
        self.mbconv = TritonMBConv(block.mbconv)
        self.block_attention, self.grid_attention = block.block_attention, block.grid_attention
        self.register_buffer("block_bias", padded_bias(block.block_attention.attention))
        self.register_buffer("grid_bias", padded_bias(block.grid_attention.attention))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, H', W'), channels_last."""
        refuse_gradients(x)
        x = self.mbconv(x)
        x = attention_layer(self.block_attention, self.block_bias, x)
        x = attention_layer(self.grid_attention, self.grid_bias, x)
        return x.permute(0, 3, 1, 2)


def attention_layer(layer: AttentionLayer, bias: Tensor | None, x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, H, W, C), with the layer's bias as `padded_bias` gives it."""
    norm, attention, expand, project = layer.norm1, layer.attention, layer.ffn.expand, layer.ffn.project
    qkv = normed_linear(x, norm.weight, norm.bias, attention.qkv.weight, attention.qkv.bias, norm.eps)
    x = projected(attend_fixed(attention, bias, qkv), None, attention.proj.weight, attention.proj.bias, x)
    norm = layer.norm2
    weights = norm.weight, norm.bias, expand.weight, expand.bias, project.weight, project.bias
    out: Tensor = feedforward(x, *weights, None, norm.eps, is_erf(layer.ffn.act))
    return out
