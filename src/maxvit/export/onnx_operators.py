"""What newer sets of ONNX operators have in one operator, in that one or in the older ones."""

import math

import torch
from torch import Tensor

from maxvit.export.int8 import Range, quantize_weight
from maxvit.export.onnx_graph import Graph

GELU, ATTENTION = 20, 23  # the first sets that have them


def gelu(graph: Graph, x: str, approximate: str) -> str:
    """GELU, by the tanh formula ("tanh") or the definition ("none")."""
    if graph.opset >= GELU:
        return graph.add("Gelu", x, approximate=approximate)
    if approximate == "none":
        erf = graph.add("Erf", graph.add("Mul", x, graph.number(1 / math.sqrt(2))))
        y = graph.add("Mul", x, graph.add("Add", erf, graph.number(1.0)))
        return graph.add("Mul", y, graph.number(0.5))
    slope = 2 * math.sqrt(2 / math.pi)  # x * sigmoid(x * (slope + slope * 0.044715 * x ** 2)) is the tanh formula
    square = graph.add("Mul", graph.add("Mul", x, x), graph.number(slope * 0.044715))
    twice = graph.add("Mul", x, graph.add("Add", square, graph.number(slope)))
    return graph.add("Mul", x, graph.add("Sigmoid", twice))


def attention(graph: Graph, q: str, k: str, v: str, mask: str, heads: int, tokens: int, channels: int) -> str:
    """Attention of heads that are scaled already, within what TensorRT documents: on four axes.

    Args:
        graph: It is added to this one.
        q: (groups, T, C).
        k: The same.
        v: The same.
        mask: (1 or groups, N, T, T), added to the scores.
        heads: N.
        tokens: T.
        channels: C.

    Returns:
        (groups, T, C).
    """

    def split(x: str, *order: int) -> str:
        x = graph.add("Reshape", x, graph.integers(-1, tokens, heads, channels // heads))  # (groups, T, N, D)
        return graph.add("Transpose", x, perm=order)

    by_head = (0, 2, 1, 3)
    if graph.opset >= ATTENTION:
        y = graph.add("Attention", split(q, *by_head), split(k, *by_head), split(v, *by_head), mask, scale=1.0)
    else:
        scores = graph.add("Add", graph.add("MatMul", split(q, *by_head), split(k, 0, 2, 3, 1)), mask)
        y = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), split(v, *by_head))  # (groups, N, T, D)
    return graph.add("Reshape", graph.add("Transpose", y, perm=by_head), graph.integers(-1, tokens, channels))


def product_in_8_bits(graph: Graph, x: str, weight: Tensor, bias: Tensor | None) -> str:
    """(..., C_in), as 8 bits see it -> (..., C): a runtime that has such products makes one of these operators."""
    levels, steps = quantize_weight(weight)
    columns = graph.add("DequantizeLinear", graph.constant(levels.T), graph.constant(steps), axis=1)
    y = graph.add("MatMul", x, columns)
    return y if bias is None else graph.add("Add", y, graph.constant(bias))


def through_8_bits(graph: Graph, x: str, inputs: Range) -> str:
    """A value as 8 bits see it, with levels on both sides of 0."""
    step = graph.number(max(-inputs.low, inputs.high, 1e-8) / 127)
    zero = graph.constant(torch.tensor(0, dtype=torch.int8))
    return graph.add("DequantizeLinear", graph.add("QuantizeLinear", x, step, zero), step, zero)
