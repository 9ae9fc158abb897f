"""Fused kernels in Triton, for NVIDIA GPUs. Tested in Triton's interpreter; not yet run on a GPU."""
