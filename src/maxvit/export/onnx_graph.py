"""An ONNX graph, one operator after the other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from onnx import ModelProto, NodeProto, TensorProto, helper
from torch import Tensor

OF_THE_RUNTIME = {"MatMulIntegerToFloat"}  # operators that only ONNX Runtime has; files without them are standard
TYPES = {
    torch.float32: TensorProto.FLOAT,
    torch.float16: TensorProto.FLOAT16,
    torch.bfloat16: TensorProto.BFLOAT16,
    torch.int64: TensorProto.INT64,
    torch.int8: TensorProto.INT8,
    torch.uint8: TensorProto.UINT8,
}
SMALL = 1024  # bytes of a constant that stays in the graph; and what larger ones outside start at a multiple of


class Value(NamedTuple):
    """What goes in or comes out."""

    name: str
    shape: Sequence[int | str]  # a word stands for any number
    dtype: torch.dtype


class Graph:
    """Operators and constants, added in the order in which they are computed; values go by their names.

    Args:
        opset: The set of operators.
        dtype: Type of constants that are floating point.
        data: Where large constants are written to as they come, next to the graph's file; None: they are in the graph.
    """

    def __init__(self, opset: int, dtype: torch.dtype = torch.float32, data: BinaryIO | None = None) -> None:
        self.opset, self.dtype, self._data = opset, dtype, data
        self._model = helper.make_model(helper.make_graph([], "maxvit", [], []), producer_name="maxvit")
        self._nodes: list[NodeProto] = []
        self._integers: dict[tuple[int, ...], str] = {}
        self._numbers: dict[float, str] = {}
        self._scope = ""

    def scope(self, name: str) -> None:
        """What is added from here on belongs to this part of the network; its names begin so."""
        self._scope = f"{name}." if name else ""

    def name(self, part: str) -> str:
        """The full name of a part of what is at hand."""
        return self._scope + part

    def add(self, op: str, *inputs: str, **attributes: int | float | str | Sequence[int]) -> str:
        """Add an operator, with the attributes that its set gives it; returns its output."""
        name = f"{self._scope}{op}_{len(self._nodes)}"
        node = helper.make_node(op, inputs, [name], name, domain="com.microsoft" if op in OF_THE_RUNTIME else "")
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self._nodes.append(node)
        return name

    def cast(self, x: str, dtype: torch.dtype) -> str:
        """A value in another type."""
        return self.add("Cast", x, to=TYPES[dtype])

    def constant(self, values: Tensor, dtype: torch.dtype | None = None) -> str:
        """Add weights: floating point in the graph's type or another, integers as they are."""
        wanted = dtype or (self.dtype if values.is_floating_point() else values.dtype)
        values = values.detach().to("cpu", wanted).contiguous()
        tensor = self._model.graph.initializer.add()
        tensor.name = f"{self._scope}constant_{len(self._model.graph.initializer)}"
        tensor.data_type = TYPES[wanted]
        tensor.dims.extend(values.shape)
        raw = values.reshape(-1).view(torch.uint8).numpy()
        if self._data is None or raw.nbytes <= SMALL or wanted == torch.int64:  # shapes are looked at with the graph
            tensor.raw_data = raw.tobytes()
            return tensor.name
        self._data.write(bytes(-self._data.tell() % SMALL))
        place = {"location": Path(self._data.name).name, "offset": self._data.tell(), "length": raw.nbytes}
        self._data.write(raw.data)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        return tensor.name

    def integers(self, *values: int) -> str:
        """Add a vector of int64: a shape, axes or indices. Equal ones are one."""
        if values not in self._integers:
            self._integers[values] = self.constant(torch.tensor(values, dtype=torch.int64))
        return self._integers[values]

    def number(self, value: float) -> str:
        """Add one number of floating point. Equal ones are one."""
        if value not in self._numbers:
            self._numbers[value] = self.constant(torch.tensor(value))
        return self._numbers[value]

    def finish(self, given: Value, results: Sequence[tuple[str, Value]], metadata: Mapping[str, str]) -> ModelProto:
        """The model.

        Args:
            given: What goes in.
            results: The values that come out, and what they are called there.
            metadata: To travel in the file.
        """
        self._nodes += [helper.make_node("Identity", [name], [one.name], one.name) for name, one in results]
        model, graph = self._model, self._model.graph
        graph.node.extend(self._nodes)
        for values, one in ((graph.input, given), *((graph.output, one) for _, one in results)):
            values.append(helper.make_tensor_value_info(one.name, TYPES[one.dtype], one.shape))
        del model.opset_import[:]
        opsets = [helper.make_opsetid("", self.opset)]
        model.ir_version = helper.find_min_ir_version_for(opsets)
        if any(node.domain for node in self._nodes):
            opsets.append(helper.make_opsetid("com.microsoft", 1))
        model.opset_import.extend(opsets)
        helper.set_model_props(model, dict(metadata))
        return model
