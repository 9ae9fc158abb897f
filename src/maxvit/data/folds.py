"""Folds of a data set: parts that are held out in turn."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from maxvit.data.dataset import LabelledImages
from maxvit.errors import MaxViTError


def hold_out_fold(
    images: LabelledImages, classes: Sequence[int] | None, folds: int, fold: int, seed: int
) -> tuple[LabelledImages, LabelledImages]:
    """Split into (all other folds, one fold), each class in proportion; the same folds for the same seed.

    Args:
        images: At least as many as there are folds.
        classes: Class of each image; None: there is no proportion to keep.
        folds: How many.
        fold: Which, from 0.
        seed: Seed of the shuffle.

    Raises:
        MaxViTError: If there are fewer images than folds, in all or of a class.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    if len(images) < folds:
        raise MaxViTError(f"there are {len(images)} images for {folds} folds: take fewer folds")
    counts = Counter(classes or ())
    if few := [c for c, n in sorted(counts.items()) if n < folds]:
        name, number = images.class_names[few[0]], counts[few[0]]
        raise MaxViTError(f"class {name!r} has {number} images for {folds} folds: add some, or take fewer folds")
    cutter = KFold if classes is None else StratifiedKFold
    cuts = cutter(folds, shuffle=True, random_state=seed).split(range(len(images)), classes and list(classes))
    kept, out = list(cuts)[fold]
    return images.subset(kept.tolist()), images.subset(out.tolist())


def named_folds(images: LabelledImages, column: str) -> list[str]:
    """The folds that a column of a list names, numbers in their order; at least two. Raises `MaxViTError`."""
    if column not in images.others:
        columns = ", ".join(map(repr, images.others)) or "none"
        raise MaxViTError(f"there is no column {column!r} that could name folds; other columns of the data: {columns}")
    cells = images.others[column]
    if "" in cells:
        name = images.names[list(cells).index("")]
        raise MaxViTError(f"{name} has no fold in column {column!r}: give each image one")
    found = sorted(set(cells), key=lambda cell: (0, float(cell), "") if cell.isdecimal() else (1, 0.0, cell))
    if len(found) < 2:
        raise MaxViTError(f"column {column!r} names one fold alone, {found[0]!r}: at least two are needed")
    return found


def hold_out_named(images: LabelledImages, column: str, name: str) -> tuple[LabelledImages, LabelledImages]:
    """Split into (all other folds, the fold that a column of a list names so)."""
    cells = images.others[column]
    images = replace(images, others={other: found for other, found in images.others.items() if other != column})
    kept, out = ([i for i in range(len(images)) if (cells[i] == name) is held_out] for held_out in (False, True))
    return images.subset(kept), images.subset(out)
