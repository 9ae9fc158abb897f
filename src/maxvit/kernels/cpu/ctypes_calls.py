"""How Python calls the native kernels (src/maxvit.cpp): tensors by address, numbers as C's long."""

import ctypes
from typing import Any

from torch import Tensor, nn

from maxvit.kernels.cpu.build import load, widths

Argument = Tensor | int | ctypes.Structure | ctypes.Array[Any] | None


def width() -> int:
    """Channels that the training kernels compute at once; a network of other than its multiples trains in PyTorch."""
    return widths()[0]


def call(name: str, *arguments: Argument, of_width: int | None = None) -> int:
    """Call a kernel, of `width` or another. Tensors are dense and in the kernel's order; None is a null pointer."""
    result: int = getattr(load(of_width or width()), f"maxvit_{name}")(*map(_foreign, arguments))
    return result


def structure(
    name: str, longs: str = "", floats: str = "", ints: str = "", pointers: str = ""
) -> type[ctypes.Structure]:
    """A struct of the kernels, from the names of its fields in this order."""
    kinds = {ctypes.c_long: longs, ctypes.c_float: floats, ctypes.c_int: ints, ctypes.c_void_p: pointers}
    fields = [(field, kind) for kind, names in kinds.items() for field in names.split()]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


def address(tensor: Tensor | None) -> int | None:
    """Address of a tensor's first element; whoever takes it keeps the tensor."""
    return None if tensor is None else tensor.data_ptr()


def activation_code(act: nn.Module) -> int:
    """`Activation` of src/vector.h, of GELU or SiLU."""
    if isinstance(act, nn.SiLU):
        return 3
    assert isinstance(act, nn.GELU)
    return 2 if act.approximate == "none" else 1


def _foreign(argument: Argument) -> Any:
    if isinstance(argument, ctypes.Structure | ctypes.Array):
        return ctypes.byref(argument)
    return ctypes.c_long(argument) if isinstance(argument, int) else ctypes.c_void_p(address(argument))
