"""What the pages talk about, as small as it can be: photographs, data sets of each task, runs, checkpoints, weights.

A page says `photos/`, `holiday.jpg`, `DATA` or `runs/photos`; `provide` makes what a command or a block of Python
names and the page has not made yet. What only a new page names is added to `Samples.makers`.
"""

import dataclasses
import gc
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import numpy as np
from fences import ROOT
from PIL import Image

from fake_hub import put
from maxvit import MaxViT, config, storage
from maxvit.checkpoints.published import PUBLISHED
from maxvit.checkpoints.timm import to_timm
from maxvit.data.load import load_images
from maxvit.data.shards.write import write_shards
from maxvit.tasks import find_task, make_task
from maxvit.training.recipe import Recipe, load_recipe, recipe_text

CLASSES = {"ant": (200, 50, 40), "bee": (220, 200, 40), "cat": (40, 180, 60), "dog": (40, 60, 200)}
PICTURES = (".jpg", ".jpeg", ".png")
SIDE = 128  # pixels: pages point at places such as 80,120
ON_HUB = ("maxvit_pico:rmlp-in1k-256", "maxvit_tiny:in1k-224", "maxvit_tiny:in1k-384", "maxvit_tiny:in1k-512")
ON_HUB += ("maxvit_small:in1k-224", "maxvit_base:in1k-224")
NARROW = [name for name in config.VARIANTS if name != "maxvit_micro"]  # whose weights come with the package


def narrow_variants() -> dict[str, config.MaxViTConfig]:
    """The variants with few channels and blocks, none like another."""
    assert isinstance(config.VARIANTS, MappingProxyType)
    shape = {"stem_channels": 32, "depths": (1, 1, 1, 1)}
    return {
        name: dataclasses.replace(config.VARIANTS[name], channels=(32, 32, 32, 32 * (i + 1)), **shape)
        for i, name in enumerate(NARROW)
    }


def variants() -> dict[str, config.MaxViTConfig]:
    """The dictionary behind `maxvit.config.VARIANTS`, which every module has by that name: to put narrow ones into."""
    (behind,) = gc.get_referents(config.VARIANTS)
    assert isinstance(behind, dict)
    return behind


def shrink(recipe: Recipe) -> Recipe:
    """A recipe that trains in a moment, whatever else it says."""
    values = recipe.model_dump()
    values["data"] |= {"image_size": (SIDE, SIDE), "batch_size": 4, "workers": 0, "limit": 40}
    values["data"] |= {"max_unreadable_fraction": 1.0}  # of data sets of which a page has a few files only
    values["optimization"] |= {"epochs": min(1, recipe.optimization.epochs), "warmup_epochs": 0.0}
    values["engine"] |= {"precision": "fp32", "sync_batch_norm": False}
    values["model"] |= {"kernels": "none", "scale_windows": False, "depths": None}
    return Recipe.model_validate(values)


