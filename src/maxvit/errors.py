"""The one exception that means: what was given cannot be used, and here is what to do. And memory that is full."""


class MaxViTError(ValueError):
    """A mistake in what the user gave: its message names what came, what is allowed and what to do.

    The command line prints the message as one sentence and exits with code 2.
    """


_OUT_OF_MEMORY = (
    "out of memory",  # CUDA, MPS
    "DefaultCPUAllocator",
    "STATUS_ALLOC_FAILED",  # cuBLAS, cuDNN
    "bad_alloc",
    "Failed to allocate memory",  # ONNX Runtime
    "Cannot allocate memory",  # the system
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had too little memory, which every library says in its own way."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return not isinstance(error, MaxViTError) and any(words in str(error) for words in _OUT_OF_MEMORY)
