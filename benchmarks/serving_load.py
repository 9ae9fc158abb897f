"""Sends one file over and over to a server, and prints what came back as JSON. A process of its own, to be timed alone.

python benchmarks/serving_load.py PORT FILE --clients 8 --requests 100     # each client sends when it has its answer
python benchmarks/serving_load.py PORT FILE --rate 20 --seconds 30         # a request every 50 ms, answered or not
"""

import argparse
import asyncio
import json
import resource
import time
from collections import Counter
from pathlib import Path

GIVE_UP_S = 120.0
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Load:
    """Connections to a server that are kept, and what was answered on them."""

    def __init__(self, port: int, data: bytes, path: str) -> None:
        self.port, self.free = port, list[Connection]()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}"
        self.request = f"{head}\r\n\r\n".encode() + data
        self.answers: list[tuple[float, int, float]] = []  # (when, status, seconds); status 0: none

    async def send(self) -> None:
        """One request."""
        begin = time.perf_counter()
        try:
            async with asyncio.timeout(GIVE_UP_S):
                reader, writer = self.free.pop() if self.free else await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(self.request)
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
                await reader.readexactly(int(fields[b"content-length"]))
            self.free.append((reader, writer))
            status = int(head.split(b" ", 2)[1])
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            status = 0
        end = time.perf_counter()
        self.answers.append((end, status, end - begin))

    async def closed(self, clients: int, requests: int) -> None:
        """So many requests by so many clients."""
        left = iter(range(requests))

        async def client() -> None:
            for _ in left:
                await self.send()

        await asyncio.gather(*(client() for _ in range(clients)))

    async def lasting(self, clients: int, seconds: float) -> None:
        """The same for a time."""
        end = time.perf_counter() + seconds

        async def client() -> None:
            while time.perf_counter() < end:
                await self.send()

        await asyncio.gather(*(client() for _ in range(clients)))

    async def open(self, rate: float, seconds: float) -> None:
        """Requests at a rate, whatever is answered."""
        begin, sending = time.perf_counter(), []
        for i in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, begin + i / rate - time.perf_counter()))
            sending.append(asyncio.create_task(self.send()))
        await asyncio.gather(*sending)


def main() -> None:
    """Send, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("file", type=Path)
    parser.add_argument("--path", default="/predict")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--requests", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    load = Load(options.port, options.file.read_bytes(), options.path)
    before, begin = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    if options.rate:
        asyncio.run(load.open(options.rate, options.seconds))
    elif options.requests:
        asyncio.run(load.closed(options.clients, options.requests))
    else:
        asyncio.run(load.lasting(options.clients, options.seconds))
    after = resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "seconds": max(when for when, _, _ in load.answers) - begin,
        "statuses": dict(Counter(status for _, status, _ in load.answers)),
        "latencies_s": {
            str(status): [s for _, st, s in load.answers if st == status]
            for status in sorted({status for _, status, _ in load.answers})
        },
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
