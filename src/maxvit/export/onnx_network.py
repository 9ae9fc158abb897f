"""The network as ONNX operators, for images of one size, as ONNX Runtime computes them fastest on a CPU; or as others
can, with the operators of a set that is given.

What comes out is the network's; on the way to it,

- batch norms are folded into the convolutions, which stay in NCHW: the runtime keeps them in its own blocked layout;
- tokens are put into groups by Gather, which copies on all cores (Transpose does not), and stay in the order of their
  groups until another is wanted: three times a block, and the heads never move;
- Q, K and V are three products, and the operator Attention takes them as they are (where a set is given, by heads);
- the scale of attention is in Q's weights. K's bias is left out, as it adds one number to all scores of a query, which
  softmax does not see. V's bias passes through the weighted mean, and is part of the projection's;
- relative position bias is a constant.

Letters: B batch, H W map sides, C channels, G groups per image, T tokens per group, N heads, D head_dim.
"""

from collections.abc import Mapping, Sequence
from typing import BinaryIO

import torch
from onnx import ModelProto
from torch import Tensor, nn

from maxvit.config import MaxViTConfig, Preprocessing, Size
from maxvit.errors import MaxViTError
from maxvit.export import onnx_operators
from maxvit.export.int8 import Range, quantize_weight
from maxvit.export.onnx_graph import Graph, Value
from maxvit.export.options import OPSETS, ExportOptions, description
from maxvit.kernels.folding import fold_for_inference, is_optimized
from maxvit.kernels.known import network_change
from maxvit.layers.attention import GroupAttention
from maxvit.layers.block import MaxViTBlock
from maxvit.layers.gather import group_indices, place_indices
from maxvit.layers.inner_head import InnerHead, averaging
from maxvit.layers.mbconv import MBConv, SameConv2d, Shortcut, SqueezeExcite
from maxvit.layers.multiaxis import AttentionLayer
from maxvit.layers.novelty import Novelty
from maxvit.layers.plain_head import PlainHead
from maxvit.model import Head, MaxViT


def deployed(
    model: MaxViT, options: ExportOptions, int8: Mapping[str, Range] | None = None, data: BinaryIO | None = None
) -> ModelProto:
    """Write the network as an ONNX model.

    Args:
        model: It is left as it is.
        options: What goes in and comes out, for one size of images.
        int8: The products of matrices to compute in 8 bits, by the names of their modules: the range of their inputs.
        data: Where large weights are written to as they come; None: they are part of the model.

    Raises:
        MaxViTError: If a part of the network was changed, see `check_unchanged`.
    """
    check_unchanged(model)
    size, batch = options.size(model), options.batch or "batch"
    network = _Writer(options, int8 or {}, data)
    graph = network.graph
    with torch.no_grad():
        images = network.normalise(model.preprocessing) if options.from_pixels else options.input
        images = images if options.dtype == torch.float32 else graph.cast(images, options.dtype)
        result, novelty = network.write(fold_for_inference(model, share_weights=True).float().cpu(), size, images)
        result = result if options.dtype == torch.float32 else graph.cast(result, torch.float32)
        if options.from_pixels:  # `MaxViTConfig.probabilities`
            result = _probabilities(graph, result, model.config)
    width = model.config.num_classes or model.config.channels[-1]
    shape = (batch, *size, 3) if options.from_pixels else (batch, model.config.in_channels, *size)
    given = Value(options.input, shape, torch.uint8 if options.from_pixels else torch.float32)
    wanted = Value("probabilities" if options.from_pixels else "logits", (batch, width), torch.float32)
    results = [(result, wanted)]
    if novelty is not None:
        results.append((novelty, Value("novelty", (batch,), torch.float32)))
    return graph.finish(given, results, description(model, options))


def _probabilities(graph: Graph, logits: str, config: MaxViTConfig) -> str:
    if config.multi_label:
        return graph.add("Sigmoid", logits)
    if config.temperature != 1:
        logits = graph.add("Div", logits, graph.constant(torch.tensor(config.temperature), torch.float32))
    return graph.add("Softmax", logits, axis=-1)


