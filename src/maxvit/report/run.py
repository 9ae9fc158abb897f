"""The report of a run: evaluate its best checkpoint, look at mistakes and attention, write the page."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

import maxvit
from maxvit import storage
from maxvit.data.bands import say_shown
from maxvit.data.builtin import DIGITS
from maxvit.data.dataset import LabelledImages, describe
from maxvit.data.images import decode_shown
from maxvit.errors import MaxViTError
from maxvit.explain.attention_maps import AttentionMap, attention_maps
from maxvit.explain.draw import picture_of
from maxvit.explain.rollout import rollout
from maxvit.inference.device import choose_device
from maxvit.inference.engines import say
from maxvit.inference.evaluate import EvaluationResult, Sample, evaluate
from maxvit.report.page import Picture, Report, ShownSample, main_metric, say_metric, write_report
from maxvit.report.suspicious_labels import suspicious_labels
from maxvit.tasks import load, make_task
from maxvit.tasks.network import Network
from maxvit.training.files import best_epoch, monitor, read_metrics, read_recipe
from maxvit.training.run import say_changes
from maxvit.training.setup import load_data

SHOWN = 6  # samples


def report_run(run: Path, show_progress: bool = False, device: str = "auto") -> tuple[Path, Report]:
    """Write RUN/report.html.

    Args:
        run: A run folder.
        show_progress: Draw a bar on standard error.
        device: As for `choose_device`.

    Returns:
        The page and what it shows: the test images, where there are none the validation images.

    Raises:
        MaxViTError: If the folder holds no run with a finished epoch, or its data is gone.
    """
    recipe, history = read_recipe(run), read_metrics(run)
    if not history:
        raise MaxViTError(
            f"{run} has no finished epoch yet, so there is nothing to report: go on with maxvit train --resume {run}"
        )
    task = make_task(recipe.task)
    data, network = load_data(recipe), load(run / storage.BEST).to(choose_device(device))
    if show_progress:
        say(describe(data))
    if data.test is None and (said := say_changes(run, data)):
        raise MaxViTError(f"{said}: else images of training would count as held out")
    images, part = (data.val, "validation") if data.test is None else (data.test, "test")
    at_once = recipe.data.device_batch_size or min(task.batch_size, recipe.data.batch_size)
    result = evaluate(network, images, at_once, recipe.data.workers, show_progress, keep=SHOWN)
    panels = result.task.panels(result.metric, [sample.prediction for sample in result.samples])
    best, done, chosen_by = best_epoch(recipe, history), int(history[-1]["epoch"]), monitor(recipe, history)
    facts = {
        "task": task.name,
        "model": recipe.model.name,
        "parameters": f"{sum(p.numel() for p in network.parameters()):,}",
        "data": network.provenance["data"] if recipe.data.path == DIGITS else Path(str(recipe.data.path)).name,
        "images": f"{len(data.train):,} train, {len(data.val):,} validation, {len(data.test or ()):,} test",
        "image size": " x ".join(str(side) for side in network.preprocessing.image_size),
        **({"pictures": f"show {shown}"} if (shown := say_shown(network.preprocessing)) else {}),
        "epochs": f"{done} of {recipe.optimization.epochs}",
        "seed": str(recipe.seed),
    }
    if done:
        facts["epochs"] += f", best {best} by {chosen_by.replace('_', ' ')}"
        facts["training time"] = _duration(sum(row["seconds"] for row in history if row["epoch"]))
        facts["speed"] = _speed(history)
    if result.skipped:
        facts["unreadable"] = f"{len(result.skipped)} images left out"
    if "devices" in network.provenance:
        facts["devices"] = str(network.provenance["devices"])
    intervals = {name: ends for name, ends in result.intervals.items() if not np.isnan(ends).any()}
    value, interval = say_metric(result, main_metric(result, chosen_by), intervals)
    devices = f" on {facts['devices']}" if "devices" in facts else ""
    trained = f"epoch {best} of {done}, batch {recipe.data.batch_size}" if done else "the last layer alone"
    took = f"averaged weights, {facts['training time']}{devices}, " if done else ""
    chose = ": they chose the best epoch" if done and part != "test" else ""
    rows = range(len(result.samples)) if panels.samples is None else panels.samples
    planned = ["--set", "optimization.minutes=null"] if recipe.optimization.minutes else []  # it is so already
    worst = [mistake.row for shown in (panels.mistakes, panels.refused) if shown for mistake in shown.worst]
    report = Report(
        title=f"{recipe.model.name} on {facts['data']}",
        facts=facts,
        history=history,
        monitor=chosen_by,
        best=best,
        result=result,
        intervals=intervals,
        panels=panels,
        baseline=task.baseline(data.train, images, network.preprocessing),
        evaluated_on=f"{result.images:,} held-out images ({part}{chose})",
        samples=[_sample(network, result, images, result.samples[row]) for row in _spread(rows)],
        pictures={row: _picture(network, images, result.samples[row]) for row in worst},
        suspicious=suspicious_labels(run, network, data.train, str(recipe.data.path)),
        config=recipe.to_yaml(),
        command=shlex.join(
            ["maxvit", "train", "--recipe", str(run / "config.yaml"), "--out", f"{run}-again", *planned]
        ),
        summary=(
            f"{facts['model']} at {facts['image size']}, {value}{interval and f' ({interval})'} on {result.images:,} "
            f"{part} images of {facts['data']}: {trained}, seed {recipe.seed}, {took}maxvit {maxvit.__version__}, "
            f"PyTorch {torch.__version__}"
        ),
    )
    path = run / "report.html"
    write_report(path, report)
    return path, report


def _spread(rows: Sequence[int]) -> list[int]:
    """As many as are shown, evenly over all."""
    return [rows[i] for i in np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).round().astype(int)]


def _picture(network: Network, images: LabelledImages, sample: Sample) -> Picture:
    return Picture(images.names[sample.index], decode_shown(images.sources[sample.index], network.preprocessing))


def _sample(network: Network, result: EvaluationResult, images: LabelledImages, sample: Sample) -> ShownSample:
    task, names, picture = result.task, result.class_names, _picture(network, images, sample)
    words = {"prediction": task.summary(sample.prediction, names)}
    drawn = task.sample_pictures(picture.image, sample.prediction, sample.target, names)
    if not drawn:
        words["target"] = task.target_summary(sample.target, names)
    pictures = {"image": picture.image, **drawn}
    prepared = task.prepare(network.preprocessing, images.sources[sample.index])
    maps = attention_maps(network, prepared)
    if task.image_classes(names, network.config):
        composed = rollout(network, prepared, int(sample.prediction.argmax()))
        maps += [AttentionMap(stage, "rollout", values) for stage, values in enumerate(composed, 1) if values.size > 1]
    return ShownSample(picture.name, pictures, words, picture_of(network.preprocessing, prepared), maps)


def _speed(history: Sequence[Mapping[str, float]]) -> str:
    """Mean over the epochs."""
    speeds = [row["images_per_second"] for row in history if row["epoch"]]
    return f"{sum(speeds) / len(speeds):.0f} images/s"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
