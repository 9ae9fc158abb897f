"""What a person sees while a run goes on: one bar; in a pipe, a line an epoch."""

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class ProgressBar:
    """Epoch, scores, learning rate, images/s, share of time waiting for data, GPU memory, time left.

    Args:
        epochs: In all.
        updates: Updates of one epoch.
        show: False draws and prints nothing.
    """

    def __init__(self, epochs: int, updates: int, show: bool) -> None:
        self.epochs, self.updates, self.show = epochs, updates, show
        self.console = Console(stderr=True, markup=False, emoji=False)  # names of files hold brackets and colons
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[scores]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not (show and self.console.is_terminal),
            speed_estimate_period=600,
        )
        self.task = self.bar.add_task("", total=epochs * updates, epoch=f"0/{epochs}", scores="")
        self.scores: dict[str, str] = {}

    def start(self, epoch: int, update: int) -> None:
        """Draw, from this position on."""
        self.bar.reset(self.task, completed=epoch * self.updates + update)
        self.bar.start()

    def update(self, epoch: int, update: int, scores: dict[str, float]) -> None:
        """After an update: the finished number of them in this epoch, from 0."""
        self.scores |= {name: _text(name, scores[name], 1) for name in ("loss", "accuracy") if name in scores}
        self.scores |= {
            "lr": f"{scores['learning_rate']:.1e}",
            "images/s": f"{scores['images_per_second']:.0f}",
            "waiting": f"{scores['waiting']:.0%}",
        }
        if torch.cuda.is_available():
            self.scores["GPU"] = f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
        done = epoch * self.updates + update
        self.bar.update(self.task, completed=done, epoch=f"{epoch + 1}/{self.epochs}", scores=self._text())

    def end_epoch(self, epoch: int, name: str, figure: float) -> None:
        """After the validation of an epoch, from 0, with the figure that chooses the best."""
        self.scores[f"val {name}"] = _text(name, figure, 2)
        self.bar.update(self.task, scores=self._text())
        if self.show and not self.console.is_terminal:
            self.console.print(f"epoch {epoch + 1}/{self.epochs}  {self._text()}", highlight=False, soft_wrap=True)

    def end_probe(self, name: str, figure: float) -> None:
        """After the validation of what training starts from."""
        self.say(f"first verdict, before any training: val {name} {_text(name, figure, 2)}")

    def say(self, sentence: str) -> None:
        """A line above the bar."""
        if self.show:
            self.console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """Leave the bar as it is."""
        self.bar.stop()

    def _text(self) -> str:
        return "  ".join(f"{name} {value}" for name, value in self.scores.items())


def _text(name: str, value: float, digits: int) -> str:
    return f"{value:.{digits}%}" if name == "accuracy" else f"{value:.3f}"
