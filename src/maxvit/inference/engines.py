"""What computes logits: PyTorch, or ONNX Runtime. The file decides, and a user may."""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from maxvit.config import MaxViTConfig, Preprocessing, Size, check_known
from maxvit.create import load_model
from maxvit.errors import MaxViTError
from maxvit.kernels.optimize import OptimizedMaxViT, optimize
from maxvit.layers.modes import evaluating
from maxvit.model import FORMAT, MaxViT
from maxvit.storage import decode

ENGINES = ("auto", "torch", "onnxruntime")

IN_CACHE = 224 * 224  # pixels of the images that one core computes at once: their maps stay in its cache


class Engine(Protocol):
    """A classifier that is ready to answer.

    Attributes:
        name: What computes, in a few words.
        config: Of the network.
        preprocessing: What it expects of an image.
        class_names: One per class, or None.
    """

    name: str
    config: MaxViTConfig
    preprocessing: Preprocessing
    class_names: list[str] | None

    def __call__(self, images: Tensor) -> Tensor:
        """Logits, (B, classes) float32 on the CPU, of preprocessed images (B, C, H, W)."""
        ...


class TorchEngine:
    """A network in PyTorch, as it is.

    Args:
        model: It answers in evaluation mode, and its parts are left in the modes that they were in.
        device: Where it is moved to; None: it stays.
    """

    def __init__(self, model: MaxViT, device: torch.device | str | None = None) -> None:
        self.model = model.to(device)
        name = f"{model.engine}, optimised" if isinstance(model, OptimizedMaxViT) else "PyTorch"
        self.name = f"{name} on {next(model.parameters()).device.type}"
        self.config, self.preprocessing, self.class_names = model.config, model.preprocessing, model.class_names

    def __call__(self, images: Tensor) -> Tensor:
        """See `Engine`."""
        with evaluating(self.model), torch.inference_mode():
            return self.model(images.to(next(self.model.parameters()).device)).float().cpu()

    def with_embeddings(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The same logits, and the (B, C) float32 on the CPU that the classifier sees."""
        with evaluating(self.model), torch.inference_mode():
            features = self.model.forward_features(images.to(next(self.model.parameters()).device))
            embeddings = self.model.forward_head(features, pre_logits=True)
            return self.model.head.classifier(embeddings).float().cpu(), embeddings.float().cpu()


class OnnxEngine:
    """A file of `export_onnx` in ONNX Runtime, on all cores that PyTorch would use.

    One image is computed by all cores together. Of several each core takes its own, which needs no waiting for one
    another and keeps their maps in its cache.

    Args:
        path: The file.

    Raises:
        MaxViTError: If onnxruntime is missing, or the file cannot be read or was not written by maxvit.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self.threads = Path(path), torch.get_num_threads()
        if not self.path.is_file():
            raise MaxViTError(f"{path} is no file: check the path")
        metadata = decode(self._together.get_modelmeta().custom_metadata_map)
        if metadata.get("format") != FORMAT:
            raise MaxViTError(f"{path} was not written by maxvit, and does not say its classes: use maxvit export")
        try:
            self.config = MaxViTConfig.from_dict(metadata["config"])
            self.preprocessing = Preprocessing.from_dict(metadata["preprocessing"])
            self.class_names: list[str] | None = metadata["class_names"]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise MaxViTError(f"the description in {path} cannot be used: {error}") from error
        self.shape: list[int | str] = self._together.get_inputs()[0].shape  # a name stands for any number
        self.name = "ONNX Runtime, int8" if "quantization" in metadata else "ONNX Runtime"

    def __call__(self, images: Tensor) -> Tensor:
        """See `Engine`.

        Raises:
            MaxViTError: If the file is for images of another size.
        """
        wanted, given = self.shape[1:], list(images.shape[1:])
        if [g if isinstance(w, str) else w for w, g in zip(wanted, given, strict=False)] != given:
            sizes = [" x ".join(map(str, shape)) for shape in (given, wanted)]
            raise MaxViTError(f"images are {sizes[0]}, and {self.path} is for {sizes[1]}: resize them, or export anew")
        if len(images) < self.threads and (len(images) == 1 or self.shape[0] != 1):
            return _run(self._together, images)
        at_once = 1 if self.shape[0] == 1 else max(1, IN_CACHE // images[0, 0].numel())
        parts = images.split(min(at_once, -(-len(images) // self.threads)))
        with ThreadPoolExecutor(self.threads) as pool:
            return torch.cat(list(pool.map(lambda part: _run(self._apart, part), parts)))

    @cached_property
    def _together(self) -> Any:
        return self._session(self.threads)

    @cached_property
    def _apart(self) -> Any:
        return self._together if self.threads == 1 else self._session(1)

    def _session(self, threads: int) -> Any:
        try:
            import onnxruntime
        except ImportError as error:
            raise MaxViTError(f"{self.path} runs in onnxruntime: pip install 'maxvit[export]'") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        try:
            return onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of onnxruntime's own types, which have no common base
            reason = str(error).splitlines()[0]
            raise MaxViTError(f"ONNX Runtime cannot read {self.path} ({reason}): it may be damaged") from error


def _run(session: Any, images: Tensor) -> Tensor:
    (logits,) = session.run(["logits"], {"images": images.float().numpy()})
    return torch.from_numpy(logits)


def say(sentence: str) -> None:
    """One line on standard error."""
    print(sentence, file=sys.stderr)


def open_engine(
    source: MaxViT | str | Path,
    engine: str = "auto",
    device: torch.device | str | None = None,
    tell: Callable[[str], object] = say,
) -> Engine:
    """What answers for a network or a checkpoint.

    Args:
        source: A network, which runs in PyTorch as it is; or a path. An `.onnx` file runs in ONNX Runtime, any other
            checkpoint in PyTorch, optimised.
        engine: "auto": as said. "torch" or "onnxruntime": that one; for ONNX Runtime a checkpoint is exported once,
            into a cache, and `tell` is told.
        device: Where PyTorch computes; None: where the network is.
        tell: Called with a sentence before work that takes long.

    Raises:
        MaxViTError: If the file cannot be read, or not by this engine.
    """
    check_known("engine", [engine], ENGINES)
    if isinstance(source, MaxViT):
        if engine == "onnxruntime":
            raise MaxViTError("a network in memory runs in PyTorch: write it with export_onnx, and give that file")
        return TorchEngine(source, device)
    path = Path(source)
    if path.suffix == ".onnx":
        if engine == "torch":
            raise MaxViTError(f"{path} runs in ONNX Runtime: give the checkpoint that it was made from to PyTorch")
        return OnnxEngine(path)
    if engine == "onnxruntime":
        from maxvit.inference.cache import exported

        return OnnxEngine(exported(path, tell))
    return TorchEngine(optimize(load_model(path).to(device)))


def open_sizes(
    path: str | Path,
    sizes: Sequence[Size] = (),
    scale_windows: bool = False,
    engine: str = "auto",
    device: torch.device | str | None = None,
) -> dict[Size, Engine]:
    """What answers for a checkpoint at several image sizes.

    Args:
        path: As for `open_engine`.
        sizes: (height, width) each; none: the one that the weights expect.
        scale_windows: Scale windows and grids to each size, see `MaxViT.set_image_size`; in PyTorch alone, and every
            size then has a network of its own. False: one network, with its own windows, for all sizes.
        engine: As for `open_engine`.
        device: As for `open_engine`.

    Raises:
        MaxViTError: As `open_engine`; or if a size is given twice, or windows are to be scaled that cannot be.
    """
    if twice := [size for i, size in enumerate(sizes) if size in sizes[:i]]:
        raise MaxViTError(f"size {twice[0][0]} x {twice[0][1]} is given twice: give each size once")
    if not scale_windows:
        opened = open_engine(path, engine, device)
        return dict.fromkeys(sizes or [opened.preprocessing.image_size], opened)
    if not sizes:
        raise MaxViTError("windows are to be scaled, and no size to scale them to was given: give one or more")
    check_known("engine", [engine], ENGINES)
    if engine == "onnxruntime" or Path(path).suffix == ".onnx":
        raise MaxViTError("windows are built into an ONNX file: scale those of a checkpoint that runs in PyTorch")
    engines: dict[Size, Engine] = {}
    for size in sizes:
        model = load_model(path)
        model.set_image_size(size)
        engines[size] = TorchEngine(optimize(model.to(device)))
    return engines
