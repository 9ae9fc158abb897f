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
from PIL import Image

from fake_hub import put
from fences import ROOT
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
NARROW = [name for name in config.VARIANTS if name != "maxvit_micro"]  # whose weights come with the package


def narrow_variants() -> dict[str, config.MaxViTConfig]:
    """The variants with few channels and blocks, none like another."""
    assert isinstance(config.VARIANTS, MappingProxyType)
    return {
        name: dataclasses.replace(
            config.VARIANTS[name], stem_channels=8, channels=(8, 8, 8, 8 * (i + 1)), depths=(1, 1, 1, 1), head_dim=8
        )
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
    values["data"] |= {"image_size": (64, 64), "batch_size": 8, "workers": 0, "limit": 8}
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
    """

    def __init__(self, folder: Path, train: Callable[[Recipe, Path], object]) -> None:
        self.folder, self.train = folder, train
        self.makers: dict[str, Callable[[str], Path]] = {
            **dict.fromkeys(("photos", "imagenet", "labelled", "more"), lambda task: self.photos()),
            **dict.fromkeys(("DATA", "FOLDER", "LIST", "coco", "scenes"), self.data),
            "ADEChallengeData2016": lambda task: self.masks("training", "images/{}", "annotations/{}"),
            "coco-stuff": lambda task: self.masks("train2017", "images/{}", "annotations/{}"),
            "AVA": lambda task: self.ava(),
            "fields": lambda task: self.bands(),
            "shards": lambda task: self.shards(),
            "list.csv": lambda task: self.list_of_numbers(),
            "new.csv": lambda task: self.list_of_numbers(),
            **dict.fromkeys(("CHECKPOINT", "SRC", "best.safetensors"), lambda task: self.checkpoint()),
            "imagenet.yaml": lambda task: self.recipe(),
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
        elif (first := Path(name).parts[0]) in self.makers:
            source = "coco-stuff" if (first, task) == ("coco", "segmentation") else first
            if not (here / first).exists():
                copy(self.makers[source](task), here / first)
        elif name.lower().endswith(PICTURES) and "*" not in name:
            copy(self.picture(Path(name).suffix), place)

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
            for part, number in {"train": 4, "val": 2, "test": 2}.items():
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

    def masks(self, train: str, images: str, masks: str) -> Path:
        """The scenes of segmentation in folders that others use."""

        def write(folder: Path) -> None:
            source = self.data("segmentation")
            for part, theirs in {"train": train, "val": train.replace("train", "val").replace("ing", "idation")}.items():
                copy(source / part / "images", folder / images.format(theirs))
                copy(source / part / "masks", folder / masks.format(theirs))

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

    def list_of_numbers(self) -> Path:
        """A list that lies where its images are found from anywhere."""

        def write(path: Path) -> None:
            photos = sorted(self.photos().rglob("*.jpg"))
            rows = [f"{photo},{i},{i % 5 + 1},{7 - i % 3}\n" for i, photo in enumerate(photos)]
            path.write_text("path,age,width,height\n" + "".join(rows))

        return self.once("list.csv", write)

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
            recipe = shrink(load_recipe("folder" if task == "classification" else find_task(name).recipe, settings))
            values = recipe.model_dump()
            values["data"] |= {"image_size": (SIDE, SIDE)}
            self.train(Recipe.model_validate(values), folder)

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
        if row.is_on_hub and row.variant in ("maxvit_tiny", "maxvit_pico", "maxvit_small"):
            network = MaxViT(row.config)
            storage.save(file, to_timm(network.state_dict(), row.config), {})
            put(cache, row.place, file)
    for name in ("owner/name", "owner/trees"):
        MaxViT(config.VARIANTS["maxvit_tiny"]).save(file)
        put(cache, name, file)
    body = MaxViT(config.VARIANTS["maxvit_tiny"])
    make_task({"name": "aesthetics"}).make_network(body, list(map(str, range(1, 11))), new_head=True).save(file)
    put(cache, "owner/lesions", file)
