"""What was found, in sentences; each with a row for every image that it is about."""

from collections import Counter

from maxvit.checking.check import DataCheck
from maxvit.checking.duplicates import KINDS, Pair
from maxvit.checking.parts import ALL
from maxvit.data.dataset import describe_images, say_balance

SPLIT = "training sets some photographs aside as a test, and one of a pair may land there"
SAID = {
    "same file": "the same file as",
    "same pixels": "the same pixels as",
    "near copy": "a near copy of",
    "mirrored": "a mirror image of",
    "cropped": "a crop, or the whole, of",
}
Paragraph = tuple[str, list[str]]


def paragraphs(found: DataCheck) -> list[Paragraph]:
    """A sentence and its rows, for each question."""
    images = found.images
    number, parts = len(found.counts), Counter(images.parts)
    what = f" of {number:,} classes" if number else ""
    if ALL not in parts:
        what += f" ({', '.join(f'{count:,} {part}' for part, count in parts.items())})"
    what += found.columns
    said: list[Paragraph] = [(describe_images(len(images), found.passed_over, what), [])]
    said.append((f"sizes, height x width: {say_sizes(found)}", []))
    if found.counts:
        said.append((f"classes: {say_balance(found.counts)}", []))
    said.append((_count(len(found.unreadable), "image", "cannot be read"), list(found.unreadable.values())))
    said += say_pairs(found)
    if found.images.classes is not None:
        rows = [
            f"{images.names[s.image]} ({images.class_of(s.image)}) looks like {images.class_names[s.likely]} "
            f"({s.likely_probability:.0%})"
            for s in found.suspicions
        ]
        said.append((_count(len(rows), "label", "looks wrong", "look wrong"), rows))
    if found.outliers:
        rows = [f"{images.names[o.image]} ({o.distance:.1f} times the usual distance)" for o in found.outliers]
        said.append(("furthest from their nearest neighbours:", rows))
    return said + [(sentence, []) for sentence in found.left_out]


def say_sizes(found: DataCheck) -> str:
    """Such as "smallest 28 x 28, median 64 x 48, largest 480 x 640"."""
    return ", ".join(f"{name} {height} x {width}" for name, (height, width) in found.three_sizes().items())


def say_pairs(found: DataCheck) -> list[Paragraph]:
    """Duplicates: of each kind, in several parts, and under two classes."""
    kinds = Counter(pair.kind for pair in found.pairs)
    ways = ", ".join(f"{kinds[kind]:,} {kind}" for kind in KINDS if kinds[kind])
    rows = [say_pair(found, pair) for pair in found.pairs]
    said = [(_count(len(rows), "image", "repeats another", "repeat another") + (f" ({ways})" if ways else ""), rows)]
    if len(set(found.images.parts)) > 1:
        between = [say_pair(found, pair) for pair in found.between_parts()]
        said.append(
            (_count(len(between), "image", "repeats one of another part", "repeat one of another part"), between)
        )
    if "val" not in found.images.parts and found.pairs:
        said.append((SPLIT, []))
    if found.images.classes is not None:
        two = [say_pair(found, pair) for pair in found.under_two_classes()]
        said.append((_count(len(two), "image", "repeats one of another class", "repeat one of another class"), two))
    return said


def say_pair(found: DataCheck, pair: Pair) -> str:
    """The later image, what it is, and the earlier one."""
    names, images = found.images.names, found.images
    classes = [images.class_of(i) for i in (pair.second, pair.first)]
    said = f" ({classes[0]}, and {classes[1]})" if classes[0] != classes[1] else ""
    return f"{names[pair.second]}: {SAID[pair.kind]} {names[pair.first]}{said}"


def _count(number: int, thing: str, one: str, several: str = "") -> str:
    """Such as "no label looks wrong", "1 label looks wrong", "3 labels look wrong"."""
    if number == 1:
        return f"1 {thing} {one}"
    return f"{number:,} {thing}s {several or one}" if number else f"no {thing} {one}"
