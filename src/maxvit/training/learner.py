"""A network that learns: its optimiser, the average of its weights, one step, and the whole state of it."""

import copy
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from maxvit.data.dataset import LabelledImages
from maxvit.data.loading import Batch
from maxvit.errors import MaxViTError, is_out_of_memory
from maxvit.inference.engines import say
from maxvit.inference.portions import Portions, free_memory, give_back
from maxvit.tasks.network import Network
from maxvit.tasks.task import Task
from maxvit.training.distributed import Engine
from maxvit.training.ema import Average
from maxvit.training.optim import (
    clip_gradients,
    freeze,
    learning_rate_factor,
    make_optimizer,
    set_learning_rate,
    set_training_mode,
)
from maxvit.training.recipe import Recipe
from maxvit.training.teacher import Teacher


class Learner:
    """What an update changes.

    Args:
        network: Freshly made; it is moved to the engine's device, and sharded if the engine shards.
        task: What it learns.
        images: What it learns from.
        recipe: How it learns.
        engine: Where it computes.
        updates: In the whole run.
        fast: The same parameters on faster layers, called in training; None: the network itself.
        tell: Called with a sentence when fewer images are computed at once.
        teacher: What it learns from beside labels; None: from labels alone.

    Attributes:
        at_once: Most images of a step that are computed at once; None: all.
        rate: What the recipe's learning rate is multiplied by; below 1 after a divergence.
    """

    def __init__(
        self,
        network: Network,
        task: Task,
        images: LabelledImages,
        recipe: Recipe,
        engine: Engine,
        updates: int,
        fast: Network | None = None,
        tell: Callable[[str], object] = say,
        teacher: Teacher | None = None,
    ) -> None:
        self.task = task
        self.recipe, self.engine, self.total = recipe, engine, updates
        self.updates, self.rate = 0, 1.0
        self.at_once: int | None = None
        self.tell, self._portions = tell, Portions(engine.device, tell)  # those of evaluation
        self._statistics: list[Tensor] = []  # before the update
        settings = recipe.optimization
        freeze(network, recipe.model.frozen_stages, recipe.model.linear_probe)
        self.average = Average(network, settings.ema_decay)
        whole = engine.sharded or engine.precision == "fp64"
        self._whole = copy.deepcopy(network).to("meta") if whole else self.average.network  # what the result is put in
        self.network, self.fast, self.teacher = engine.place(network), fast, teacher
        self.average.network = engine.place(self.average.network)
        plain = task.objective(network, images)
        quick = task.objective(fast, images) if fast else None
        if teacher is not None:
            plain, quick = teacher.distil(plain), teacher.distil(quick) if quick else None
        self.objective = engine.wrap(_Objective(plain, quick))
        if recipe.engine.compile:
            network.compile(dynamic=False)
        self.optimizer = make_optimizer(network, self.peak, settings.weight_decay, settings.layer_decay)
        self.scaler = engine.scaler()

    @property
    def peak(self) -> float:
        """The highest learning rate: the recipe's, by the square root of the batch where the batch is another."""
        settings = self.recipe.optimization
        meant_for = settings.base_batch_size or self.recipe.data.batch_size
        return settings.learning_rate * (self.recipe.data.batch_size / meant_for) ** 0.5

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next update, in the head."""
        settings = self.recipe.optimization
        warmup = int(settings.warmup_epochs * self.total / settings.epochs)
        floor = settings.min_learning_rate / settings.learning_rate
        return self.rate * self.peak * learning_rate_factor(self.updates, self.total, warmup, floor, settings.schedule)

    def train(self) -> None:
        """Get ready for steps."""
        settings = self.recipe.model
        self.objective.train()
        for network in (self.network, self.fast):
            if network is not None:
                set_training_mode(network, settings.frozen_stages, settings.linear_probe, settings.frozen_batch_norm)

    def step(self, batch: Batch, turn: int, accumulate: int) -> dict[str, Tensor]:
        """Compute gradients of one of `accumulate` parts of this process's batch, and add them to the others.

        Stochastic depth and MixUp draw from random numbers that are a function of (seed, update, turn, rank). Where
        memory ends, `undo` leaves nothing of the update.
        """
        if turn == 0:
            self._statistics = [buffer.clone() for buffer in self.network.buffers()]
        number = (self.updates * accumulate + turn) * self.engine.world + self.engine.rank
        torch.manual_seed(self.recipe.seed * 1_000_003 + number)
        images, targets = self._to_device(batch)
        images, targets = self.task.mix(images, targets, len(self.network.class_names or ()))
        means: dict[str, Tensor] = {}
        for part in self._parts(len(images)):
            more = turn + 1 < accumulate or part.stop < len(images)
            share = (part.stop - part.start) / len(images)
            with self.engine.accumulating(self.objective, more):
                with self.engine.autocast():
                    losses: dict[str, Tensor] = self.objective(images[part], _cut(targets, part))
                self.scaler.scale(losses["loss"] * (share * batch.weight / accumulate)).backward()
            for name, value in losses.items():
                mean = share * value.detach()
                means[name] = means[name] + mean if name in means else mean
        return means

    def fits(self, batch: Batch) -> bool:
        """Whether the memory takes a step with these images, of which nothing remains and nothing is exchanged."""
        try:
            self.step(batch, turn=0, accumulate=2)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return False
        finally:
            self.undo()
        return True

    def undo(self) -> None:
        """Take back the steps since the last update."""
        self.optimizer.zero_grad(set_to_none=True)
        for buffer, before in zip(self.network.buffers(), self._statistics, strict=True):
            buffer.copy_(before)

    def take_less(self, batch: Batch) -> None:
        """Compute half as many images at once, from now on.

        Raises:
            MaxViTError: If they are so few already that a batch norm would see one.
        """
        height, width = batch.images.shape[-2:]
        largest = max(part.stop - part.start for part in self._parts(len(batch.images)))
        if largest < 4:
            raise MaxViTError(
                f"{largest} images of {height} x {width} are too much for the memory of {self.engine.device}"
                f"{free_memory(self.engine.device)}: set model.gradient_checkpointing=true, a smaller data.image_size "
                "or another model.name"
            )
        self.at_once = -(-largest // 2)
        self.tell(
            f"out of memory with {largest} images at once: going on with {self.at_once}, whose gradients are added up; "
            f"batch norms see {self.at_once} images"
        )
        give_back(self.engine.device)

    def _parts(self, images: int) -> list[slice]:
        """A step's images in equal parts; none is a single image, as batch norm needs two values."""
        number = 1 if self.at_once is None else max(1, min(-(-images // self.at_once), images // 2))
        bounds = [-(-images * i // number) for i in range(number + 1)]
        return [slice(*pair) for pair in itertools.pairwise(bounds)]

    def update(self) -> Tensor:
        """Change the weights. Returns the norm of the gradient before it was clipped.

        In fp16 losses are scaled; where that was too much, the norm is not a finite number and the weights stay.
        """
        set_learning_rate(self.optimizer, self.learning_rate)
        self.scaler.unscale_(self.optimizer)
        norm = clip_gradients(self.network, self.recipe.optimization.grad_clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.engine.average_statistics(self.network)
        self.average.update(self.network)
        self.updates += 1
        return norm

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> tuple[dict[str, Tensor], Any]:
        """Losses and predictions of the averaged weights, between `begin_evaluation` and `end_evaluation`."""
        images, targets = self._to_device(batch)

        def evaluate(part: slice) -> tuple[int, dict[str, Tensor], list[Any]]:
            sizes, some = batch.sizes[part], list(targets[part])
            return len(some), *self.task.evaluate(self.average.network, images[part], sizes, some)

        with self.engine.autocast():
            parts = self._portions(evaluate, images)
        names = parts[0][1]
        means = {name: torch.stack([n * found[name] for n, found, _ in parts]).sum(0) / len(images) for name in names}
        return means, [prediction for *_, some in parts for prediction in some]

    def begin_evaluation(self) -> None:
        """Have all averaged weights here, where they are sharded."""
        self.engine.unshard(self.average.network)

    def end_evaluation(self) -> None:
        """Keep only this process's part of them again."""
        self.engine.release(self.average.network)

    def result(self) -> Network:
        """The network with averaged weights, whole; all processes must call it, and the first has the weights."""
        if self._whole is self.average.network:
            return self._whole
        weights, _ = self.engine.state_of(self.average.network)
        if weights:
            self._whole.load_state_dict(weights, assign=True)
            self._whole.float()
        return self._whole

    def state(self) -> dict[str, Any]:
        """Everything, on the CPU; all processes must call it."""
        weights, moments = self.engine.state_of(self.network, self.optimizer)
        average, _ = self.engine.state_of(self.average.network)
        return {
            "network": weights,
            "optimizer": moments,
            "average": average,
            "averaged": self.average.updates,
            "updates": self.updates,
            "rate": self.rate,
            "at_once": self.at_once,
            "scaler": self.scaler.state_dict(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Undo `state`; all processes must call it."""
        self.engine.set_state(self.network, state["network"], self.optimizer, state["optimizer"])
        self.engine.set_state(self.average.network, state["average"])
        self.average.updates, self.updates, self.rate = state["averaged"], state["updates"], state["rate"]
        self.at_once = state["at_once"]
        if state["scaler"]:  # there is none of another precision
            self.scaler.load_state_dict(state["scaler"])

    def _to_device(self, batch: Batch) -> tuple[Tensor, Any]:
        dtype = next(self.average.network.parameters()).dtype
        images = batch.images.to(self.engine.device, dtype, non_blocking=True)
        return images, _moved(batch.targets, self.engine.device, dtype)


def _moved(targets: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Tensors in lists, tuples and dictionaries, on the device; those with a point in the network's type."""
    if isinstance(targets, Tensor):
        return targets.to(device, dtype if targets.is_floating_point() else None, non_blocking=True)
    if isinstance(targets, dict):
        return {name: _moved(value, device, dtype) for name, value in targets.items()}
    if isinstance(targets, list | tuple):
        return type(targets)(_moved(value, device, dtype) for value in targets)
    return targets


def _cut(targets: Any, part: slice) -> Any:
    """The targets of some images of a batch, in whatever a task keeps them."""
    if isinstance(targets, dict):
        return {name: _cut(value, part) for name, value in targets.items()}
    if isinstance(targets, tuple):
        return tuple(_cut(value, part) for value in targets)
    return targets[part]


class _Objective(nn.Module):
    """What an engine wraps: the losses, computed on faster layers where there are some."""

    def __init__(self, plain: nn.Module, fast: nn.Module | None) -> None:
        super().__init__()
        self.plain = plain
        self._fast = (fast,)  # not a submodule: its tensors are those of the other

    def train(self, mode: bool = True) -> "_Objective":
        (fast,) = self._fast
        if fast is not None:
            fast.train(mode)
        return super().train(mode)

    def forward(self, images: Tensor, targets: Any) -> dict[str, Tensor]:
        (fast,) = self._fast
        losses: dict[str, Tensor] = (self.plain if fast is None else fast)(images, targets)
        return losses
