"""What to measure, and whether that can be meant."""

from collections.abc import Sequence
from dataclasses import dataclass

from maxvit.benchmark.job import Contender, Precision, What
from maxvit.benchmark.ours import OURS
from maxvit.benchmark.peers import PEERS
from maxvit.config import SMALLEST_SIDE, VARIANTS, Size, check_known
from maxvit.errors import MaxViTError


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure.

    Attributes:
        model: A variant's name.
        ours: Contenders of ours.
        theirs: Their peers.
        what: Tasks.
        batches: Images a run.
        sizes: (height, width) of images.
        rounds: Timed runs of each contender, two at least.
        precision: Precision of PyTorch's contenders.
        device: "cpu" or "cuda".
        threads: On the CPU; None: as many as PyTorch would take.
        profile: Whether to see where the time goes, by operator.
        busy: Other processes that each keep a core busy, beside which all is timed once more; 0: it is not.
    """

    model: str
    ours: Sequence[Contender]
    theirs: Sequence[Contender]
    what: Sequence[What] = ("inference",)
    batches: Sequence[int] = (1, 8)
    sizes: Sequence[Size] = ((224, 224),)
    rounds: int = 15
    precision: Precision = "fp32"
    device: str = "cpu"
    threads: int | None = None
    profile: bool = False
    busy: int = 0

    def __post_init__(self) -> None:
        """Raises `MaxViTError` where a value cannot be meant."""
        import torch

        check_known("model", [self.model], VARIANTS)
        check_known("task", self.what, ["inference", "training"])
        check_known("precision", [self.precision], ["fp32", "bf16"])
        check_known("device", [self.device], ["cpu", "cuda"])
        if self.rounds < 2:
            raise MaxViTError(f"rounds is {self.rounds}; percentiles need 2 at least")
        if min(self.batches) < 1:
            raise MaxViTError(f"batch is {min(self.batches)}; it takes 1 image at least")
        if (side := min(side for size in self.sizes for side in size)) < SMALLEST_SIDE:
            raise MaxViTError(f"size is {side}; images have {SMALLEST_SIDE} pixels a side at least")
        if self.threads is not None and self.threads < 1:
            raise MaxViTError(f"threads is {self.threads}; give 1 at least, or none to take as many as PyTorch does")
        if self.busy < 0:
            raise MaxViTError(f"busy is {self.busy}; give a number of processes, or 0")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise MaxViTError("device is 'cuda', and PyTorch finds no GPU here; choose cpu")


def read_size(text: str) -> Size:
    """(height, width) of "224" or "300x417". Raises `MaxViTError` if it is neither."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.strip().isdecimal() for side in sides):
        raise MaxViTError(f"size is {text!r}; give the side of a square, as 224, or height and width, as 300x417")
    return int(sides[0]), int(sides[-1])


def find_ours(names: Sequence[str]) -> list[Contender]:
    """Contenders of ours by name. Raises `MaxViTError` if one is unknown."""
    return _find("contender", names, OURS)


def find_peers(names: Sequence[str]) -> list[Contender]:
    """Peers by name; "all" of them. Raises `MaxViTError` if one is unknown."""
    return list(PEERS) if "all" in names else _find("peer", names, PEERS)


def _find(what: str, names: Sequence[str], known: Sequence[Contender]) -> list[Contender]:
    by_name = {contender.name: contender for contender in known}
    check_known(what, names, by_name)
    return [by_name[name] for name in dict.fromkeys(names)]
