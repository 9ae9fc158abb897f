"""An ONNX graph, one operator after the other."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

OPSET = 23  # the first that has Attention; Gelu with the tanh formula is there since 20
IR_VERSION = 11  # of the file, as opset 23 wants it
OF_THE_RUNTIME = {"MatMulIntegerToFloat"}  # operators that only ONNX Runtime has; files without them are standard


class Graph:
    """Operators and constants, added in the order in which they are computed; values go by their names."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []
        self._integers: dict[tuple[int, ...], str] = {}
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

    def constant(self, values: Tensor) -> str:
        """Add weights: floating point as float32, integers as they are."""
        values = values.detach().cpu().contiguous()
        return self._add_constant((values.float() if values.is_floating_point() else values).numpy())

    def integers(self, *values: int) -> str:
        """Add a vector of int64: a shape, axes or indices. Equal ones are one."""
        if values not in self._integers:
            self._integers[values] = self._add_constant(np.array(values, np.int64))
        return self._integers[values]

    def finish(
        self,
        inputs: Mapping[str, Sequence[int | str]],
        outputs: Mapping[str, tuple[str, Sequence[int | str]]],
        metadata: Mapping[str, str],
    ) -> ModelProto:
        """The model.

        Args:
            inputs: Shape of each, float32; a name stands for any number.
            outputs: The value that is given out under this name, and its shape.
            metadata: To travel in the file.
        """
        for name, (value, _) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [value], [name], name))
        graph = helper.make_graph(
            self._nodes,
            "maxvit",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, (_, shape) in outputs.items()],
            self._constants,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        if any(node.domain for node in self._nodes):
            opsets.append(helper.make_opsetid("com.microsoft", 1))
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="maxvit")
        helper.set_model_props(model, dict(metadata))
        return model

    def _add_constant(self, values: npt.NDArray[np.generic]) -> str:
        name = f"{self._scope}constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(values, name))
        return name
