"""The numbers of an image as a line and as plain values."""

from collections.abc import Iterable, Sequence


def short(values: Iterable[float], class_names: Sequence[str]) -> str:
    """Four digits of each: "age 31.4, height 1.712"."""
    return ", ".join(f"{name} {float(value):.4g}" for name, value in zip(class_names, values, strict=True))


def plain(values: Iterable[float], class_names: Sequence[str], before: str = "") -> dict[str, float]:
    """Each value by its name, with a word before it."""
    return {f"{before}{name}": float(value) for name, value in zip(class_names, values, strict=True)}
