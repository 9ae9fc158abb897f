"""Networks in the browser: the size of the page's folder, its first load, and the time of a picture.

Each network (random weights) is exported as a page, which is opened as a file in headless Chromium with an empty
profile, three times: a load is from the page's first line to a network that is ready. Then two photographs of
640 x 427 pixels are asked in turn; a time is what the page says of itself, with one thread, the first of each left out.
The difference is the largest of the five best probabilities that the page shows, from those of `Predictor`.

    python benchmarks/web.py --out benchmarks/results/web_HARDWARE_YYYY-MM
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

import torch
from note import table, write_note
from PIL import Image

import maxvit
from maxvit.data.builtin import photographs
from maxvit.export.web.runtime import PACKAGE, VERSION

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from chromium import Page, browse

JOBS = ["maxvit_micro:fp32", "maxvit_micro:fp16", "maxvit_tiny:fp32", "maxvit_tiny:fp16"]
NUMBER = "document.getElementById('answer').dataset.number"


def ask(page: Page, picture: Path) -> tuple[dict[str, float], list[float]]:
    """What one picture takes, in milliseconds, and the probabilities that are shown."""
    before = page.run(f"{NUMBER} ?? ''")
    page.choose("#file", picture)
    page.wait(f"({NUMBER} ?? '') !== '{before}'")
    said = page.run("({...document.getElementById('answer').dataset})")
    shown = page.run("[...document.querySelectorAll('#answer li')].map((li) => +li.dataset.value)")
    return {what: float(said[what]) for what in ("prepare", "compute")}, shown


def one(job: str, folder: Path, rounds: int) -> list[str]:
    """A row of the table."""
    name, precision = job.split(":")
    torch.manual_seed(0)
    model = maxvit.create_model(name).eval()
    pictures = []
    for i, photograph in enumerate(photographs()):
        pictures.append(folder / f"{i}.png")
        Image.fromarray(photograph).save(pictures[-1])
    options = maxvit.ExportOptions(precision=precision)
    page_folder = folder / job.replace(":", "_")
    maxvit.export_web(model, page_folder, options, pictures, tell=lambda said: print(said, file=sys.stderr))
    megabytes = sum(file.stat().st_size for file in page_folder.iterdir()) / 1e6
    predictor, loads, times, difference = maxvit.Predictor(model), [], [], 0.0
    expected = [predictor([picture])[0].value.topk(5).values.tolist() for picture in pictures]
    for _ in range(3):
        with browse() as page:
            page.open((page_folder / "index.html").as_uri())
            loads.append(float(page.wait("document.documentElement.dataset.ready")))
            for at in range(rounds * len(pictures)):
                spent, shown = ask(page, pictures[at % len(pictures)])
                wanted = expected[at % len(pictures)]
                difference = max(difference, *(abs(s - w) for s, w in zip(shown, wanted, strict=True)))
                times += [spent] if at >= len(pictures) else []
            assert page.errors == [], page.errors
    medians = [statistics.median(spent[what] for spent in times) for what in ("prepare", "compute")]
    row = [name, precision, f"{megabytes:.1f}", f"{statistics.median(loads) / 1e3:.1f}"]
    return [*row, *(f"{median:.0f}" for median in medians), f"{difference:.1e}"]


def main() -> None:
    """Measure, and write OUT.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, required=True, help="where to write, without the ending")
    parser.add_argument("--jobs", nargs="+", default=JOBS, help="NETWORK:PRECISION each")
    parser.add_argument("--rounds", type=int, default=4, help="times that each picture is asked in a browser")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder, browse() as page:
        browser = page.run("navigator.userAgent").rpartition("HeadlessChrome/")[2].partition(" ")[0]
        for job in options.jobs:
            rows.append(one(job, Path(folder), options.rounds))
            print(rows[-1], file=sys.stderr, flush=True)
    head = ["network", "precision", "folder, MB", "first load, s", "prepare, ms", "compute, ms", "largest difference"]
    load = f"{os.getloadavg()[2]:.1f} processes at once on average, in the last quarter of an hour"
    facts = {"browser": f"Chromium {browser}, {PACKAGE} {VERSION}", "load": load}
    command = ["benchmarks/web.py", *sys.argv[1:]]
    print(write_note(options.out, __doc__ or "", table(head, rows), command, ["onnx"], facts).read_text())


if __name__ == "__main__":
    main()
