"""What the server counts, for Prometheus."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """One set for each server, so that several may live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory, CPU seconds, open files
        self.requests = Counter("maxvit_requests", "Requests.", ["route", "method", "status"], registry=self.registry)
        self.request_seconds = Histogram(
            "maxvit_request_seconds", "From head to answer.", ["route"], buckets=SECONDS, registry=self.registry
        )
        self.images = Counter("maxvit_images", "Images answered or not.", ["model", "outcome"], registry=self.registry)
        self.decode_seconds = Histogram(
            "maxvit_decode_seconds", "Decoding and resizing an image.", buckets=SECONDS, registry=self.registry
        )
        self.batch_images = Histogram(
            "maxvit_batch_images", "Images in a batch.", ["model"], buckets=BATCHES, registry=self.registry
        )
        self.batch_wait_seconds = Histogram(
            "maxvit_batch_wait_seconds",
            "The longest wait of an image in a batch.",
            ["model"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.batch_seconds = Histogram(
            "maxvit_batch_seconds", "Computing a batch.", ["model"], buckets=SECONDS, registry=self.registry
        )
        self.in_hand = Gauge("maxvit_images_in_hand", "Images decoded, waiting or computed.", registry=self.registry)
        self.body_bytes = Gauge("maxvit_body_bytes", "Bytes of bodies in memory.", registry=self.registry)
        started = Gauge("maxvit_start_time_seconds", "When the server began.", registry=self.registry)
        started.set(time.time())

    def text(self) -> bytes:
        """All of them, in Prometheus' format."""
        return generate_latest(self.registry)
