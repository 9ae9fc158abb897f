"""What products in 16 and in 8 bits can gain: how many of their instructions a core begins in a second.

An instruction for 16 bits does twice the multiply-adds of one for float32, one for 8 bits four times as many. The loop
is that of the kernels' products, with numbers that stay in the cache. It needs AVX-512 with BF16, FP16 and VNNI.

    python benchmarks/instruction_rates.py --out benchmarks/results/instruction_rates_HARDWARE_YYYY-MM
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from note import table, write_note

SOURCE = Path(__file__).with_suffix(".cpp")
KINDS = {  # multiply-adds of an instruction
    "float32, vfmadd": 16,
    "bfloat16, vdpbf16ps": 32,
    "float16, vfmaddph": 32,
    "8 bits, vpdpbusd": 64,
}
RUNS = 9


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "rates"
        subprocess.run(["c++", "-O3", "-march=native", str(SOURCE), "-o", str(program)], check=True)
        printed = [subprocess.run([program], check=True, capture_output=True, text=True).stdout for _ in range(RUNS)]
    rates = [median(float(line.split()[i]) for line in printed) for i in range(len(KINDS))]
    work = [rate * each for rate, each in zip(rates, KINDS.values(), strict=True)]
    rows = [
        [name, f"{rate:.2f}", f"{done:.0f}", f"{done / work[0]:.2f}"]
        for name, rate, done in zip(KINDS, rates, work, strict=True)
    ]
    head = ["", "instructions, G/s", "multiply-adds, G/s", "times float32"]
    words = sys.argv[1:] if arguments is None else arguments
    write_note(options.out, __doc__ or "", table(head, rows), ["benchmarks/instruction_rates.py", *words], [])


if __name__ == "__main__":
    main()
