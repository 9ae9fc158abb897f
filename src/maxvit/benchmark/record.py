"""What a benchmark found, as plain data that JSON holds."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from maxvit.benchmark.compare import Agreement
from maxvit.benchmark.job import Precision, Weights, What
from maxvit.benchmark.worker import Operator


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, 20th and 80th percentile."""

    median: float
    p20: float
    p80: float


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles of at least two values; percentiles between two values are interpolated."""
    p20, *_, p80 = quantiles(values, n=5, method="inclusive")
    return Spread(median(values), p20, p80)


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """How many times as long they took, round by round: what slows a whole round down cancels.

    Args:
        ours: Seconds, one a round.
        theirs: Seconds, of the same rounds.
    """
    return spread([b / a for a, b in zip(ours, theirs, strict=True)])


@dataclass(frozen=True, slots=True)
class Entry:
    """One contender in one case.

    Attributes:
        contender: Its name on the command line.
        label: For people.
        ours: Or a peer's.
        weights: "official" or "torchvision": whose network it ran. Only those of one network are compared.
        seconds: Seconds of each run, round by round.
        time_ms: Their spread.
        images_per_s: At the median.
        peak_bytes: The most memory it took while it was timed. On the CPU: the highest resident memory of its process
            from the end of warming up on, less what the process held once its packages were imported and before the
            network was made; so weights, activations, gradients, scratch space and what the allocator keeps count,
            libraries do not. On CUDA: the most that PyTorch had allocated, weights included. None: unknown.
        peak_is: Which of these it is.
        share_of_peak: Operations of the network (two a multiply-add, three times as many for a training step) over
            the time and over the machine's matrix-product peak. For all contenders the operations are those of our
            network at this size, whatever they really execute.
        agreement: With the plain network in fp32.
        open_s: Loading, converting, compiling and the first run, in seconds.
        export_s: Writing the file that it runs, in seconds; None: it needs none.
        operators: Where the time of one run goes; empty unless asked for.
        busy_seconds: As `seconds`, beside busy processes: means over about a second; empty unless asked for.
    """

    contender: str
    label: str
    ours: bool
    weights: Weights
    seconds: list[float]
    time_ms: Spread
    images_per_s: float
    peak_bytes: int | None
    peak_is: str
    share_of_peak: float
    agreement: Agreement
    open_s: float
    export_s: float | None
    operators: list[Operator]
    busy_seconds: list[float]

    @property
    def kept(self) -> Spread:
        """The share of its quiet speed that it keeps beside busy processes."""
        return paired_ratio(self.busy_seconds, self.seconds)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two contenders of one network: how many times as fast ours is.

    Attributes:
        ours: The contender's name.
        theirs: The peer's name.
        ratio: Their seconds over ours in the same round; its spread over the rounds.
        busy_ratio: The same beside busy processes; None: not measured.
    """

    ours: str
    theirs: str
    ratio: Spread
    busy_ratio: Spread | None = None


@dataclass(frozen=True, slots=True)
class NotMeasured:
    """A contender without numbers, and why."""

    contender: str
    weights: Weights
    why: str


@dataclass(frozen=True, slots=True)
class Case:
    """One task at one batch and image size.

    Attributes:
        what: "inference" or "training".
        model: The network's name.
        batch: Images a run.
        image_size: (height, width).
        precision: "fp32" or "bf16".
        multiply_adds: In a forward pass of one image.
        busy: Processes that kept cores busy beside `busy_seconds`.
        matrix_product_flops: The machine's peak in operations a second: the best before and the best after.
        entries: Who was measured, the order of the command line.
        pairs: Each of ours with each peer of the same network.
        not_measured: Who was not.
    """

    what: What
    model: str
    batch: int
    image_size: tuple[int, int]
    precision: Precision
    multiply_adds: int
    busy: int
    matrix_product_flops: tuple[float, float]
    entries: list[Entry]
    pairs: list[Pair]
    not_measured: list[NotMeasured]

    @property
    def title(self) -> str:
        """For people."""
        height, width = self.image_size
        images = "1 image" if self.batch == 1 else f"{self.batch} images"
        return f"{self.what} of {self.model}, {images} of {height} x {width}, {self.precision}"


@dataclass(frozen=True, slots=True)
class Record:
    """A whole run: by heading what a reader must know to judge or repeat it, and the cases."""

    about: dict[str, str]
    cases: list[Case]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self) | {
            "cases": [dataclasses.asdict(c) | {"entries": [_entry(e) for e in c.entries]} for c in self.cases]
        }


def _entry(entry: Entry) -> dict[str, Any]:
    return dataclasses.asdict(entry) | {"operators": [operator._asdict() for operator in entry.operators]}
