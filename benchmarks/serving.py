"""The server under load, beside one process that does the same without one.

One JPEG of 500 x 375 a request. The loop decodes, resizes and computes the same bytes with the same engine in one
process, with no server; server and loop take turns, in the opposite order every second round, while the other waits.
The server's time is from the first request to the last answer. "Share" is the server's throughput over the loop's,
round by round. Both get the same cores and threads, see below. "CPU" is the same by CPU seconds of the two processes an
image, which others on the machine do not lengthen as they do time: where they take much, the wall clock says little,
and favours whoever has more threads that want to run. What sends the requests is not counted, and its own CPU is given.

    python benchmarks/serving.py --out benchmarks/results/serving_HARDWARE_YYYY-MM
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from note import table, write_note
from serving_processes import HERE, MAX_BATCH, QUEUE, Cores, Loop, Server, busy_seconds, make_files, serving

from maxvit.benchmark.record import paired_ratio
from maxvit.storage import write_text


def percentiles(seconds: list[float]) -> list[str]:
    """Milliseconds at 50, 90 and 99 %."""
    q = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else seconds * 99
    return [f"{1000 * q[i]:.0f}" for i in (49, 89, 98)]


def batches(before: dict[str, float], after: dict[str, float]) -> str:
    """How many batches of which size were computed between two readings."""
    found, below = [], 0.0
    for name in after:
        if name.startswith("maxvit_batch_images_bucket"):
            here = after[name] - before.get(name, 0)
            if here > below:
                found.append((name.split('le="')[1].split('"')[0].removesuffix(".0"), here - below))
            below = here
    return ", ".join(f"up to {size}: {number:.0f}" for size, number in found)


@dataclass
class Pairs:
    """Turns of server and loop over the same number of images."""

    server_s: list[float] = field(default_factory=list)
    loop_s: list[float] = field(default_factory=list)
    server_cpu_s: list[float] = field(default_factory=list)
    loop_cpu_s: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)  # cores that other processes kept busy, turn by turn
    latencies_s: list[float] = field(default_factory=list)
    sender_cpu_s: float = 0.0


def compare(server: Server, alone: Loop, clients: int, rounds: int, count: int) -> Pairs:
    """Let them take turns."""
    batch, found = min(clients, MAX_BATCH), Pairs()
    server.load("--clients", str(clients), "--requests", str(2 * clients))
    alone(batch, batch)
    for turn in range(rounds):
        for who in ("loop", "server") if turn % 2 else ("server", "loop"):
            busy, begin = busy_seconds(), time.perf_counter()
            if who == "loop":
                wall, cpu = alone(batch, count)
                found.loop_s.append(wall)
                found.loop_cpu_s.append(cpu)
                ours = cpu
            else:
                before = server.metrics()["process_cpu_seconds_total"]
                done = server.load("--clients", str(clients), "--requests", str(count))
                assert done["statuses"] == {"200": count}, done["statuses"]
                found.server_s.append(done["seconds"])
                found.server_cpu_s.append(server.metrics()["process_cpu_seconds_total"] - before)
                found.latencies_s += done["latencies_s"]["200"]
                found.sender_cpu_s += done["cpu_seconds"]
                ours = found.server_cpu_s[-1] + done["cpu_seconds"]
            found.others.append((busy_seconds() - busy - ours) / (time.perf_counter() - begin))
    return found


def share(ours: list[float], theirs: list[float]) -> str:
    """The server's throughput over the loop's."""
    ratio = paired_ratio(ours, theirs)
    return f"{ratio.median:.1%} ({ratio.p20:.1%} to {ratio.p80:.1%})"


def throughput(server: Server, alone: Loop, rounds: int, count: int) -> tuple[list[str], dict[str, Any]]:
    """Beside the loop, for 1, 8 and 64 clients."""
    rows, record = [], {}
    for clients in (1, 8, 64):
        before = server.metrics()
        found = compare(server, alone, clients, rounds, count)
        rows.append(
            [
                str(clients),
                f"{count / median(found.server_s):.2f}",
                f"{count / median(found.loop_s):.2f}",
                share(found.server_s, found.loop_s),
                share(found.server_cpu_s, found.loop_cpu_s),
                *percentiles(found.latencies_s),
                batches(before, server.metrics()),
                f"{found.sender_cpu_s / sum(found.server_s):.1%}",
                f"{median(found.others):.1f}",
            ]
        )
        print(rows[-1], file=sys.stderr, flush=True)
        record[str(clients)] = asdict(found)
    head = [
        "clients",
        "server, images/s",
        "loop",
        "share (20th to 80th percentile)",
        "CPU",
        "ms at 50 %",
        "90 %",
        "99 %",
    ]
    return table([*head, "batches", "sender, of a core", "others, cores"], rows), record


def overhead(server: Server, alone: Loop, rounds: int, count: int) -> tuple[list[str], dict[str, Any]]:
    """What a request costs beside the loop's image, one client, the smallest network."""
    found = compare(server, alone, 1, rounds, count)
    lines = []
    for what, ours, theirs in (
        ("time", found.server_s, found.loop_s),
        ("CPU", found.server_cpu_s, found.loop_cpu_s),
    ):
        extra = sorted(1000 * (a - b) / count for a, b in zip(ours, theirs, strict=True))
        lines.append(
            f"A request takes {median(extra):.2f} ms of {what} more than the loop's {1000 * median(theirs) / count:.2f}"
            f" ({extra[0]:.2f} to {extra[-1]:.2f} in {rounds} rounds of {count})."
        )
    lines.append(f"Others kept {median(found.others):.1f} cores busy meanwhile.")
    return lines, asdict(found)