def check_unchanged(model: MaxViT) -> None:
    """Refuse, by `MaxViTError`, a network with layers of someone's own: what they do is not written here."""
    if is_optimized(model):  # folding says so
        return
    heads = ["head"] if model.inner_head is None else ["head", "inner_head"]
    if reason := network_change(model, "stem", "stages", *heads):
        raise MaxViTError(
            f"the graph for one size is of MaxViT alone, and {reason}: export for any size, or for PyTorch, where the"
            " graph is traced"
        )


class _Writer:
    """Walks through the network. A method adds one of its modules, and returns the name of what comes out."""

    def __init__(self, options: ExportOptions, int8: Mapping[str, Range], data: BinaryIO | None) -> None:
        self.graph, self.int8 = Graph(options.opset or OPSETS[1], options.dtype, data), int8
        self.standard = options.opset is not None
        self.quantized: dict[str, tuple[str, str, str]] = {}  # by value: itself in 8 bits, its scale and zero
        self.through: dict[str, str] = {}  # by value: its rows as 8 bits see them
        self.hw: Size = (0, 0)  # sides of the map at hand
        self.tokens = 0  # of an image, as they lie in their order, padding included

    def normalise(self, preprocessing: Preprocessing) -> str:
        """`pixels` (B, H, W, 3) uint8 -> (B, C, H, W) float32: a scale and a shift, of the mean where C is 1."""
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (preprocessing.mean, preprocessing.std))
        weight = torch.eye(3) if len(mean) == 3 else torch.full((1, 3), 1 / 3)  # (C, 3)
        weight = (weight / (255 * std[:, None]))[:, :, None, None]
        x = self.graph.cast("pixels", torch.float32)
        x = self.graph.add("Transpose", x, perm=(0, 3, 1, 2))
        constants = (self.graph.constant(t, torch.float32) for t in (weight, -mean / std))
        return self.graph.add("Conv", x, *constants)

    def write(self, model: MaxViT, image_size: Size, images: str) -> tuple[str, str | None]:
        """`images` (B, C, H, W) -> (B, classes), and the novelty (B,) where the network has a score for it."""
        self.hw = image_size
        self.graph.scope("stem")
        x = self._conv(model.stem.conv1, images)
        x = self._conv(model.stem.conv2, self._activation(model.stem.act, x))
        maps = []
        for i, stage in enumerate(model.stages):
            for j, block in enumerate(stage.children()):
                assert isinstance(block, MaxViTBlock)
                x = self._block(block, x, f"stages.{i}.{j}")
            maps.append((x, self.hw))
        self.graph.scope("head")
        classes = self._head(model.head, x)
        if model.inner_head is not None:
            self.graph.scope("inner_head")
            classes = self.graph.add("Add", classes, self._inner_head(model.inner_head, maps[1:3]))
        self.graph.scope("novelty")
        if model.novelty is None:
            return classes, None
        return classes, self._novelty(model.novelty, [each for each, _ in maps], model.config.channels)

    def _novelty(self, novelty: Novelty, maps: Sequence[str], channels: Sequence[int]) -> str:
        """Maps (B, C_i, H_i, W_i) -> (B,) float32."""
        means = [self.graph.add("GlobalAveragePool", x) for x in maps]
        pooled = [self._reshape(x, -1, width) for x, width in zip(means, channels, strict=True)]
        x = self.graph.cast(self.graph.add("Concat", *pooled, axis=1), torch.float32)
        centres = novelty.centres
        mean, whitening, products, squares, all_centres = (
            self.graph.constant(t, torch.float32)
            for t in (novelty.mean, novelty.whitening, -2 * centres.T, centres.square().sum(1), centres)
        )
        x = self.graph.add("MatMul", self.graph.add("Sub", x, mean), whitening)  # (B, channels)
        distances = self.graph.add("Add", self.graph.add("MatMul", x, products), squares)  # (B, centres)
        nearest = self.graph.add("ArgMin", distances, axis=1, keepdims=0)
        x = self.graph.add("Sub", x, self.graph.add("Gather", all_centres, nearest, axis=0))
        squared = self.graph.add("ReduceSum", self.graph.add("Mul", x, x), self.graph.integers(1), keepdims=0)
        return self.graph.add("Sqrt", squared)

    def _block(self, block: MaxViTBlock, x: str, name: str) -> str:
        """(B, C_in, H, W) -> (B, C, H', W')."""
        self.graph.scope(f"{name}.mbconv")
        x = self._mbconv(block.mbconv, x)
        channels, (height, width) = block.mbconv.project.out_channels, self.hw
        x = self.graph.add("Transpose", x, perm=(0, 2, 3, 1))  # (B, H, W, C)
        x = self._reshape(x, -1, height * width, channels)
        self.tokens = height * width
        places = torch.arange(self.tokens)  # where each token of the map is among those at hand
        for axis, layer in (("block", block.block_attention), ("grid", block.grid_attention)):
            self.graph.scope(f"{name}.{axis}_attention")
            x, places = self._attention_layer(layer, x, places)
        x = self._gather(x, places)
        x = self._reshape(x, -1, height, width, channels)
        return self.graph.add("Transpose", x, perm=(0, 3, 1, 2))  # (B, C, H, W)

    def _mbconv(self, mbconv: MBConv, x: str) -> str:
        before = self.hw
        y = self._activation(mbconv.act, self._conv(mbconv.expand, x))
        y = self._activation(mbconv.act, self._conv(mbconv.depthwise, y))
        y = self._project(mbconv.project, self._squeeze_excite(mbconv.se, y))
        return self.graph.add("Add", y, self._shortcut(mbconv.shortcut, x, before))

    def _squeeze_excite(self, se: SqueezeExcite, x: str) -> str:
        hw, self.hw = self.hw, (1, 1)
        squeezed = self._activation(se.act, self._conv(se.reduce, self.graph.add("GlobalAveragePool", x)))
        scale = self.graph.add("Sigmoid", self._conv(se.expand, squeezed))  # (B, C, 1, 1)
        self.hw = hw
        return self.graph.add("Mul", x, scale)

    def _shortcut(self, shortcut: Shortcut, x: str, hw: Size) -> str:
        if shortcut.stride == 2 and shortcut.wide:
            x = self.graph.add(
                "AveragePool", x, kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1), count_include_pad=1
            )
        elif shortcut.stride == 2:
            odd = hw[0] % 2 or hw[1] % 2  # the padding is then left out of the mean
            x = self.graph.add("AveragePool", x, kernel_shape=(2, 2), strides=(2, 2), ceil_mode=1 if odd else 0)
        return self._conv(shortcut.conv, x) if isinstance(shortcut.conv, nn.Conv2d) else x

    def _conv(self, conv: nn.Conv2d, x: str) -> str:
        """Any of the network's convolutions, on the map at hand."""
        (height, width), stride = self.hw, conv.stride[0]
        top = bottom = left = right = int(conv.padding[0])
        if isinstance(conv, SameConv2d) and not top:
            top, left, bottom, right = height % 2, width % 2, 1, 1
        self.hw = -(-height // stride), -(-width // stride)
        weights = [self.graph.constant(t) for t in (conv.weight, conv.bias) if t is not None]
        return self.graph.add(
            "Conv", x, *weights, strides=(stride, stride), group=conv.groups, pads=(top, left, bottom, right)
        )

    def _project(self, conv: nn.Conv2d, x: str) -> str:
        """MBConv's last 1 x 1 convolution; in 8 bits, a product of matrices."""
        if self.graph.name("project") not in self.int8:
            return self._conv(conv, x)
        x = self.graph.add("Transpose", x, perm=(0, 2, 3, 1))  # (B, H, W, C_in)
        if self.standard:  # without a Reshape, see _attention_layer
            x = onnx_operators.through_8_bits(self.graph, x, self.int8[self.graph.name("project")])
            x = onnx_operators.product_in_8_bits(self.graph, x, conv.weight.flatten(1), conv.bias)
        else:
            x = self._linear("project", x, conv.weight.flatten(1), conv.bias)
            x = self._reshape(x, -1, *self.hw, conv.out_channels)
        return self.graph.add("Transpose", x, perm=(0, 3, 1, 2))  # (B, C, H, W)

    def _attention_layer(self, layer: AttentionLayer, x: str, places: Tensor) -> tuple[str, Tensor]:
        """(B, any, C), where `places` says -> (B, G * T, C), in the order of the layer's groups, and the new places."""
        attention, hw, channels = layer.attention, self.hw, layer.norm1.normalized_shape[0]
        slots, real = group_indices(hw, attention.groups, places.device)  # (G, T)
        whole = (-1, slots.numel(), channels)
        x = self._gather(x, places[slots.flatten()])
        images = "" if real.all() else self.graph.add("Shape", x, start=0, end=1)
        # residuals are added to (B, G * T, C), or where a set is given to rows: OpenVINO 2026.4 computes wrongly where
        # an int8 product goes straight into a Reshape, and any number of images may come
        added = (-1, channels) if self.standard else whole
        x = self._reshape(x, *added) if self.standard else x
        y = self._attention(attention, self._norm(layer.norm1, x), real, images)
        x = self.graph.add("Add", x, self._reshape(y, *added))
        expand, project = layer.ffn.expand, layer.ffn.project
        y = self._linear("ffn.expand", self._norm(layer.norm2, x), expand.weight, expand.bias)
        y = self._linear("ffn.project", self._activation(layer.ffn.act, y), project.weight, project.bias)
        x = self.graph.add("Add", x, self._reshape(y, *added))
        x = self._reshape(x, *whole) if self.standard else x
        return x, place_indices(hw, attention.groups, places.device)

    def _attention(self, attention: GroupAttention, x: str, real: Tensor, images: str) -> str:
        """(B, G * T, C) or rows, of which some tokens are `real` (G, T) -> (B * G * T, C); `images` is (B,)."""
        tokens, heads, channels = real.shape[1], attention.heads, attention.proj.in_features
        scale = (channels // heads) ** -0.5
        (wq, wk, wv), (bq, _, bv) = attention.qkv.weight.chunk(3), attention.qkv.bias.chunk(3)
        rows = self._reshape(x, -1, channels)
        parts = [(wq * scale, bq * scale), (wk, None), (wv, None)]
        q, k, v = (self._reshape(self._linear("attention.qkv", rows, *p), -1, tokens, channels) for p in parts)
        bias = attention.bias()  # (N, T, T)
        if real.all():
            mask = self.graph.constant(bias[None])
        else:  # the groups' masks, once for each image
            mask = self.graph.constant(bias.where(real[:, None, None, :], float("-inf")))  # (G, N, T, T)
            mask = self.graph.add("Tile", mask, self.graph.add("Concat", images, self.graph.integers(1, 1, 1), axis=0))
        if self.standard:
            y = onnx_operators.attention(self.graph, q, k, v, mask, heads, tokens, channels)
        else:
            y = self.graph.add("Attention", q, k, v, mask, q_num_heads=heads, kv_num_heads=heads, scale=1.0)
        bias = attention.proj.bias + attention.proj.weight @ bv
        return self._linear("attention.proj", y, attention.proj.weight, bias)

    def _linear(self, name: str, x: str, weight: Tensor, bias: Tensor | None = None) -> str:
        """(..., C_in) -> (rows, C): a product of matrices, which adds the bias as it goes."""
        if (full := self.graph.name(name)) in self.int8 and self.standard:
            if x not in self.through:
                rows = self._reshape(x, -1, weight.shape[1])
                self.through[x] = onnx_operators.through_8_bits(self.graph, rows, self.int8[full])
            return onnx_operators.product_in_8_bits(self.graph, self.through[x], weight, bias)
        rest = [] if bias is None else [self.graph.constant(bias)]
        if full not in self.int8:
            x = self._reshape(x, -1, weight.shape[1])
            return self.graph.add("Gemm", x, self.graph.constant(weight.T), *rest)
        inputs, scale, zero = self._quantize(x, self.int8[full])
        levels, steps = quantize_weight(weight)
        weights = self.graph.constant(levels.T), scale, self.graph.constant(steps), zero
        y = self.graph.add("MatMulIntegerToFloat", inputs, *weights, "", *rest)
        return self._reshape(y, -1, len(weight))

    def _quantize(self, x: str, inputs: Range) -> tuple[str, str, str]:
        """A value in 8 bits, made once for all products that take it; its scale and zero."""
        if x not in self.quantized:
            scale = self.graph.constant(torch.tensor(inputs.step))
            zero = self.graph.constant(torch.tensor(inputs.zero, dtype=torch.uint8))
            self.quantized[x] = self.graph.add("QuantizeLinear", x, scale, zero), scale, zero
        return self.quantized[x]

    def _gather(self, x: str, places: Tensor) -> str:
        """Tokens in another order, with or without padding: (B, any, C) -> (B, len(places), C)."""
        before, self.tokens = self.tokens, len(places)
        if before == len(places) and places.equal(torch.arange(before)):
            return x
        return self.graph.add("Gather", x, self.graph.integers(*places.tolist()), axis=1)

    def _reshape(self, x: str, *shape: int) -> str:
        return self.graph.add("Reshape", x, self.graph.integers(*shape))

    def _norm(self, norm: nn.LayerNorm, x: str) -> str:
        weights = self.graph.constant(norm.weight), self.graph.constant(norm.bias)
        return self.graph.add("LayerNormalization", x, *weights, axis=-1, epsilon=norm.eps)

    def _activation(self, act: nn.Module, x: str) -> str:
        if isinstance(act, nn.GELU):
            return onnx_operators.gelu(self.graph, x, act.approximate)
        return self.graph.add("Mul", x, self.graph.add("Sigmoid", x))  # SiLU

    def _inner_head(self, head: InnerHead, maps: Sequence[tuple[str, Size]]) -> str:
        """Maps (B, C, H, W) -> (B, classes); standardising is folded into the classifier."""
        means = []
        for x, sides in maps:
            rows, columns = (averaging(side, head.fields, head.mean) for side in sides)
            x = self.graph.add("MatMul", self.graph.constant(rows), x)
            x = self.graph.add("MatMul", x, self.graph.constant(columns.T))
            means.append(self.graph.add("Flatten", x))
        weight = head.classifier.weight * head.scale
        seen = self.graph.add("Concat", *means, axis=1)
        return self._linear("classifier", seen, weight, head.classifier.bias - weight @ head.mean)

    def _head(self, head: Head | PlainHead, x: str) -> str:
        """(B, C, H, W) -> (B, classes)."""
        pool = "GlobalAveragePool" if head.pool == "avg" else "GlobalMaxPool"
        if isinstance(head, PlainHead):
            x = self._norm(head.norm, self.graph.add("Transpose", x, perm=(0, 2, 3, 1)))
            x = self.graph.add("Transpose", x, perm=(0, 3, 1, 2))
        x = self._reshape(self.graph.add(pool, x), -1, head.norm.normalized_shape[0])
        if isinstance(head, Head):
            y = self._linear("dense", self._norm(head.norm, x), head.dense.weight, head.dense.bias)
            x = self.graph.add("Tanh", y)
        if isinstance(head.classifier, nn.Identity):
            return x
        return self._linear("classifier", x, head.classifier.weight, head.classifier.bias)
