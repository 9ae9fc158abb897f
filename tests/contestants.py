"""Contenders that go wrong, each in its own way. Worker processes import them by name."""

import os

import torch

from maxvit.benchmark.job import Contender
from maxvit.benchmark.ours import plain


def _wrong(job):
    model = plain(job)
    torch.nn.init.zeros_(model.stages[3][0].grid_attention.ffn.project.weight)
    return model


def _dies_in_its_second_round(job):
    """One run on opening, one to be compared, two to warm up, one in the first round."""
    model, runs = plain(job), []

    def count(module, inputs):
        runs.append(inputs)
        if len(runs) == 6:
            os._exit(7)

    model.register_forward_pre_hook(count)
    return model


def contender(name, opens, **options):
    return Contender(name=name, label=name, open=opens, weights=("official",), **options)


WRONG = contender("wrong", _wrong)
COARSE = contender("coarse", _wrong, exact=False)
DIES = contender("dies", _dies_in_its_second_round)
MISSING = contender("missing", plain, imports=("torch", "a_package_that_nobody_has.inside"))
TRAINS = contender("trains", plain, what=("training",))
