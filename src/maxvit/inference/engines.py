"""What computes the outputs of a network: PyTorch, or the runtime of a file. The file decides, and a user may."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from maxvit.config import MaxViTConfig, Preprocessing, Size, check_known
from maxvit.data.transforms import denormalise
from maxvit.description import reading
from maxvit.errors import MaxViTError
from maxvit.export.runtimes import open_file
from maxvit.inference.portions import Portions
from maxvit.inference.precision import Arithmetic, choose_precision
from maxvit.kernels.optimize import OptimizedMaxViT, fp16_obstacle, optimize
from maxvit.layers.modes import evaluating
from maxvit.tasks import described_task, load, task_for, with_settings
from maxvit.tasks.network import Network, backbone_of, outputs_of, tensors_of, with_backbone, with_embeddings
from maxvit.tasks.protocols import Changed, Forward, Predicted
from maxvit.tasks.task import Task

ENGINES = ("auto", "torch", "onnxruntime")
# files, and where they run
EXPORTED = {".onnx": "ONNX Runtime", ".xml": "OpenVINO", ".pt2": "PyTorch as it is", ".pte": "ExecuTorch"}
TTA = ("none", "flip")


class Engine(Protocol):
    """A network that is ready to predict; it stands in for the network where a task calls one.

    Attributes:
        task: What it predicts.
        config: Configuration of the network; of its backbone, if it has a head of another task.
        preprocessing: What it expects of an image.
        class_names: What it tells apart; None: they are not known.
        provenance: Where the weights come from.
        portions: Computes as many images at once as the memory takes.
    """

    task: Task
    config: MaxViTConfig
    preprocessing: Preprocessing
    class_names: list[str] | None
    provenance: Mapping[str, Any]
    portions: Portions

    @property
    def name(self) -> str:
        """What computes, in a few words."""
        ...

    def __call__(self, images: Tensor) -> Any:
        """What the network gives for preprocessed images (B, C, H, W), such as logits (B, classes) float32."""
        ...

    def with_embeddings(self, images: Tensor) -> tuple[Any, Tensor]:
        """The same, and the features of each image, (B, features) float32 on the CPU.

        Raises:
            MaxViTError: If this engine cannot tell.
        """
        ...


def predict(engine: Engine, images: Tensor, sizes: Sequence[Size], tta: str = "none") -> list[Predicted]:
    """What an engine says of prepared images (B, C, H, W) of one size.

    Args:
        engine: It.
        images: Prepared.
        sizes: Sizes of each image as it was decoded.
        tta: "flip": the mean with that of the mirror image; "none": the image alone.
    """
    network: Forward = engine.task.with_mirror(engine) if tta == "flip" else engine
    parts = engine.portions(lambda part: engine.task.predict(network, images[part], sizes[part]), images)
    return [prediction for some in parts for prediction in some]


def predict_and_embed(
    engine: Engine, images: Tensor, sizes: Sequence[Size], tta: str = "none"
) -> tuple[list[Predicted], Tensor]:
    """The same, and the features of each image, (B, features) float32 on the CPU, not of its mirror image."""

    def compute(part: slice) -> tuple[list[Predicted], Tensor]:
        seen: list[Tensor] = []

        def forward(images: Tensor) -> Any:
            outputs, embeddings = engine.with_embeddings(images)
            seen.append(embeddings)
            return outputs

        network: Forward = Changed(engine, forward)
        network = engine.task.with_mirror(network) if tta == "flip" else network
        predictions = engine.task.predict(network, images[part], sizes[part])
        return predictions, seen[0] if len(seen) == 1 else engine.with_embeddings(images[part])[1]

    predictions, embeddings = zip(*engine.portions(compute, images), strict=True)
    return [one for some in predictions for one in some], torch.cat(embeddings)


def say(sentence: str) -> None:
    """One line on standard error."""
    print(sentence, file=sys.stderr)


class TorchEngine:
    """A network in PyTorch, as it is.

    Args:
        network: It computes in evaluation mode, and its parts are left in the modes that they were in.
        device: Where it is moved to; None: it stays.
        precision: As for `choose_precision`.
        task: What it predicts; None: what it was made for.
    """

    def __init__(
        self,
        network: Network,
        device: torch.device | str | None = None,
        precision: str = "fp32",
        task: Task | None = None,
    ) -> None:
        self.network, self.task = network.to(device), task or task_for(network)
        backbone = backbone_of(network)
        name = f"{backbone.engine}, optimised" if isinstance(backbone, OptimizedMaxViT) else "PyTorch"
        weight = next(network.parameters())
        self.device, self._dtype = weight.device, weight.dtype
        self._arithmetic = Arithmetic(precision, weight, say)
        self._name, self.portions = f"{name} on {self.device.type}", Portions(self.device, say)
        self.config, self.preprocessing, self.class_names = network.config, network.preprocessing, network.class_names
        self.provenance: Mapping[str, Any] = network.provenance

    @property
    def name(self) -> str:
        return self._name if self._arithmetic.precision == "fp32" else f"{self._name}, {self._arithmetic.precision}"

    def __call__(self, images: Tensor) -> Any:
        return self._run(partial(outputs_of, self.network), images)

    def with_embeddings(self, images: Tensor) -> tuple[Any, Tensor]:
        outputs, embeddings = self._run(lambda images: with_embeddings(self.network, images), images)
        return _float(outputs), embeddings.float().cpu()

    def _run(self, forward: Callable[[Tensor], Any], images: Tensor) -> Any:
        images = images.to(self.device, self._dtype)
        with evaluating(self.network), torch.inference_mode():
            self._arithmetic.compare(partial(tensors_of, self.network), images)
            with self._arithmetic.autocast():
                return _float(forward(images))


def _float(outputs: Any) -> Any:
    if isinstance(outputs, tuple):
        return tuple(map(_float, outputs))
    return outputs.float() if isinstance(outputs, Tensor) else outputs


class FileEngine:
    """An exported file, in the runtime that its name says: `.onnx`, `.xml` (OpenVINO), `.pt2` (PyTorch) or `.pte`
    (ExecuTorch).

    A file that takes pixels is given the pixels that are nearest to the preprocessed images.

    Args:
        path: The file.

    Raises:
        MaxViTError: If its runtime is missing, or it cannot be read or was not written by maxvit.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self.file = Path(path), open_file(Path(path))
        self.portions = Portions(torch.device("cpu"), say)
        metadata = self.file.metadata
        with reading(metadata, str(path)):
            self.config = MaxViTConfig.from_dict(metadata["config"])
            self.preprocessing = Preprocessing.from_dict(metadata["preprocessing"])
            self.class_names: list[str] | None = metadata["class_names"]
            self.provenance: Mapping[str, Any] = metadata.get("provenance") or {}
            precision = metadata["precision"]
        self.task = described_task(metadata, self.config)
        self.name = self.file.name if precision == "fp32" else f"{self.file.name}, {precision}"

    def __call__(self, images: Tensor) -> Any:
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
            raise MaxViTError(
                f"images are {sizes[0]}, and {self.path} is for {sizes[1]}: resize them, or export it again"
            )
        pixels = self.file.takes_pixels
        outputs = self.file(denormalise(self.preprocessing, images.cpu()) if pixels else images.float().cpu())
        return self.task.from_export(outputs, pixels)

    def with_embeddings(self, images: Tensor) -> tuple[Any, Tensor]:
        """A file has no output for features: raises `MaxViTError`."""
        raise MaxViTError(f"{self.path} gives no embeddings: use the checkpoint that it was made from")


