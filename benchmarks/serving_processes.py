"""The processes that `serving.py` lets take turns: the server, a loop that does the same without one, a sender."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import maxvit

HERE = Path(__file__).parent
MAX_BATCH, QUEUE = 8, 64


def make_files(folder: Path) -> Path:
    """Checkpoints with random weights, and a JPEG that is neither flat nor noise alone."""
    for name in ("maxvit_tiny", "maxvit_micro"):
        torch.manual_seed(0)
        maxvit.create_model(name).save(folder / f"{name}.safetensors")
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (25, 33, 3), np.uint8)).resize(
        (500, 375), Image.Resampling.BICUBIC
    )
    grain = random.normal(0, 6, (375, 500, 3))
    Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)).save(folder / "photo.jpg", quality=90)
    return folder / "photo.jpg"


def loop(checkpoint: str, image: str) -> None:
    """For each line BATCH COUNT on standard input: predict so many images, and print the seconds, of wall and CPU."""
    data = Path(image).read_bytes()
    predictor = maxvit.Predictor(checkpoint)
    predictor([data])
    print("ready", flush=True)
    for line in sys.stdin:
        predictor.batch_size, count = map(int, line.split())
        cpu, begin = time.process_time(), time.perf_counter()
        for _ in predictor.stream(data for _ in range(count)):
            pass
        print(time.perf_counter() - begin, time.process_time() - cpu, flush=True)


class Cores:
    """What server and loop may compute on: the first cores, as many as threads."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}

    def pin(self, process: "subprocess.Popen[str]") -> None:
        """Keep a process, which has begun just now, on them."""
        os.sched_setaffinity(process.pid, sorted(os.sched_getaffinity(0))[: self.threads])


def busy_seconds() -> float:
    """CPU seconds that all processes of the machine have taken."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


class Loop:
    """The process that serves nobody."""

    def __init__(self, checkpoint: Path, image: Path, cores: "Cores") -> None:
        command = [sys.executable, __file__, str(checkpoint), str(image)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=cores.environment)
        cores.pin(self.process)
        self._line()

    def __call__(self, batch: int, count: int) -> tuple[float, float]:
        """Seconds of wall and CPU for so many images."""
        assert self.process.stdin
        self.process.stdin.write(f"{batch} {count}\n")
        self.process.stdin.flush()
        wall, cpu = map(float, self._line().split())
        return wall, cpu

    def _line(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the loop ended"
        return line

    def close(self) -> None:
        """End it."""
        self.process.communicate(timeout=30)


@dataclass
class Server:
    """`maxvit serve` in a process of its own."""

    process: "subprocess.Popen[str]"
    port: int
    image: Path

    def load(self, *options: str) -> dict[str, Any]:
        """Send requests."""
        command = [sys.executable, str(HERE / "serving_load.py"), str(self.port), str(self.image), *options]
        done: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        return done

    def metrics(self) -> dict[str, float]:
        """What the server counts, by name and labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, _, value in (x.rpartition(" ") for x in lines if not x.startswith("#"))}


@contextmanager
def serving(checkpoint: Path, image: Path, cores: Cores) -> Iterator[Server]:
    """A server that is ready; it must end with code 0."""
    command = [sys.executable, "-m", "maxvit", "serve", str(checkpoint), "--port", "0"]
    command += ["--max-batch", str(MAX_BATCH), "--queue", str(QUEUE), "--max-images", "1"]
    with tempfile.NamedTemporaryFile("w+") as log:
        process = subprocess.Popen(command, stderr=log, text=True, env=cores.environment)
        cores.pin(process)
        try:
            while "serving on" not in (text := Path(log.name).read_text()):
                assert process.poll() is None, text
                time.sleep(0.2)
            yield Server(process, int(text.split("serving on http://127.0.0.1:")[1].split(",")[0]), image)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()


if __name__ == "__main__":
    loop(*sys.argv[1:])
