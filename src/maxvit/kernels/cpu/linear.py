"""Linear layers of a head on the native CPU kernels.

PyTorch's wake all threads for a product of a few thousand numbers, and on a busy machine wait for them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maxvit.kernels.cpu.ctypes_calls import call
from maxvit.kernels.cpu.inference import c_weights, check_floats
from maxvit.kernels.cpu.packing import Packing, pack, rows

_operators = torch.library.Library("maxvit", "FRAGMENT")
_operators.define("native_linear(Tensor x, Tensor[] weights, int outputs, int width) -> Tensor")


class NativeLinear(nn.Module):
    """An `nn.Linear` in float32."""

    def __init__(self, layer: nn.Linear, width: int) -> None:
        super().__init__()
        self.out_features, self.width = layer.out_features, width
        more = -layer.out_features % width  # outputs that nobody sees
        weight, bias = rows(layer)
        for i, tensor in enumerate(pack(F.pad(weight, (0, 0, 0, more)), F.pad(bias, (0, more)), Packing(width))):
            self.register_buffer(f"weight{i}", tensor.detach().contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return torch.ops.maxvit.native_linear(x, list(self._buffers.values()), self.out_features, self.width)


def _native_linear(x: Tensor, weights: list[Tensor], outputs: int, width: int) -> Tensor:
    check_floats(x, weights[1])
    x = x.contiguous()
    depth, columns = x.shape[-1], weights[1].numel()
    out = x.new_empty(*x.shape[:-1], columns)
    call("linear", c_weights(weights), out.numel() // columns, depth, columns, x, out, of_width=width)
    return out if columns == outputs else out[..., :outputs].contiguous()


def _shape(x: Tensor, weights: list[Tensor], outputs: int, width: int) -> Tensor:
    return x.new_empty(*x.shape[:-1], outputs)


_operators.impl("native_linear", _native_linear, "CPU")
torch.library.register_fake("maxvit::native_linear", _shape)
