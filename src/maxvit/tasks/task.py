"""What a task is: a head, a loss, a metric, a data format and a picture. `docs/tasks.md` shows how to add one."""

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from maxvit.config import Fit, MaxViTConfig, Preprocessing, Size, check_known
from maxvit.data.columns import GUESSED, ListColumns
from maxvit.data.dataset import LabelledImages, Splits, draw_out, part_to_evaluate
from maxvit.data.finding import say_passed_over
from maxvit.data.images import ImageLike, Source, decode
from maxvit.data.transforms import preprocess, target_size
from maxvit.errors import MaxViTError
from maxvit.model import MaxViT
from maxvit.tasks.network import Network, TaskNetwork
from maxvit.tasks.network import TaskSettings as TaskSettings
from maxvit.tasks.panels import Panels
from maxvit.tasks.protocols import Baseline, Cell, Distil, ExportSpec, Forward, Metric, Predicted, Probe, Target

TABLES = (".parquet", ".csv", ".jsonl")  # files with a row, or an object, for each image, whatever the task


class Task(ABC):
    """One kind of prediction, from the files of a data set to a picture. It holds settings, and no network.

    Args:
        settings: Settings of the recipe or the checkpoint, of the class `Settings`.

    Attributes:
        name: As in `--task name`.
        Settings: What can be set.
        recipe: The recipe that trains it where none is given.
        batch_size: Images at once in evaluation and prediction, where nothing is said.
        after_export: Settings that are not part of an exported file, and can still be changed.
        usual_classes: How many a plan assumes where no data says it.
        not_counted: What `rehearse` leaves out of a training step, in words; empty: nothing that counts.
        other_layout: What to do with data that is laid out for another task, for whose name "{task}" stands.
        no_answer: Why its networks are a start for other tasks and are not served, in words; empty: they answer.
        fits: The values of `data.fit` that it takes; the first is the default. None: any, and what the weights expect.
        evaluated_file: Name of the file that `write_evaluated` writes for `maxvit evaluate --out`; then all predictions
            are kept until the end. None: there is no such file.
        in_percent: Metrics, and columns of their rows, that are shares and are shown to people in percent.
        lower_is_better: Metrics, and losses of validation, of which the lowest is the best.
        reads_lists: Its data may be a list, whose columns a person may name.
        columns: Which columns of a list it reads: see `by_columns`.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[TaskSettings]] = TaskSettings
    recipe: ClassVar[str] = "folder"
    batch_size: ClassVar[int] = 8
    fits: ClassVar[tuple[Fit, ...] | None] = ("aspect",)
    evaluated_file: ClassVar[str | None] = None
    in_percent: ClassVar[frozenset[str]] = frozenset()
    lower_is_better: ClassVar[frozenset[str]] = frozenset(("loss",))
    after_export: ClassVar[tuple[str, ...]] = ()
    usual_classes: ClassVar[int] = 100
    not_counted: ClassVar[str] = "the loss"
    other_layout: ClassVar[str] = "add --task {task}"
    no_answer: ClassVar[str] = ""
    reads_lists: ClassVar[bool] = False
    columns: ListColumns = GUESSED

    def __init__(self, settings: TaskSettings) -> None:
        if not isinstance(settings, self.Settings):
            raise TypeError(f"settings are {type(settings).__name__}; {self.name} takes {self.Settings.__name__}")
        self.settings = settings

    # the data format

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """Whether a path looks like a data set of this task, at a glance: training without a task then asks for it."""
        return False

    def by_columns(self, columns: ListColumns) -> Self:
        """The same task, which reads these columns of a list. Raises `MaxViTError` if it reads no lists."""
        if not self.reads_lists:
            columns.refuse(f"{self.name} does not read lists whose columns could be named")
        twin = copy.copy(self)
        twin.columns = columns
        return twin

    def read(self, path: Path, class_names: Sequence[str] | None) -> dict[str, LabelledImages]:
        """Every image of a data set, by part: some of "train", "val" and "test"; or "all", where it has no parts.

        Args:
            path: It exists.
            class_names: Names from a network, which number the classes; None: the data set defines them.

        Raises:
            MaxViTError: If something is missing or not as it should be, with the name of the file; or if there are
                classes that the network lacks.
        """
        raise NotImplementedError(f"{type(self).__name__} has neither read, nor load and load_eval")

    def load(self, path: str, val_fraction: float, seed: int) -> Splits:
        """What to learn from, what to choose the best epoch by, and what to report on. Raises as `read`.

        Args:
            path: Path of the data set.
            val_fraction: Share of the training images that is held out where the data set has no validation part.
            seed: Seed of that draw.
        """
        parts = self.parts(path)
        train, val = parts.get("train", parts.get("all")), parts.get("val")
        if train is None or len(train) < (2 if val is None else 1):
            missing = "" if train is None else say_passed_over(train.passed_over)
            number = f"{path} has {len(train or ())} image(s) to learn from"
            raise MaxViTError(f"{number}: it takes 2, or 1 and others to validate by{missing}")
        if val is None:
            train, val = draw_out(train, val_fraction, seed)
        return Splits(train, val, parts.get("test"))

    def load_eval(self, path: str, class_names: Sequence[str] | None) -> LabelledImages:
        """The images to evaluate a network on: the test part, else the validation part, else all. Raises as `read`."""
        return part_to_evaluate(self.read(Path(path), class_names))

    def parts(self, path: str) -> dict[str, LabelledImages]:
        """Every image by part, as `read` gives them, of whatever `load` takes. Raises as `read`."""
        if type(self).read is Task.read:
            raise MaxViTError(
                f"{self.name} does not say which images there are: give its class read, see docs/tasks.md"
            )
        return self.read(Path(path), None)

    def one_class(self, images: LabelledImages) -> Sequence[int] | None:
        """The class of each image as a whole, an index into its `class_names`; None: it has not exactly one."""
        return None

    def reads(self, data: Path, folder: Path) -> bool:
        """Whether a new folder would be read as data of a data set, such as one that is made among class folders."""
        return False

    def says(self, spec: Preprocessing) -> str:
        """What a person should know of how a network is trained, in a sentence: here, nothing.

        Args:
            spec: What the network expects of an image.
        """
        return ""

    def check(self, images: LabelledImages) -> None:
        """Refuse labels that do not fit the settings, by `MaxViTError`; they are all there, as `read` gives them."""
        return

    @abstractmethod
    def augment(self, spec: Preprocessing, source: Source, label: Any) -> tuple[Tensor, Target]:
        """What training makes of an image: (C, H, W) with (H, W) = `spec.image_size`, normalised, and its target.

        It draws from PyTorch's random numbers; what needs none of them can be kept by `maxvit.data.kept.once`. Raises
        `MaxViTError` where image or label cannot be read.
        """

    def for_photographs(self) -> str:
        """What `augment` does to photographs, and not to images of other bands, in a few words; here, nothing."""
        return ""

    def augmented_size(self, spec: Preprocessing, size: Size) -> Size:
        """The size that training makes of an image of `size`. It is asked where images keep their shapes."""
        return spec.image_size

    def mix(self, images: Tensor, targets: Any, num_classes: int) -> tuple[Tensor, Any]:
        """What training makes of a batch of augmented images and collated targets: MixUp and its like."""
        return images, targets

    def prepare(self, spec: Preprocessing, image: ImageLike) -> Tensor:
        """What evaluation and prediction make of an image: all of it, as (C, H, W) of `prepared_size`, normalised."""
        decoded = decode(image, spec)
        size = self.prepared_size(spec, (decoded.height, decoded.width))
        return preprocess(dataclasses.replace(spec, image_size=size, fit="squash", crop_pct=1.0), decoded)

    def prepared_size(self, spec: Preprocessing, size: Size) -> Size:
        """The size that `prepare` gives an image of `size`; images of one size travel together."""
        return target_size(spec, size)

    @abstractmethod
    def target(self, label: Any, size: Size) -> Target:
        """What predictions for an image of `size` (as decoded) are compared with. Raises `MaxViTError`."""

    def collate(self, targets: Sequence[Target]) -> Any:
        """The targets of a training batch, for `losses`: stacked, where they are tensors."""
        return torch.stack(list(targets)) if isinstance(targets[0], Tensor) else list(targets)

    def names(self, class_names: Sequence[str] | None, config: MaxViTConfig) -> list[str]:
        """What a network tells apart. Raises `MaxViTError` if it predicts nothing."""
        return list(class_names or ())

    def image_classes(self, class_names: Sequence[str] | None, config: MaxViTConfig) -> list[str]:
        """The classes of an image as a whole, one of which can be explained; empty: there are none.

        A network of a task that has them gives their logits, (B, classes); predictions are probabilities, (classes,).
        """
        return []

    # the head and the loss

    def make_head(self, backbone: MaxViT, num_classes: int) -> nn.Module:
        """The head, freshly initialised. See `TaskNetwork` for what is asked of it."""
        raise NotImplementedError(f"{type(self).__name__} has no make_head")

    def make_network(self, backbone: MaxViT, class_names: Sequence[str], new_head: bool = False) -> Network:
        """A network on a backbone, which is used and not copied.

        Args:
            backbone: It may bring a head that a task can keep.
            class_names: What the network tells apart.
            new_head: Never keep it.
        """
        return TaskNetwork(backbone, self.make_head(backbone, len(class_names)), class_names, self.settings)

    def initialize(self, network: Network, images: LabelledImages) -> None:
        """Give a new network what it must know of the training images before it learns: here, nothing."""
        return

    @abstractmethod
    def losses(self, network: nn.Module, images: Tensor, targets: Any) -> dict[str, Tensor]:
        """In training mode: "loss", whose gradient is followed, and what else a person may want to see, scalars.

        Args:
            network: A `TaskNetwork`.
            images: (B, C, H, W).
            targets: As `collate` gives them, on the network's device.
        """

    def rehearse(self, network: nn.Module, images: Tensor) -> None:
        """Compute what a training step computes, as far as shapes alone tell: to count operations and memory.

        Args:
            network: In training mode, on the meta device, which has shapes and no values.
            images: (B, C, H, W), there too.
        """
        network(images)

    def objective(self, network: nn.Module, images: LabelledImages) -> nn.Module:
        """From (images, targets) to `losses`, as a module. `images` are those of training, which it may depend on."""
        return _Objective(self, network)

    def distil(self, teacher: Network, student: Network) -> Distil:
        """How a network learns from another, which is not part of it: here, not at all.

        Args:
            teacher: On the device of training; it is used, not copied, and stays as it is.
            student: Before training; it says how images are normalised.

        Raises:
            MaxViTError: If there is no such way, or the teacher is for another task or other classes.
        """
        raise MaxViTError(f"{self.name} does not learn from a teacher: leave --teacher (model.teacher) out")

    @abstractmethod
    def predict(self, network: Forward, images: Tensor, sizes: Sequence[Size]) -> list[Predicted]:
        """In evaluation mode: what the network says of each image.

        Args:
            network: A `TaskNetwork`, or what stands in for it, such as an exported file.
            images: (B, C, H, W), prepared.
            sizes: Sizes of each image as it was decoded.
        """

    def evaluate(
        self, network: Forward, images: Tensor, sizes: Sequence[Size], targets: Sequence[Target]
    ) -> tuple[dict[str, Tensor], list[Predicted]]:
        """Losses, means over the images (or none of them), and the predictions."""
        return {}, self.predict(network, images, sizes)

    def with_mirror(self, network: Forward) -> Forward:
        """What gives the mean for an image and its mirror image. Raises `MaxViTError` if there is no such mean."""
        raise MaxViTError(f"{self.name} has no mean of predictions for an image and its mirror image: use tta none")

    def mean(self, predictions: Sequence[Predicted]) -> Predicted | None:
        """One prediction from several for the same image, at several sizes or of several networks; None: no mean."""
        return None

    # the metric

    @abstractmethod
    def metric(self, class_names: Sequence[str]) -> Metric:
        """An empty metric."""

    def val_metric(self, class_names: Sequence[str]) -> Metric:
        """An empty metric for the end of each epoch; the first of what it computes chooses the best one by itself."""
        return self.metric(class_names)

    def choosers(self, images: LabelledImages) -> list[str]:
        """What can choose the best epoch (`optimization.metric`): what `val_metric` computes, and the loss.

        Args:
            images: Those of validation.
        """
        has_loss = type(self).evaluate is not Task.evaluate
        return [*self.val_metric(images.class_names).compute(), *["loss"] * has_loss]

    def settle(self, network: Network, metrics: Mapping[str, float], metric: Any) -> None:
        """Give the network what its validation has found, before it is saved: here, nothing.

        Args:
            network: It is changed.
            metrics: What the metric computes, and losses.
            metric: As `val_metric` gives it, of all validation images.
        """
        return

    def conclude(self, network: Network, data: Splits, workers: int, between: Callable[[], None]) -> str:
        """Add to the best network of a run what can be known after training: here, nothing.

        Args:
            network: It is changed, and saved afterwards.
            data: Images of the run.
            workers: Processes that decode.
            between: Called now and then: a request to stop ends the work there, which then begins anew.

        Returns:
            What was added, as a sentence.
        """
        return ""

    def baseline(self, train: LabelledImages, test: LabelledImages, spec: Preprocessing) -> Baseline | None:
        """How well a method of seconds does that learns from `train`, on the images of `test`; here, none is known."""
        return None

    def probe(self, images: LabelledImages) -> Probe | None:
        """What fits the last layer to the network as it is, before training; here, and for such labels, None."""
        return None

    def panels(self, metric: Any, predictions: Sequence[Predicted]) -> Panels:
        """What a report shows besides the metrics: here, nothing.

        Args:
            metric: As `metric` gives it, of all images.
            predictions: Those of all images, where one fits into a row; else of some.
        """
        return Panels()

    # the prediction as a picture, a line, plain values and a file

    def draw_prediction(self, image: Image.Image, prediction: Predicted, class_names: Sequence[str]) -> Image.Image:
        """The prediction drawn over the image (RGB, as decoded), at the same size if it has a place in it: `summary`,
        if there is no better."""
        return _written(image, self.summary(prediction, class_names))

    def draw_target(self, image: Image.Image, target: Target, class_names: Sequence[str]) -> Image.Image:
        """The target drawn in the same way: `target_summary`, if there is no better."""
        return _written(image, self.target_summary(target, class_names))

    def sample_pictures(
        self, image: Image.Image, prediction: Predicted, target: Target, class_names: Sequence[str]
    ) -> Mapping[str, Image.Image]:
        """What a report draws beside an image, by name: target and prediction; none, where words say as much."""
        if type(self).draw_prediction is Task.draw_prediction:
            return {}
        return {
            "target": self.draw_target(image, target, class_names),
            "prediction": self.draw_prediction(image, prediction, class_names),
        }

    @abstractmethod
    def summary(self, prediction: Predicted, class_names: Sequence[str]) -> str:
        """The prediction in a line."""

    def target_summary(self, target: Target, class_names: Sequence[str]) -> str:
        """The target in a line: as if it were a prediction, where it has the same form."""
        return self.summary(target, class_names)

    @abstractmethod
    def to_json(self, prediction: Predicted, class_names: Sequence[str]) -> dict[str, Any]:
        """The prediction as plain values for JSON."""

    def row(self, prediction: Predicted, class_names: Sequence[str]) -> dict[str, Cell] | None:
        """The prediction as a row of a table, with the same columns for all; None: it does not fit into one."""
        values = self.to_json(prediction, class_names)
        return values if all(isinstance(value, Cell) for value in values.values()) else None

    def evaluated_row(
        self, prediction: Predicted, target: Target, class_names: Sequence[str]
    ) -> dict[str, Cell] | None:
        """`row` with the target: here of the same form, in columns that begin with "target_"; None: there is no row."""
        if (row := self.row(prediction, class_names)) is None:
            return None
        return {**{f"target_{name}": cell for name, cell in (self.row(target, class_names) or {}).items()}, **row}

    def write_evaluated(
        self, predictions: Iterable[tuple[str, Any, Predicted]], out: Path, class_names: Sequence[str]
    ) -> None:
        """Write predictions for the images of a data set, as `write` does; it is asked where `evaluated_file` is set.

        Args:
            predictions: Name of the image, its label as `read` gives it, and the prediction, one after another.
            out: The file `evaluated_file`.
            class_names: Class names of the network.

        Raises:
            MaxViTError: If it cannot be written.
        """
        raise NotImplementedError(f"{type(self).__name__} has evaluated_file, and no write_evaluated")

    def check_out(self, out: Path) -> None:
        """Refuse, by `MaxViTError`, a place that `write` does not write to, before there is anything to write."""
        check_known("ending of the file", [out.suffix], TABLES)
        raise MaxViTError(f"{out}: a prediction of {self.name} does not fit into a row of a table: write .jsonl")

    def write(self, predictions: Iterable[tuple[str, Size, Predicted]], out: Path, class_names: Sequence[str]) -> None:
        """Write predictions in the format that the field uses, under a temporary name until all are there.

        Args:
            predictions: Name of the image, its size as decoded, and the prediction, one after another.
            out: A file or a folder, as the task has it.
            class_names: Class names of the network.

        Raises:
            MaxViTError: If it cannot be written, or `check_out` refuses it.
        """
        self.check_out(out)

    # export

    def export_spec(self, network: nn.Module, from_pixels: bool = False) -> ExportSpec:
        """What `maxvit export` writes: from prepared images (B, C, H, W) to tensors whose batch is that of the images.

        Args:
            network: It is used, not copied.
            from_pixels: The file prepares the images itself; what it gives may be easier to use then.

        Raises:
            MaxViTError: If the network cannot be written as a graph.
        """
        return ExportSpec(network)

    def from_export(self, outputs: Sequence[Tensor], from_pixels: bool) -> Any:
        """What the network would have given, from what an exported file gives for images, or for pixels."""
        return outputs[0]


def _written(image: Image.Image, text: str) -> Image.Image:
    """The image with a line of text."""
    drawn, font = image.copy(), ImageFont.load_default(max(10, image.height // 12))
    ImageDraw.Draw(drawn).text((3, 1), text, "white", font, stroke_width=2, stroke_fill="black")
    return drawn


class _Objective(nn.Module):
    """A task's losses as a module, which can be distributed."""

    def __init__(self, task: Task, network: nn.Module) -> None:
        super().__init__()
        self.task, self.network = task, network

    def forward(self, images: Tensor, targets: Any) -> dict[str, Tensor]:
        return self.task.losses(self.network, images, targets)
