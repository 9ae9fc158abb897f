"""The one exception that means: what was given cannot be used, and here is what to do.

And what else ends a command and is not a bug: libraries that are not installed, and memory that is full.
"""

from importlib.util import find_spec


class MaxViTError(ValueError):
    """A mistake in what the user gave: its message names what came, what is allowed and what to do.

    The command line prints the message as one sentence and exits with code 2.
    """


# the libraries of each extra of pyproject.toml, by the names that they are imported by
EXTRAS = {
    "bands": ("imagecodecs", "tifffile"),
    "detection": ("pycocotools",),
    "dicom": ("pydicom",),
    "executorch": ("executorch",),
    "explain": ("captum",),
    "export": ("onnx", "onnxruntime", "onnxscript"),
    "heif": ("pillow_heif",),
    "lists": ("pyarrow",),
    "mlflow": ("mlflow",),
    "openvino": ("openvino",),
    "search": ("faiss",),
    "segmentation": ("segmentation_models_pytorch", "torchmetrics"),
    "serve": ("fastapi", "fastapi_offline", "prometheus_client", "python_multipart", "uvicorn"),
    "train": ("jinja2", "scipy", "sklearn", "tensorboard"),
    "transformers": ("transformers",),
    "wandb": ("wandb",),
}


def require(what: str, *libraries: str) -> None:
    """Refuse what needs libraries that are not installed, before any work.

    Args:
        what: It begins the sentence, such as "the report".
        libraries: The names that they are imported by; of a folder without a module of its own, one in it.

    Raises:
        MaxViTError: If one is missing, with the extras that bring them.
    """
    if missing := [name for name in libraries if not _is_installed(name)]:
        raise MaxViTError(f"{what} needs {say_missing(*missing)}")


def _is_installed(library: str) -> bool:
    try:
        found = find_spec(library)
    except ModuleNotFoundError:  # the library that a module is in
        return False
    return found is not None and found.origin is not None  # a folder of that name is found too, and is not the library


def say_missing(*libraries: str) -> str:
    """Libraries that are not installed, and what to do; modules inside them are their libraries."""
    names = list(dict.fromkeys(name.partition(".")[0] for name in libraries))
    extras = sorted({extra for extra, brings in EXTRAS.items() if any(name in brings for name in names)})
    wanted = f"'maxvit[{','.join(extras)}]'" if extras else " ".join(names)
    return f"{', '.join(names)}, which {'is' if len(names) == 1 else 'are'} not installed: pip install {wanted}"


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