class Samples:
    """What is made once, and copied to where a page wants it.

    Args:
        folder: Where to make it.
        train: Trains a network by a recipe into a folder: what the runs are.
        whole: Whether trainings are whole, and all runs.
    """

    def __init__(self, folder: Path, train: Callable[[Recipe, Path], object], whole: bool) -> None:
        self.folder, self.train, self.whole = folder, train, whole
        self.makers: dict[str, Callable[[str], Path]] = {
            **dict.fromkeys(("photos", "imagenet", "labelled", "more"), lambda task: self.photos()),
            **dict.fromkeys(("DATA", "FOLDER", "coco", "scenes"), self.data),
            "ADEChallengeData2016": lambda task: self.masks("training", "validation"),
            "coco-stuff": lambda task: self.masks("train2017", "val2017"),
            "AVA": lambda task: self.ava(),
            "fields": lambda task: self.bands(),
            "shards": lambda task: self.shards(),
            "list.csv": lambda task: self.list_of_numbers(),
            "LIST.csv": lambda task: self.list_of_numbers("age"),
            "new.csv": lambda task: self.list_of_numbers(),
            **dict.fromkeys(("CHECKPOINT", "SRC", "anything", "best.safetensors"), lambda task: self.checkpoint()),
            "checked": lambda task: self.checked(),
            "OFFICIAL": lambda task: ROOT / "tests" / "golden" / "tf_checkpoint_micro",
            **dict.fromkeys(("imagenet.yaml", "mine.yaml"), lambda task: self.recipe()),
        }

    def provide(self, word: str, task: str, here: Path) -> None:
        """Make what a word names in a folder, unless it is there or nothing that we know."""
        name = word.rstrip("/")
        place = here / name
        if not name or place.exists() or Path(name).is_absolute():
            return
        run = Path(name).parts[:2] if name.startswith("runs/") else ()
        if len(run) == 2:
            copy(self.run(task), here / Path(*run))
        elif (first := Path(name).parts[0]) in self.makers and (here / first).exists():
            copy(self.picture(), place if place.suffix else place / "0.jpg")  # more of it
        elif first in self.makers:
            source = "coco-stuff" if (first, task) == ("coco", "segmentation") else first
            copy(self.makers[source](task), here / first)
        elif name.lower().endswith(PICTURES):
            copy(self.picture(Path(name).suffix), here / name.replace("*", "holiday"))

    def once(self, name: str, make: Callable[[Path], object]) -> Path:
        """A file or folder that is made when it is first wanted."""
        path = self.folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            make(path)
        return path

    def picture(self, suffix: str = ".jpg") -> Path:
        return self.once(f"picture{suffix.lower()}", lambda path: draw(CLASSES["cat"], 0).save(path))

    def photos(self) -> Path:
        """PHOTOS/{train,val,test}/CLASS/*.jpg, each class of another colour."""

        def write(folder: Path) -> None:
            for part, number in {"train": 4, "val": 3, "test": 1}.items():
                for name, colour in CLASSES.items():
                    (folder / part / name).mkdir(parents=True)
                    for i in range(number):
                        draw(colour, 10 * len(part) + i).save(folder / part / name / f"{i}.jpg")

        return self.once("photos", write)

    def data(self, task: str) -> Path:
        """A data set of a task."""
        if task in ("classification", "masked"):
            return self.photos()
        if task == "regression":
            return self.list_of_numbers()
        name = "counting" if task.endswith("counting_task") else task
        return self.once(f"scenes/{name}", lambda path: scenes().WRITERS[name](path, 8, 48, 0))

    def masks(self, train: str, val: str) -> Path:
        """The scenes of segmentation in folders that others use."""

        def write(folder: Path) -> None:
            source = self.data("segmentation")
            folder.mkdir(parents=True)
            (folder / "classes.txt").write_text("\n".join(scenes().CLASSES))
            for part, theirs in {"train": train, "val": val}.items():
                copy(source / part / "images", folder / "images" / theirs)
                copy(source / part / "masks", folder / "annotations" / theirs)

        return self.once(f"masks/{train}", write)

    def ava(self) -> Path:
        def write(folder: Path) -> None:
            (folder / "images").mkdir(parents=True)
            rows = []
            for i in range(8):
                draw((20 * i, 90, 200 - 20 * i), i).save(folder / "images" / f"{i + 1}.jpg")
                votes = " ".join(str(10 + (i * j) % 7) for j in range(10))
                rows.append(f"{i + 1} {i + 1} {votes} 0 0 1\n")
            (folder / "AVA.txt").write_text("".join(rows))

        return self.once("ava", write)

    def bands(self) -> Path:
        """CLASS/*.npy of five bands."""

        def write(folder: Path) -> None:
            random = np.random.default_rng(0)
            for name in ("maize", "wheat"):
                (folder / name).mkdir(parents=True)
                for i in range(6):
                    np.save(folder / name / f"{i}.npy", random.integers(0, 2000, (32, 32, 5)).astype(np.uint16))

        return self.once("bands", write)

    def shards(self) -> Path:
        splits = load_images(str(self.photos()), 0.2, 0)
        return self.once("shards", lambda path: write_shards(splits, path))

    def checked(self) -> Path:
        """What `maxvit check` leaves."""

        def write(folder: Path) -> None:
            folder.mkdir()
            rows = [f"{photo},{photo.parent.name}\n" for photo in sorted(self.photos().rglob("*.jpg"))]
            (folder / "kept.csv").write_text("path,label\n" + "".join(rows))
            (folder / "decisions.csv").write_text("path,label,decision\n")

        return self.once("checked", write)

    def list_of_numbers(self, columns: str = "age,width,height") -> Path:
        """A list that lies where its images are found from anywhere."""

        def write(path: Path) -> None:
            photos = sorted(self.photos().rglob("*.jpg"))
            number = columns.count(",") + 1
            rows = [
                ",".join([str(photo), *map(str, (i, i % 5 + 1, 7 - i % 3)[:number])]) for i, photo in enumerate(photos)
            ]
            path.write_text("\n".join([f"path,{columns}", *rows]) + "\n")

        return self.once(f"{columns}.csv", write)

    def recipe(self) -> Path:
        return self.once("imagenet.yaml", lambda path: path.write_text(recipe_text("imagenet1k")))

    def checkpoint(self) -> Path:
        return self.run("classification") / storage.BEST

    def run(self, task: str) -> Path:
        """A finished run of a task on its data."""

        def train(folder: Path) -> None:
            name = "examples.counting_task" if task.endswith("counting_task") else task
            settings = ["model.name=maxvit_tiny", "model.pretrained=null", "model.probe=false"]
            settings += [f"task.name={name}", f"data.path={self.data(task)}"]
            settings += ["data.label_column=[age]"] if task == "regression" else []
            self.train(
                load_recipe("finetune-folder" if task == "classification" else find_task(name).recipe, settings), folder
            )

        return self.once(f"trained/{task}", train)


def draw(colour: tuple[int, int, int], seed: int) -> Image.Image:
    """A picture of one colour with grains."""
    grains = np.random.default_rng(seed).integers(-30, 31, (40, 53, 3))
    return Image.fromarray(np.clip(np.array(colour) + grains, 0, 255).astype(np.uint8))


def copy(source: Path, target: Path) -> None:
    """A file or a folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def scenes():
    """examples/scenes.py."""
    if str(ROOT / "examples") not in sys.path:
        sys.path.append(str(ROOT / "examples"))
    import scenes as module

    return module


def fill_hub(cache: Path, folder: Path) -> None:
    """Put narrow weights where the published ones of narrow variants are kept, and networks of "owner"."""
    folder.mkdir(parents=True)
    file = folder / "model.safetensors"
    for row in PUBLISHED:
        if row.is_on_hub and f"{row.variant}:{row.tag}" in ON_HUB:
            network = MaxViT(row.config)
            storage.save(file, to_timm(network.state_dict(), row.config), {})
            put(cache, row.place, file)
    for name in ("owner/name", "owner/trees"):
        MaxViT(config.VARIANTS["maxvit_tiny"]).save(file)
        put(cache, name, file)
    body = MaxViT(config.VARIANTS["maxvit_tiny"])
    make_task({"name": "aesthetics"}).make_network(body, list(map(str, range(1, 11))), new_head=True).save(file)
    put(cache, "owner/lesions", file)
