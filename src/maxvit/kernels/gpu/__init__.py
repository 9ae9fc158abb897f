"""Fused kernels in Triton, for NVIDIA GPUs. Tested in Triton's interpreter and on an H200."""
