"""`maxvit train` that dies at a moment of one's choice: python dying.py MOMENT NUMBER [arguments of maxvit].

MOMENT: "probe" before the NUMBERth batch of the first verdict, "step" in the NUMBERth forward and backward, "data"
while the NUMBERth batch is read, "write" half way through the NUMBERth state, "rename" before a file gets its name for
the NUMBERth time, "time" after NUMBER hundredths of a second of the loop, "never". With NUMBER 0 of "restart", the
first incarnation under torchrun dies in its third update.
"""

import os
import signal
import sys
import threading

import torch

from maxvit.cli import main
from maxvit.data import loading
from maxvit.training import probe
from maxvit.training.learner import Learner
from maxvit.training.loop import Loop

PLACES = {
    "probe": (probe, "predict_and_embed"),
    "step": (Learner, "step"),
    "data": (loading._TrainingImages, "_read"),
    "write": (torch, "save"),
    "rename": (os, "replace"),
    "update": (Learner, "update"),
}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def arm(moment, number):
    """Have the process die there."""
    if moment == "time":
        run = Loop.run

        def timed(self):
            threading.Timer(number / 100, die).start()
            run(self)

        Loop.run = timed
        return
    owner, name = PLACES[moment]
    original, calls = getattr(owner, name), []

    def counted(*args, **kwargs):
        calls.append(name)
        if len(calls) == number:
            if moment == "write":
                _, file = args
                file.write(b"half of a state" * 100_000)
                file.flush()
            if moment == "step":
                threading.Timer(0.01, die).start()
                return original(*args, **kwargs), die()
            die()
        return original(*args, **kwargs)

    setattr(owner, name, counted)


if __name__ == "__main__":
    moment, number, *arguments = sys.argv[1:]
    if moment == "restart":
        if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            arm("update", 3)
    elif moment != "never":
        arm(moment, int(number))
    sys.exit(main(arguments))
