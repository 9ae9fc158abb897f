"""What computes logits: PyTorch, ONNX Runtime or OpenVINO. The file decides, and a user may."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from maxvit.config import MaxViTConfig, Preprocessing, Size, check_known
from maxvit.create import load_model
from maxvit.data.transforms import denormalise
from maxvit.errors import MaxViTError
from maxvit.export.runtimes import open_file
from maxvit.inference.portions import Portions
from maxvit.inference.precision import Arithmetic, choose_precision
from maxvit.kernels.optimize import OptimizedMaxViT, optimize
from maxvit.layers.modes import evaluating
from maxvit.model import MaxViT

ENGINES = ("auto", "torch", "onnxruntime")
EXPORTED = {".onnx": "ONNX Runtime", ".xml": "OpenVINO", ".pt2": "PyTorch as it is"}  # files, and where they run
SMALLEST = torch.finfo(torch.float32).tiny  # probability, whose logarithm is finite
BELOW_1 = 1 - 2**-24  # the largest float32 below 1


class Engine(Protocol):
    """A classifier that is ready to answer.

    Attributes:
        config: Of the network.
        preprocessing: What it expects of an image.
        class_names: One per class, or None.
        provenance: Where the weights come from.
    """

    config: MaxViTConfig
    preprocessing: Preprocessing
    class_names: list[str] | None
    provenance: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What computes, in a few words."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """Logits, (B, classes) float32 on the CPU, of preprocessed images (B, C, H, W)."""
        ...

    def embed(self, images: Tensor) -> Tensor:
        """What the classifier sees, (B, features) float32 on the CPU, of preprocessed images (B, C, H, W).

        Raises:
            MaxViTError: If this engine cannot tell.
        """
        ...


def say(sentence: str) -> None:
    """One line on standard error."""
    print(sentence, file=sys.stderr)


class TorchEngine:
    """A network in PyTorch, as it is; batches that its device's memory does not take are computed in portions.

    Args:
        model: It answers in evaluation mode, and its parts are left in the modes that they were in.
        device: Where it is moved to; None: it stays.
        precision: As for `choose_precision`.
    """

    def __init__(self, model: MaxViT, device: torch.device | str | None = None, precision: str = "fp32") -> None:
        self.model = model.to(device)
        name = f"{model.engine}, optimised" if isinstance(model, OptimizedMaxViT) else "PyTorch"
        self.device = next(model.parameters()).device
        self._arithmetic = Arithmetic(precision, next(model.parameters()), say)
        self._name = f"{name} on {self.device.type}"
        self._portions = Portions(self.device, say)
        self.config, self.preprocessing, self.class_names = model.config, model.preprocessing, model.class_names
        self.provenance: Mapping[str, Any] = model.provenance

    @property
    def name(self) -> str:
        """See `Engine`."""
        return self._name if self._arithmetic.precision == "fp32" else f"{self._name}, {self._arithmetic.precision}"

    def __call__(self, images: Tensor) -> Tensor:
        """See `Engine`."""
        return torch.cat(self._portions(lambda part: self._logits(images[part]), images))

    def embed(self, images: Tensor) -> Tensor:
        """See `Engine`."""
        return self.with_embeddings(images)[1]

    def with_embeddings(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The same logits, and the (B, C) float32 on the CPU that the classifier sees."""
        logits, embeddings = zip(*self._portions(lambda part: self._embeddings(images[part]), images), strict=True)
        return torch.cat(logits), torch.cat(embeddings)

    def _logits(self, images: Tensor) -> Tensor:
        images = images.to(self.device)
        with evaluating(self.model), torch.inference_mode():
            self._arithmetic.compare(lambda few: [self.model(few)], images)
            with self._arithmetic.autocast():
                return self.model(images).float().cpu()

    def _embeddings(self, images: Tensor) -> tuple[Tensor, Tensor]:
        images = images.to(self.device)
        with evaluating(self.model), torch.inference_mode():
            self._arithmetic.compare(lambda few: [self.model(few)], images)
            with self._arithmetic.autocast():
                embeddings = self.model.forward_head(self.model.forward_features(images), pre_logits=True)
                return self.model.head.classifier(embeddings).float().cpu(), embeddings.float().cpu()


