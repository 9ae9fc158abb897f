"""A record as tables: for the terminal, and as a Markdown page."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from maxvit.benchmark.compare import Agreement
from maxvit.benchmark.record import Case, Entry, Record, Spread
from maxvit.benchmark.worker import ROUNDS_OF_A_PROCESS

Row = tuple[str, ...]
ENTRIES: Row = ("contender", "ms (20th to 80th percentile)", "images/s", "peak MB", "of the machine's peak")
ENTRIES += ("differs by", "ready in s")
PAIRS: Row = ("ours", "theirs", "times as fast (20th to 80th percentile)")
BUSY: Row = ("contender", "images/s", "of its quiet speed (20th to 80th percentile)")
OPERATORS: Row = ("operator", "calls", "ms", "share")
SHOWN_OPERATORS = 15
LEGEND = f"""Each contender runs in a process of its own, which starts again every {ROUNDS_OF_A_PROCESS} rounds; in a \
round each runs once, in the opposite order every second round. Times are medians over the rounds; "times as fast" is \
theirs over ours, round by round. Contenders in one table have the same random weights and images and agreed \
with our plain network in fp32 before they were timed: "differs by" is the largest difference over the deviation \
(of int8 also how many images get the same class). Where torchvision's network is run, which is another than the \
official one that timm has, so do ours in those rows. Peak memory, on the CPU: the highest resident memory of \
the process while it is timed, less what it held before the network was made, so libraries do not count; on \
CUDA: what PyTorch had allocated. The machine's peak is the best of several products of two fp32 matrices of \
2048 x 2048 (on CUDA 8192, in the benchmark's precision), before and after. A training step is forward, cross \
entropy and backward, without an optimiser, with stochastic depth; the loss and the gradient of the first \
convolution were compared without it. "Ready in" is loading, compiling and the first run, plus exporting."""


def entry_rows(case: Case) -> list[Row]:
    """One row a contender, as `ENTRIES`."""
    return [_entry_row(entry) for entry in case.entries]


def _entry_row(entry: Entry) -> Row:
    peak = "unknown" if entry.peak_bytes is None else f"{entry.peak_bytes / 1e6:,.0f}"
    export = "" if entry.export_s is None else f" + {entry.export_s:.0f}"
    return (
        name_of(entry),
        written(entry.time_ms, 1),
        f"{entry.images_per_s:.2f}",
        peak,
        f"{entry.share_of_peak:.0%}",
        _agreement(entry.agreement),
        f"{entry.open_s:.0f}{export}",
    )


def name_of(entry: Entry) -> str:
    """For people; with whose network it runs where that is in doubt."""
    return f"{entry.label}, torchvision's network" if entry.ours and entry.weights == "torchvision" else entry.label


def _agreement(agreement: Agreement) -> str:
    told = agreement.images >= 32 and agreement.top1 is not None
    same = f", {agreement.top1:.1%} of {agreement.images} the same" if told else ""
    return f"{agreement.difference:.1e}{same}"


def written(spread: Spread, digits: int) -> str:
    """A median and what is around it."""
    return f"{spread.median:.{digits}f} ({spread.p20:.{digits}f} to {spread.p80:.{digits}f})"


def pair_rows(case: Case) -> list[Row]:
    """One row a pair, as `PAIRS`."""
    return [(pair.ours, pair.theirs, written(pair.ratio, 2)) for pair in case.pairs]


def busy_rows(case: Case) -> list[Row]:
    """One row a contender, as `BUSY`."""
    return [
        (name_of(entry), f"{case.batch / median(entry.busy_seconds):.2f}", written(entry.kept, 2))
        for entry in case.entries
    ]


def busy_pair_rows(case: Case) -> list[Row]:
    """One row a pair, as `PAIRS`, beside busy processes."""
    return [(pair.ours, pair.theirs, written(pair.busy_ratio, 2)) for pair in case.pairs if pair.busy_ratio]


def beside(case: Case) -> str:
    """What the rows of `busy_rows` were measured beside."""
    return f"beside {case.busy} busy {'process' if case.busy == 1 else 'processes'}"


def missing(case: Case) -> list[str]:
    """A sentence for each that has no numbers."""
    return [f"not measured: {n.contender}: {n.why}" for n in case.not_measured]


def operator_rows(entry: Entry) -> list[Row]:
    """One row an operator, as `OPERATORS`; those that take least are summed up."""
    shown, rest = entry.operators[:SHOWN_OPERATORS], entry.operators[SHOWN_OPERATORS:]
    rows: list[Row] = [(o.name, str(o.calls), f"{1e3 * o.seconds:.1f}", f"{o.share:.1%}") for o in shown]
    if rest:
        sums = sum(o.calls for o in rest), sum(o.seconds for o in rest), sum(o.share for o in rest)
        rows.append((f"{len(rest)} others", str(sums[0]), f"{1e3 * sums[1]:.1f}", f"{sums[2]:.1%}"))
    return rows


def page(record: Record, figure: Path) -> str:
    """The record as Markdown, with a link to its figure."""
    parts = ["# MaxViT compared with its peers", f"![Images per second]({figure.name})", LEGEND]
    for case in record.cases:
        parts += _section(case)
    parts.append("\n".join(f"- {heading}: {_code(heading, text)}" for heading, text in record.about.items() if text))
    return "\n\n".join(parts) + "\n"


def _section(case: Case) -> Iterator[str]:
    before, after = (f"{flops / 1e9:.0f}" for flops in case.matrix_product_flops)
    yield f"## {case.title[0].upper()}{case.title[1:]}"
    yield (
        f"{case.multiply_adds / 1e9:.2f} G multiply-adds an image, forward; the machine's peak: {before} GFLOP/s "
        f"before, {after} after."
    )
    if case.entries:
        yield _table(ENTRIES, entry_rows(case))
    if case.pairs:
        yield _table(PAIRS, pair_rows(case))
    if case.busy and case.entries:
        yield f"The same {beside(case)}, right after each round; times are means over about a second:"
        yield _table(BUSY, busy_rows(case))
        if case.pairs:
            yield _table(PAIRS, busy_pair_rows(case))
    if case.not_measured:
        yield "\n".join(f"- {sentence}" for sentence in missing(case))
    for entry in case.entries:
        if entry.operators:
            yield f"Where the time goes in {name_of(entry)}, one run under PyTorch's profiler:"
            yield _table(OPERATORS, operator_rows(entry))


def _table(header: Row, rows: Sequence[Row]) -> str:
    lines = [header, ("---",) + ("---:",) * (len(header) - 1) if header is not PAIRS else ("---", "---", "---:"), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(heading: str, text: str) -> str:
    return f"`{text}`" if heading == "command" else text
