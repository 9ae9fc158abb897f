"""C++ kernels for CPUs, and their calls."""
