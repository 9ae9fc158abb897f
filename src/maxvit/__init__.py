"""MaxViT, the multi-axis vision transformer (arXiv 2204.01697): exact, any image size, trained and explained.

The public names stand in `__init__.pyi`, for editors and for this file: each is imported on first use, so that
`import maxvit` and `maxvit --help` import no PyTorch.
"""

import lazy_loader

__version__ = "1.0.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
