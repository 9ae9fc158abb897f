"""`maxvit` that dies at a moment of one's choice: python dying_prediction.py MOMENT NUMBER [arguments of maxvit].

MOMENT: "image" while the NUMBERth image is read, "write" half way through the NUMBERth part, "rename" before the
NUMBERth time that a file gets its name, "tidy" with the file in place and half of its parts removed.
"""

import os
import shutil
import signal
import sys

import pyarrow.parquet

from maxvit.cli import main
from maxvit.tasks import classification

PLACES = {
    "image": (classification, "preprocess"),
    "write": (pyarrow.parquet, "write_table"),
    "rename": (os, "replace"),
    "tidy": (shutil, "rmtree"),
}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def arm(moment, number):
    """Have the process die there."""
    owner, name = PLACES[moment]
    original, calls = getattr(owner, name), []

    def counted(*args, **kwargs):
        calls.append(name)
        if len(calls) == number:
            if moment == "write":
                args[1].write_bytes(b"half of a part" * 1000)
            if moment == "tidy":
                for path in sorted(p for p in args[0].iterdir() if p.is_file())[::2]:
                    path.unlink()
            die()
        return original(*args, **kwargs)

    setattr(owner, name, counted)


if __name__ == "__main__":
    moment, number, *arguments = sys.argv[1:]
    arm(moment, int(number))
    sys.exit(main(arguments))
