"""What the benchmarks read from compiled kernels, on a few lines of machine code written by hand."""

from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="machine code is read with a tool that comes with Triton")

LISTING = """
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/              @!P0 LDG.E.128 R4, desc[UR4][R2.64] ;
.L_x_1:
        /*0020*/                   FFMA R4, R4, R5, R6 ;
.L_x_2:
        /*0030*/                   FMUL R7, R4, R4 ;
        /*0040*/                   MUFU.TANH R8, R7 ;
        /*0050*/               @P1 BRA `(.L_x_2) ;
        /*0060*/                   STS.64 [R9], R4 ;
        /*0070*/               @P2 BRA `(.L_x_1) ;
        /*0080*/                   CALL.REL.NOINC `(division) ;
        /*0090*/                   EXIT ;
.L_x_3:
        /*00a0*/                   BRA `(.L_x_3);
"""


@pytest.fixture
def code(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return import_module("machine_code").parse(LISTING)


def test_loops_are_found_with_how_deep_they_are(code):
    assert [(loop.first, loop.last, loop.depth) for loop in code.loops] == [(0x20, 0x70, 0), (0x30, 0x50, 1)]


def test_instructions_run_as_often_as_the_loops_they_are_in(code):
    run = {one.address: times for one, times in code.run((3,), (5,)).items()}
    assert [run[a] for a in (0x00, 0x10, 0x20, 0x30, 0x50, 0x60, 0x80)] == [1, 1, 3, 15, 15, 3, 1]


def test_instructions_are_counted_by_kind(code):
    assert code.number("CALL") == 1
    assert code.number("FFMA", "FMUL") == 2
    assert code.floats_per_gelu() == 2  # FMUL and the tanh itself, in the innermost loop
    assert [one.wavefronts for one in code.instructions[:2]] == [0, 4]
    assert next(one for one in code.instructions if one.kind == "STS").wavefronts == 2