def soak(server: Server, minutes: float) -> tuple[list[str], dict[str, Any]]:
    """Memory while the server is busy all the time."""
    command = [sys.executable, str(HERE / "serving_load.py"), str(server.port), str(server.image)]
    command += ["--clients", "16", "--seconds", str(60 * minutes)]
    memory = []
    with tempfile.TemporaryFile("w+") as answers:  # a pipe that nobody reads would fill, and stop the sender
        sender = subprocess.Popen(command, stdout=answers, text=True)
        begin = time.perf_counter()
        while sender.poll() is None:
            memory.append((time.perf_counter() - begin, server.metrics()["process_resident_memory_bytes"] / 2**20))
            time.sleep(min(5.0, minutes))
        answers.seek(0)
        done = json.load(answers)
    sizes = [size for _, size in memory]
    third = max(1, len(sizes) // 3)
    first, last = median(sizes[third : 2 * third] or sizes), median(sizes[-third:])
    lines = [
        f"{minutes:g} minutes, 16 clients: {sum(done['statuses'].values())} requests, statuses {done['statuses']},"
        f" {done['statuses']['200'] / done['seconds']:.2f} images/s. Resident memory {sizes[0]:.0f} MiB at the"
        f" beginning, {first:.0f} in the second third, {last:.0f} in the last, at most {max(sizes):.0f}.",
        f"Latency at 50, 90 and 99 %: {', '.join(percentiles(done['latencies_s']['200']))} ms.",
    ]
    return lines, {"memory_mib": memory, "statuses": done["statuses"]}


def overload(server: Server, capacity: float, seconds: float) -> tuple[list[str], dict[str, Any]]:
    """Twice as many requests as can be answered."""
    done = server.load("--rate", str(2 * capacity), "--seconds", str(seconds))
    good, shed = done["latencies_s"].get("200", []), done["latencies_s"].get("503", [])
    answered = len(good) / done["seconds"]
    lines = [
        f"{2 * capacity:.1f} requests a second for {seconds:g} s, answered or not: statuses {done['statuses']};"
        f" {answered:.2f} images/s answered, so {2 * capacity / answered:.1f} times as many came (64 clients had got"
        f" {capacity:.2f}, with what others left of the cores then).",
        f"Latency of the answered at 50, 90 and 99 %: {', '.join(percentiles(good))} ms, at most"
        f" {1000 * max(good):.0f}; of the refused {', '.join(percentiles(shed)) if shed else 'none'} ms."
        f" The sender took {done['cpu_seconds']:.1f} CPU seconds.",
    ]
    return lines, {"statuses": done["statuses"], "answered_s": good, "refused_s": shed}


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write OUT.md and OUT.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, required=True, help="where to write, without the ending")
    parser.add_argument("--model", default="maxvit_tiny")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="for the network, and cores for all")
    parser.add_argument("--rounds", type=int, default=8, help="pairs of server and loop, two at least")
    parser.add_argument("--images", type=int, default=96, help="in a round")
    parser.add_argument("--minutes", type=float, default=10, help="of the soak")
    parser.add_argument("--overload", type=float, default=60, help="seconds at twice the capacity")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)  # for the record: this process computes nothing
    load, cores = os.getloadavg()[0], Cores(options.threads)
    body, record = [], {}
    with tempfile.TemporaryDirectory() as folder:
        image = make_files(Path(folder))
        checkpoint, micro = (Path(folder) / f"{name}.safetensors" for name in (options.model, "maxvit_micro"))
        alone = Loop(micro, image, cores)
        with serving(micro, image, cores) as server:
            lines, record["overhead"] = overhead(server, alone, options.rounds, 2 * options.images)
            body += ["## Overhead of a request, `maxvit_micro`, one client", "", *lines, ""]
            print(*lines, file=sys.stderr, flush=True)
        alone.close()
        alone = Loop(checkpoint, image, cores)
        with serving(checkpoint, image, cores) as server:
            lines, record["throughput"] = throughput(server, alone, options.rounds, options.images)
            body += [f"## Throughput, `{options.model}`", "", *lines, ""]
            alone.close()
            capacity = options.images / median(record["throughput"]["64"]["server_s"])
            lines, record["overload"] = overload(server, capacity, options.overload)
            body += ["## Twice the capacity", "", *lines, ""]
            print(*lines, file=sys.stderr, flush=True)
            lines, record["soak"] = soak(server, options.minutes)
            body += ["## Soak", "", *lines, ""]
            print(*lines, file=sys.stderr, flush=True)
    facts = {
        "server": f"at most {MAX_BATCH} images in a batch, {QUEUE} in hand, 5 ms of waiting for others, 2 decoders",
        "cores": f"{cores.threads} for the whole server, {cores.threads} for the loop; as many threads compute",
        "load": f"{load:.1f} processes wanted a core before, {os.getloadavg()[0]:.1f} after",
    }
    words = sys.argv[1:] if arguments is None else arguments
    packages = ["fastapi", "uvicorn", "pillow"]
    write_note(options.out, __doc__ or "", body, ["benchmarks/serving.py", *words], packages, facts)
    write_text(options.out.with_name(f"{options.out.name}.json"), json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
