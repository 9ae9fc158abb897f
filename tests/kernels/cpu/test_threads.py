"""As many threads as there are CPUs to run them, by control groups or as somebody says."""

import os
import subprocess
import sys

import pytest

from maxvit.kernels.cpu.threads import cpu_quota

FIRST, SECOND = "4:memory:/m\n1:cpu,cpuacct:/jobs/a\n", "0::/jobs/a\n"
PLACE = "cpu,cpuacct/jobs/a/cpu.cfs"


def quota(tmp_path, membership, files):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "membership").write_text(membership)
    return cpu_quota(tmp_path, tmp_path / "membership")


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        (SECOND, {"jobs/a/cpu.max": "150000 100000\n"}, 1.5),
        (SECOND, {"jobs/a/cpu.max": "max 100000\n"}, None),
        (SECOND, {"jobs/a/cpu.max": "max 100000\n", "jobs/cpu.max": "200000 100000\n"}, 2.0),
        (SECOND, {"cpu.max": "100000 100000\n"}, 1.0),  # in a container, which sees its own group as the root
        (
            FIRST,
            {"cpu,cpuacct/jobs/a/cpu.cfs_quota_us": "50000\n", "cpu,cpuacct/jobs/a/cpu.cfs_period_us": "100000"},
            0.5,
        ),
        (FIRST, {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"}, None),
        (SECOND, {}, None),
    ],
)
def test_the_smallest_quota_on_the_way_to_the_root_counts(tmp_path, membership, files, expected):
    assert quota(tmp_path, membership, files) == expected


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert cpu_quota(tmp_path, tmp_path / "none") is None


PROGRAM = """
import os, sys, torch
from pathlib import Path
from maxvit.kernels.cpu import threads
threads.MOUNT, threads.MEMBERSHIP = Path({place!r}), Path({place!r}) / "membership"
torch.set_num_threads(5)
import maxvit
maxvit.optimize(maxvit.create_model("maxvit_micro").eval(), backend="torch")
print(torch.get_num_threads())
"""


@pytest.mark.parametrize(
    ("chosen", "threads"), [({}, "2"), pytest.param({"OMP_NUM_THREADS": "4"}, "5", marks=pytest.mark.full)]
)
def test_a_container_with_a_share_of_the_cpus_gets_as_many_threads(tmp_path, chosen, threads):
    quota(tmp_path, SECOND, {"jobs/a/cpu.max": "150000 100000\n"})
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | chosen
    command = [sys.executable, "-c", PROGRAM.format(place=str(tmp_path))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [threads]
