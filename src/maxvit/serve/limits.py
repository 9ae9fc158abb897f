"""What the server takes on, and how it says that something is too much."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from math import ceil

from maxvit.errors import MaxViTError


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much is taken on at once.

    Attributes:
        max_bytes: Most bytes of the body of one request. All bodies together take at most eight times as much memory.
        max_pixels: Most pixels of one image, as its header says, before anything is decoded.
        max_images: Most images of one request.
        queue: Images that are decoded, wait or are computed at once; what comes beyond is refused.
        max_batch: Images that the network computes at once.
        max_delay_ms: How long an image waits for others that are on their way, while the network is free.
        timeout_s: From the head of a request to its answer.
        decoders: Threads that decode and resize.

    Raises:
        MaxViTError: If one is out of range, or two do not fit together.
    """

    max_bytes: int = 32 * 2**20
    max_pixels: int = 50_000_000
    max_images: int = 32
    queue: int = 64
    max_batch: int = 8
    max_delay_ms: float = 5.0
    timeout_s: float = 30.0
    decoders: int = 2

    def __post_init__(self) -> None:
        for field in fields(self):
            value, lowest = getattr(self, field.name), 0 if field.name == "max_delay_ms" else 1
            if not lowest <= value < float("inf"):
                raise MaxViTError(f"{field.name} is {value}; it takes a finite number from {lowest} up")
        if self.max_images > self.queue:
            raise MaxViTError(
                f"max_images is {self.max_images} and queue {self.queue}: a full request would never be taken;"
                " raise queue, or lower max_images"
            )


class Refusal(Exception):
    """A request that is not answered as wanted: its HTTP status and a sentence for the client.

    Args:
        status: From 400 up.
        sentence: What came, what is allowed, what to do.
        retry_after_s: When to come again, for 503.
    """

    def __init__(self, status: int, sentence: str, retry_after_s: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.retry_after_s = status, sentence, retry_after_s


class Room:
    """A number of places of which requests take some and give them back. For one thread: that of the event loop.

    Args:
        what: The places, for messages.
        places: How many there are.
        taken: How many are in use.
    """

    def __init__(self, what: str, places: int) -> None:
        self.what, self.places, self.taken = what, places, 0
        self.seconds_each = 0.0  # that a place is busy while others wait; the batcher measures it

    def check(self, wanted: int = 1) -> None:
        """Raise `Refusal` (503) if so many places are not free."""
        if self.taken + wanted > self.places:
            sentence = f"too busy: {self.taken} of {self.places} {self.what} are taken; try again later"
            raise Refusal(503, sentence, self.wait_s)

    @property
    def wait_s(self) -> int:
        """After how many seconds most of what is taken now will be free, 1 to 60."""
        return max(1, min(60, ceil(self.taken * self.seconds_each)))

    def take(self, wanted: int) -> None:
        """Take places. Raises `Refusal` (503) if they are not free."""
        self.check(wanted)
        self.taken += wanted

    def give_back(self, number: int) -> None:
        """Free places."""
        self.taken -= number

    @contextmanager
    def holding(self, number: int) -> Iterator[None]:
        """Have places for a while. Raises `Refusal` (503) if they are not free."""
        self.take(number)
        try:
            yield
        finally:
            self.give_back(number)