def open_engine(
    source: Network | str | Path,
    engine: str = "auto",
    device: torch.device | str | None = None,
    tell: Callable[[str], object] = say,
    precision: str = "auto",
    settings: Mapping[str, Any] | None = None,
) -> Engine:
    """What predicts, for a network or a checkpoint.

    Args:
        source: A network, which runs in PyTorch as it is; or a path. An `.onnx` file runs in ONNX Runtime, an `.xml`
            file in OpenVINO, a `.pt2` file in PyTorch as it is, a `.pte` file in ExecuTorch; any other checkpoint,
            also published weights by name, in PyTorch, optimised.
        engine: "auto": as said. "torch" or "onnxruntime": that one; for ONNX Runtime a checkpoint is exported once,
            into a cache, and `tell` is told.
        device: Where PyTorch computes; None: where the network is.
        tell: Called with a sentence before work that takes long, and with what a checkpoint leaves to be assumed.
        precision: In PyTorch, as for `choose_precision`; a file has its own.
        settings: Settings of the task, to be used in place of the network's; None: as they are.

    Raises:
        MaxViTError: If the file cannot be read, or not by this engine.
    """
    check_known("engine", [engine], ENGINES)
    if not isinstance(source, str | Path):
        if engine == "onnxruntime":
            raise MaxViTError("a network in memory runs in PyTorch: write it with export_model, and give that file")
        return TorchEngine(source, device, precision, with_settings(task_for(source), settings or {}))
    opened = _open_path(source, engine, device, tell, precision, settings or {})
    tell_assumed(source, opened.provenance, tell)
    return opened


