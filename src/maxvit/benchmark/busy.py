"""Other processes that want the machine's cores, as on a machine that people use."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PROGRAM = "print(flush=True)\nwhile True: sum(range(100_000))"


@contextmanager
def busy_processes(number: int) -> Iterator[None]:
    """So many processes that count, each on one core, until the block ends."""
    command = [sys.executable, "-S", "-c", PROGRAM]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(number)]
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # it has begun
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()
