"""Save some of the held-out digits as image files, which is what `maxvit predict` reads.

    python examples/save_digits.py FOLDER

One of each: FOLDER/a_0.png to FOLDER/a_9.png.
"""

import sys
from pathlib import Path

from PIL import Image

from maxvit.data.builtin import load_digits

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
test = load_digits().test
assert test is not None
for digit in range(10):
    pixels = test.sources[list(test.labels).index(digit)]
    Image.fromarray(pixels).save(folder / f"a_{digit}.png")