def tell_assumed(path: str | Path, provenance: Mapping[str, Any], tell: Callable[[str], object] = say) -> None:
    """Tell what a checkpoint does not say and its answers rest on, where there is such."""
    if assumed := provenance.get("assumed"):
        tell(f"{path} does not say everything; assumed: {assumed}")


def _open_path(
    given: str | Path,
    engine: str,
    device: torch.device | str | None,
    tell: Callable[[str], object],
    precision: str,
    settings: Mapping[str, Any],
) -> Engine:
    path = Path(given)
    if (runtime := EXPORTED.get(path.suffix)) and not path.is_dir():
        if engine != "auto" and engine != {".onnx": "onnxruntime", ".pt2": "torch"}.get(path.suffix):
            raise MaxViTError(f"{path} runs in {runtime}: give the checkpoint that it was made from to {engine}")
        _refuse_precision(precision, f"{path} computes in its own: export the checkpoint again with --precision")
        return _open_file(path, settings)
    if engine == "onnxruntime":
        _refuse_precision(
            precision, "ONNX Runtime computes in the file's: export the checkpoint with --precision, and give that file"
        )
        from maxvit.inference.cache import exported

        return _open_file(exported(given, tell, settings), settings)
    return _optimized(load(given, settings).to(device), precision, settings)


def _open_file(path: Path, settings: Mapping[str, Any]) -> FileEngine:
    """With other settings of the task, as far as they are not part of the graph."""
    opened = FileEngine(path)
    before, opened.task = opened.task, with_settings(opened.task, settings)
    for name in settings:
        if name not in before.after_export and getattr(opened.task.settings, name) != getattr(before.settings, name):
            raise MaxViTError(f"task.{name} cannot be changed in {path}: export the checkpoint again, with --set")
    return opened


def _optimized(network: Network, precision: str, settings: Mapping[str, Any]) -> TorchEngine:
    """On the native kernels where they serve, which compute in fp32 or, where the processor can, in fp16."""
    backbone, device = backbone_of(network), next(network.parameters()).device
    chosen = choose_precision(precision, device)
    if chosen == "fp16" and device.type == "cpu":
        reason = fp16_obstacle(backbone)
        if reason:  # PyTorch's would be many times slower than fp32
            say(f"fp16 is not used: {reason}; it computes in fp32")
        fast, chosen = optimize(backbone, precision="fp32" if reason else "fp16"), "fp32"  # of what is left to PyTorch
    else:
        fast = optimize(backbone, backend="auto" if chosen == "fp32" else "torch")
    return TorchEngine(with_backbone(network, fast), None, chosen, with_settings(task_for(network), settings))


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
    settings: Mapping[str, Any] | None = None,
) -> dict[Size, Engine]:
    """What predicts, for a checkpoint at several image sizes; other arguments are those of `open_engine`.

    Args:
        path: Path of the checkpoint.
        sizes: (height, width) each; none: the one that the weights expect.
        scale_windows: Scale windows and grids to each size, see `MaxViT.set_image_size`; in PyTorch alone, and every
            size then has a network of its own. False: one network, with its own windows, for all sizes.

    Raises:
        MaxViTError: As `open_engine`; or if a size is given twice, or windows are to be scaled that cannot be.
    """
    if twice := [size for i, size in enumerate(sizes) if size in sizes[:i]]:
        raise MaxViTError(f"size {twice[0][0]} x {twice[0][1]} is given twice: give each size once")
    if not scale_windows:
        opened = open_engine(path, engine, device, precision=precision, settings=settings)
        return dict.fromkeys(sizes or [opened.preprocessing.image_size], opened)
    if not sizes:
        raise MaxViTError("windows are to be scaled, and no size to scale them to was given: give one or more")
    check_known("engine", [engine], ENGINES)
    if engine == "onnxruntime" or Path(path).suffix in EXPORTED:
        raise MaxViTError("windows are built into an exported file: scale those of a checkpoint that runs in PyTorch")
    engines: dict[Size, Engine] = {}
    for size in sizes:
        network = load(path, settings)
        backbone_of(network).set_image_size(size)
        engines[size] = _optimized(network.to(device), precision, settings or {})
    tell_assumed(path, network.provenance)
    return engines
