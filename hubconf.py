"""The networks for torch.hub: torch.hub.load("OWNER/REPOSITORY", "maxvit_tiny"), or a folder with source="local".

It is the package in this folder that makes them, unless maxvit was imported before.
"""

import sys as _sys
from pathlib import Path as _Path

dependencies = [
    "filelock",
    "fsspec",
    "httpx",
    "huggingface_hub",
    "lazy_loader",
    "numpy",
    "PIL",
    "pydantic",
    "safetensors",
    "torch",
    "torchvision",
    "yaml",
]
_SOURCE = str(_Path(__file__).parent / "src")
_VARIANTS = ("micro", "pico", "nano", "tiny", "small", "base", "large", "xlarge")


def _entrypoint(name):
    def make(pretrained=None, **options):
        if _SOURCE not in _sys.path:
            _sys.path.insert(0, _SOURCE)  # to stay: parts of the package are imported when they are used
        import maxvit

        return maxvit.create_model(name, pretrained=pretrained, **options)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"""Make {name}: freshly initialised in training mode, or with weights in evaluation mode.

    Args:
        pretrained: True: published weights; or a tag of `maxvit list --pretrained`, or a path; None: random ones.
        options: What else `maxvit.create_model` takes, such as num_classes, in_channels, image_size, features_only.
    """
    return make


globals().update({f"maxvit_{_size}": _entrypoint(f"maxvit_{_size}") for _size in _VARIANTS})
