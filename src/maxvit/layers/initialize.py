"""The first values of weights."""

from torch import nn

from maxvit.layers.position_bias import RelativePositionBias


def initialize(module: nn.Module) -> None:
    """Initialise one module as the official model does.

    kernels and relative position bias tables: normal, deviation 0.02; biases: 0; norms: weight 1, bias 0.
    """
    if any(p.is_meta for p in module.parameters(recurse=False)):
        return  # there are no numbers to set, and PyTorch would import sympy to set none
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, RelativePositionBias):
        nn.init.normal_(module.table, std=0.02)
