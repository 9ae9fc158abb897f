"""Decode mutated images, each within 5 s, all within 1 GB beyond what Python has: `mutate_images.py SEED NUMBER`.

It ends with a traceback at the first image that gives neither pixels nor a sentence; the signal that ends it where one
takes too long is SIGALRM, and standard output says which image it was.
"""

import resource
import signal
import sys
from pathlib import Path
from random import Random

from odd_images import READ, REFUSED

from maxvit.data.formats import quiet_pillow
from maxvit.data.images import decode, read_size
from maxvit.errors import MaxViTError


def mutated(files: list[bytes], draw: Random) -> bytes:
    """One file with a few bytes changed, most of them in its header; or cut, or with a piece of itself or another."""
    data = bytearray(draw.choice(files))
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        if not data:
            break
        at = draw.randrange(min(len(data), draw.choice((64, 400, len(data)))))
        change = draw.randrange(12)
        if change < 8:
            data[at] = draw.choice((0, 1, 127, 128, 255, draw.randrange(256)))
        elif change == 8:
            data[at : at + 4] = draw.choice(
                (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\1\0\0", b"\0\0\1\0", b"\x7f\xff\xff\xff")
            )
        elif change == 9:
            del data[at:]
        elif change == 10:
            data[at:at] = data[at : at + draw.randrange(64)]
        else:
            other = draw.choice(files)
            data[at:] = other[draw.randrange(len(other) + 1) :]
    return bytes(data)


def main(seed: int, number: int) -> None:
    """Print how many were read, and how many refused."""
    draw, files = Random(seed), [data for data, _ in [*READ.values(), *REFUSED.values()] if data]
    quiet_pillow()
    decode(files[0])  # all that is loaded once is loaded
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + 2**30, in_use + 2**30))
    read = 0
    for index in range(number):
        data = mutated(files, draw)
        print(index, len(data), flush=True)
        signal.alarm(5)
        try:
            assert decode(data).mode == "RGB"
            assert min(read_size(data)) > 0
            read += 1
        except MaxViTError as error:
            sentence = str(error)
            if not sentence.startswith("the data ") or "\n" in sentence:
                raise
        signal.alarm(0)
    print(f"{read} read, {number - read} refused")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
