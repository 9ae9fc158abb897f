"""What writing answers in parts costs beside the same loop that throws them away.

    python benchmarks/batch_prediction.py --images 20000 --rounds 3

Generated PNG files of 32 x 32 pixels and `maxvit_micro`: the less work an image is, the more writing weighs. One
process, contenders in turn, each with loading of the checkpoint and search of the images; seconds by the clock and of
the CPU.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

import maxvit
from maxvit.data.inputs import gather
from maxvit.data.loading import part_batches_of
from maxvit.inference.bulk.predict import PART
from maxvit.tasks.examples import TaskExamples


def write_pictures(folder: Path, number: int) -> None:
    """Each another."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(number):
        Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{i:06d}.png", compress_level=1)


def loop(checkpoint: Path, folder: Path) -> None:
    """The same work without a file."""
    found = gather([folder])
    predictor = maxvit.Predictor(checkpoint)
    parts = [range(start, min(start + PART, len(found))) for start in range(0, len(found), PART)]
    examples = TaskExamples(predictor.task, found.unlabelled(), predictor.preprocessing, labelled=False)
    for batch in part_batches_of(examples, examples.prepared_sizes, 32, 0, parts):
        predictor.engine(batch.images).softmax(-1).topk(5)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        folder, checkpoint = place / "images", place / "micro.safetensors"
        write_pictures(folder, arguments.images)
        torch.manual_seed(0)
        maxvit.create_model("maxvit_micro", num_classes=10, image_size=32).save(checkpoint)

        def to_file(out: Path, embeddings: bool) -> None:
            maxvit.predict_to_file(checkpoint, folder, out, embeddings=embeddings)

        contenders: dict[str, Callable[[int], None]] = {
            "the loop without a file": lambda _: loop(checkpoint, folder),
            "predict_to_file": lambda i: to_file(place / f"a{i}.parquet", False),
            "predict_to_file, embeddings": lambda i: to_file(place / f"b{i}.parquet", True),
        }
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
        for i in range(arguments.rounds):
            for name, run in contenders.items():
                clock, cpu = time.perf_counter(), time.process_time()
                run(i)
                seconds[name].append((time.perf_counter() - clock, time.process_time() - cpu))
        base = median(cpu for _, cpu in seconds["the loop without a file"])
        print("| | images a second by the clock | by CPU time | CPU time beside the loop |\n|---|---|---|---|")
        for name, taken in seconds.items():
            clock, cpu = median(c for c, _ in taken), median(c for _, c in taken)
            rates = f"{arguments.images / clock:.0f} | {arguments.images / cpu:.0f}"
            print(f"| {name} | {rates} | {cpu / base:.3f} ({', '.join(f'{c:.1f} s' for _, c in taken)}) |")


if __name__ == "__main__":
    main()
