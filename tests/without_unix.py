"""`maxvit` as on Windows: python without_unix.py START_METHOD [arguments of maxvit] [-- arguments of the next call] ...

What only Unix has is taken away before anything of ours is imported, also in the worker processes that this starts:
they run this file again. Ends with the first exit code that is not 0.
"""

import asyncio  # noqa: F401, before its modules for Unix lack what is taken away
import importlib
import multiprocessing
import os
import pkgutil
import signal
import sys

import huggingface_hub.utils  # noqa: F401, it imports by sys.platform

for module in ("fcntl", "grp", "pwd", "resource", "syslog", "termios", "tty"):
    sys.modules[module] = None
for name in (
    "fork",
    "forkpty",
    "getpgid",
    "getuid",
    "killpg",
    "mkfifo",
    "pread",
    "sched_getaffinity",
    "setsid",
    "sysconf",
):
    delattr(os, name)
for name in ("SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"):
    delattr(signal, name)


def main() -> int:
    import maxvit
    from maxvit.cli import main

    for found in pkgutil.walk_packages(maxvit.__path__, "maxvit."):
        if found.name != "maxvit.__main__" and not found.name.startswith("maxvit.kernels.gpu"):  # Triton's are Linux's
            importlib.import_module(found.name)
    method, *rest = sys.argv[1:]
    multiprocessing.set_start_method(method)
    calls: list[list[str]] = [[]]
    for word in rest:
        if word == "--":
            calls.append([])
        else:
            calls[-1].append(word)
    return next(filter(None, map(main, calls)), 0)


if __name__ == "__main__":
    sys.exit(main())