class FileEngine:
    """An exported file, in the runtime that its name says: `.onnx`, `.xml` (OpenVINO) or `.pt2` (PyTorch).

    A file that takes pixels is given the pixels that are nearest to the preprocessed images, and of its probabilities
    logits are made that have them.

    Args:
        path: The file.

    Raises:
        MaxViTError: If its runtime is missing, or it cannot be read or was not written by maxvit.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self.file = Path(path), open_file(Path(path))
        self._portions = Portions(torch.device("cpu"), say)
        metadata = self.file.metadata
        if isinstance(task := metadata.get("task"), dict):
            raise MaxViTError(f"{path} is for {task.get('name')}: predict with the checkpoint that it was made from")
        try:
            self.config = MaxViTConfig.from_dict(metadata["config"])
            self.preprocessing = Preprocessing.from_dict(metadata["preprocessing"])
            self.class_names: list[str] | None = metadata["class_names"]
            self.provenance: Mapping[str, Any] = metadata.get("provenance") or {}
            precision = metadata["precision"]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise MaxViTError(f"the description in {path} cannot be used: {error}") from error
        self.name = self.file.name if precision == "fp32" else f"{self.file.name}, {precision}"

    def __call__(self, images: Tensor) -> Tensor:
        """See `Engine`.

        Raises:
            MaxViTError: If the file is for images of another size.
        """
        wanted = self.file.shape[1:]
        if self.file.takes_pixels:
            wanted = [self.config.in_channels, *wanted[:2]]
        given = list(images.shape[1:])
        if [g if isinstance(w, str) else w for w, g in zip(wanted, given, strict=False)] != given:
            sizes = [" x ".join(map(str, shape)) for shape in (given, wanted)]
            raise MaxViTError(f"images are {sizes[0]}, and {self.path} is for {sizes[1]}: resize them, or export anew")
        return torch.cat(self._portions(lambda part: self._run(images[part]), images))

    def _run(self, images: Tensor) -> Tensor:
        if self.file.takes_pixels:
            return _logits(self.file(denormalise(self.preprocessing, images.cpu())), self.config)
        return self.file(images.float().cpu())

    def embed(self, images: Tensor) -> Tensor:
        """A file holds no output but its scores: raises `MaxViTError`."""
        raise MaxViTError(f"{self.path} gives class scores alone: take the checkpoint that it was made from")


def _logits(probabilities: Tensor, config: MaxViTConfig) -> Tensor:
    """What `config.probabilities` makes these of, finite."""
    if config.multi_label:
        return probabilities.clamp(SMALLEST, BELOW_1).logit()
    return probabilities.clamp(min=SMALLEST).log()


def open_engine(
    source: MaxViT | str | Path,
    engine: str = "auto",
    device: torch.device | str | None = None,
    tell: Callable[[str], object] = say,
    precision: str = "auto",
) -> Engine:
    """What answers for a network or a checkpoint.

    Args:
        source: A network, which runs in PyTorch as it is; or a path. An `.onnx` file runs in ONNX Runtime, an `.xml`
            file in OpenVINO, a `.pt2` file in PyTorch as it is; any other checkpoint in PyTorch, optimised.
        engine: "auto": as said. "torch" or "onnxruntime": that one; for ONNX Runtime a checkpoint is exported once,
            into a cache, and `tell` is told.
        device: Where PyTorch computes; None: where the network is.
        tell: Called with a sentence before work that takes long, and with what a checkpoint leaves to be assumed.
        precision: In PyTorch, as for `choose_precision`; a file has its own.

    Raises:
        MaxViTError: If the file cannot be read, or not by this engine.
    """
    check_known("engine", [engine], ENGINES)
    if isinstance(source, MaxViT):
        if engine == "onnxruntime":
            raise MaxViTError("a network in memory runs in PyTorch: write it with export_onnx, and give that file")
        return TorchEngine(source, device, precision)
    opened = _open_path(Path(source), engine, device, tell, precision)
    tell_assumed(source, opened.provenance, tell)
    return opened


def tell_assumed(path: str | Path, provenance: Mapping[str, Any], tell: Callable[[str], object] = say) -> None:
    """Tell what a checkpoint does not say and its answers rest on, where there is such."""
    if assumed := provenance.get("assumed"):
        tell(f"{path} does not say everything; assumed: {assumed}")


def _open_path(
    path: Path, engine: str, device: torch.device | str | None, tell: Callable[[str], object], precision: str
) -> Engine:
    if (runtime := EXPORTED.get(path.suffix)) and not path.is_dir():
        if engine != "auto" and engine != {".onnx": "onnxruntime", ".pt2": "torch"}.get(path.suffix):
            raise MaxViTError(f"{path} runs in {runtime}: give the checkpoint that it was made from to {engine}")
        _refuse_precision(precision, f"{path} computes in its own: export the checkpoint anew with --precision")
        return FileEngine(path)
    if engine == "onnxruntime":
        _refuse_precision(
            precision, "ONNX Runtime computes in the file's: export the checkpoint with --precision, and give that file"
        )
        from maxvit.inference.cache import exported

        return FileEngine(exported(path, tell))
    return _optimized(load_model(path).to(device), precision)


def _optimized(model: MaxViT, precision: str) -> TorchEngine:
    """On the native kernels where they serve, which compute in fp32."""
    chosen = choose_precision(precision, next(model.parameters()).device)
    return TorchEngine(optimize(model, backend="auto" if chosen == "fp32" else "torch"), None, chosen)


def _refuse_precision(precision: str, why: str) -> None:
    if precision != "auto":
        raise MaxViTError(f"precision is {precision}, and {why}")


def open_sizes(
    path: str | Path,
    sizes: Sequence[Size] = (),
    scale_windows: bool = False,
    engine: str = "auto",
    device: torch.device | str | None = None,
    precision: str = "auto",
) -> dict[Size, Engine]:
    """What answers for a checkpoint at several image sizes.

    Args:
        path: As for `open_engine`.
        sizes: (height, width) each; none: the one that the weights expect.
        scale_windows: Scale windows and grids to each size, see `MaxViT.set_image_size`; in PyTorch alone, and every
            size then has a network of its own. False: one network, with its own windows, for all sizes.
        engine: As for `open_engine`.
        device: As for `open_engine`.
        precision: As for `open_engine`.

    Raises:
        MaxViTError: As `open_engine`; or if a size is given twice, or windows are to be scaled that cannot be.
    """
    if twice := [size for i, size in enumerate(sizes) if size in sizes[:i]]:
        raise MaxViTError(f"size {twice[0][0]} x {twice[0][1]} is given twice: give each size once")
    if not scale_windows:
        opened = open_engine(path, engine, device, precision=precision)
        return dict.fromkeys(sizes or [opened.preprocessing.image_size], opened)
    if not sizes:
        raise MaxViTError("windows are to be scaled, and no size to scale them to was given: give one or more")
    check_known("engine", [engine], ENGINES)
    if engine == "onnxruntime" or Path(path).suffix in EXPORTED:
        raise MaxViTError("windows are built into an exported file: scale those of a checkpoint that runs in PyTorch")
    engines: dict[Size, Engine] = {}
    for size in sizes:
        model = load_model(path)
        model.set_image_size(size)
        engines[size] = _optimized(model.to(device), precision)
    tell_assumed(path, model.provenance)
    return engines
