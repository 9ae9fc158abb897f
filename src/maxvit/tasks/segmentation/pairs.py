"""The images of a part, each with its mask."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maxvit.data.dataset import LabelledImages
from maxvit.data.finding import MISSING, NO_MASK, PassedOver, find_images, normal, say_passed_over
from maxvit.errors import MaxViTError
from maxvit.tasks.segmentation.legend import LEGENDS, MASK_ENDINGS
from maxvit.tasks.segmentation.masks import MaskFile, MaskKey
from maxvit.tasks.voc_lists import read_stems

# what may follow the name that an image and its mask have in common
IMAGE_SUFFIXES = ("", "_sat", "_image", "_img")
MASK_SUFFIXES = ("", "_mask", "_masks", "_L", "_P", "_label", "_labels", "_gt", "_seg", "_segmentation")


@dataclass(frozen=True, slots=True)
class Part:
    """Where the images of a part are, and their masks.

    Attributes:
        images: Folder of the images.
        masks: Folder of the masks, which may be the same one.
        stems: A file that lists the images, without their endings; None: all of the folder.
        image_suffixes: What may follow the common name in an image's, before its ending.
        mask_suffixes: What may follow it in a mask's. One of each goes for all of the part: those that most have.
    """

    images: Path
    masks: Path
    stems: Path | None = None
    image_suffixes: tuple[str, ...] = IMAGE_SUFFIXES
    mask_suffixes: tuple[str, ...] = MASK_SUFFIXES


@dataclass(frozen=True, slots=True)
class Pairs:
    """Images with their masks, in order of name.

    Attributes:
        images: The images.
        masks: The mask of each.
        names: What to call each.
        passed_over: Images and masks without the other, and what else is there.
    """

    images: list[Path]
    masks: list[Path]
    names: list[str]
    passed_over: list[PassedOver]

    def labelled(self, key: MaskKey, class_names: Sequence[str]) -> LabelledImages:
        """What the task learns from."""
        masks = [MaskFile(mask, key) for mask in self.masks]
        return LabelledImages(self.images, masks, list(class_names), self.names, passed_over=self.passed_over)


def find_pairs(part: Part) -> Pairs:
    """Every image of a part with its mask.

    Raises:
        MaxViTError: If there are no images or no masks, no two of them belong together, it is not clear which do, or
            two masks have one name but for the ending.
    """
    if not part.masks.is_dir():
        raise MaxViTError(f"{part.images} has no masks: the folder {part.masks} does not exist: put them there")
    found = find_images(part.images)
    masks = _by_stem(find_images(part.masks).images, part.masks)
    if not masks:
        raise MaxViTError(f"{part.masks} holds no masks ({', '.join(MASK_ENDINGS)}; JPEG changes values): fill it")
    if not found.images:
        why = say_passed_over(found.passed_over)
        raise MaxViTError(f"{part.images} holds no images: fill it or remove it{why}")
    stems = [(_stem(image, part.images), image) for image in found.images]
    image_suffix, mask_suffix = _find_suffixes(part, stems, masks)
    of_masks = {stem.removesuffix(mask_suffix): mask for stem, mask in masks.items() if stem.endswith(mask_suffix)}
    if part.masks == part.images:
        own = set(of_masks.values())
        stems = [(stem, image) for stem, image in stems if image not in own]
    listed = None if part.stems is None else {normal(stem) for stem in read_stems(part.stems)}
    images: dict[Path, Path] = {}  # the mask of each
    passed_over = [passed for passed in found.passed_over if listed is None and passed.path.name not in LEGENDS]
    common = set()
    for stem, image in stems:
        name = stem.removesuffix(image_suffix)
        common.add(name)
        if listed is not None and name not in listed:
            continue
        if name in of_masks and stem.endswith(image_suffix):
            images[image] = of_masks[name]
        else:
            passed_over.append(PassedOver(image, NO_MASK))
    if listed is None:
        lone = [mask for stem, mask in masks.items() if not _belongs(stem, common)]
        passed_over += [PassedOver(mask, "without an image") for mask in lone]
    else:
        passed_over += [PassedOver(part.images / name, MISSING) for name in sorted(listed - common)]
        if not images:
            raise MaxViTError(f"no image of {part.stems} is in {part.images} and has a mask in {part.masks}")
    names = [str(image.relative_to(part.images)) for image in images]
    return Pairs(list(images), list(images.values()), names, passed_over)


def _by_stem(paths: Iterable[Path], folder: Path) -> dict[str, Path]:
    """Masks by their names without endings, in order of name."""
    found: dict[str, Path] = {}
    for path in paths:
        if path.suffix.lower() not in MASK_ENDINGS:
            continue
        stem = _stem(path, folder)
        if stem in found:
            raise MaxViTError(f"{found[stem]} and {path.name} are masks of one name: keep one of them")
        found[stem] = path
    return found


def _stem(path: Path, folder: Path) -> str:
    """The name below a folder without its ending."""
    return normal(str(path.relative_to(folder).with_suffix("")))


def _find_suffixes(part: Part, images: Sequence[tuple[str, Path]], masks: Mapping[str, Path]) -> tuple[str, str]:
    """Those by which most images have a mask; images come with their stems."""
    beside = part.masks == part.images
    numbers = {
        (of_image, of_mask): sum(
            stem.endswith(of_image) and stem.removesuffix(of_image) + of_mask in masks for stem, _ in images
        )
        for of_image in part.image_suffixes
        for of_mask in part.mask_suffixes
        if not (beside and of_image == of_mask)
    }
    most = max(numbers.values())
    best = [suffixes for suffixes, number in numbers.items() if number == most]
    if not most:
        stem, image = images[0]
        wanted = part.masks / (stem.removesuffix(part.image_suffixes[0]) + part.mask_suffixes[0] + ".png")
        raise MaxViTError(f"no image of {part.images} has a mask; {image} takes {wanted}: give masks such names")
    if len(best) > 1:
        both = " and ".join(f"x{of_image} with x{of_mask}" for of_image, of_mask in best[:2])
        raise MaxViTError(f"images of {part.images} have masks by two names, {both}: keep one mask for each image")
    return best[0]


def _belongs(stem: str, images: set[str]) -> bool:
    """Whether a file in the folder of masks is of an image, as its mask or as another picture of it: x_color of x."""
    while stem not in images:
        stem, cut, _ = stem.rpartition("_")
        if not cut:
            return False
    return True
