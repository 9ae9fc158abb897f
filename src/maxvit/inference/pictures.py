"""Predictions drawn over their images, as files."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from maxvit.data.images import ImageLike, decode_shown
from maxvit.errors import MaxViTError
from maxvit.inference.predictor import Predictor
from maxvit.storage import check_folder, write_atomically
from maxvit.tasks.protocols import Predicted


class Pictures:
    """A folder with a PNG file for each image, named as the image is.

    Args:
        folder: Made with the first picture.
        sources: Sources of the images that may be drawn.
        names: Names of the same.
        predictor: Whose predictions are drawn.

    Raises:
        MaxViTError: If the folder holds one of the images, which a picture could replace, or cannot be written to.
    """

    def __init__(self, folder: Path, sources: Sequence[ImageLike], names: Sequence[str], predictor: Predictor) -> None:
        paths = [s for s in sources if isinstance(s, Path)] if isinstance(sources, list) else []  # shards are no files
        places = {path.absolute().parent for path in paths if path.suffix.lower() == ".png"}
        if any(place.resolve() == folder.resolve() for place in places):
            raise MaxViTError(f"pictures would write over images to predict, which {folder} holds: name another folder")
        check_folder(folder)
        self.folder, self.sources, self.predictor = folder, sources, predictor
        self.names = list(_file_names(names))

    def draw(self, index: int, prediction: Predicted) -> None:
        """Draw the prediction for one of the images. Raises `MaxViTError` if the file cannot be written."""
        image = decode_shown(self.sources[index], self.predictor.preprocessing)
        picture = self.predictor.task.draw_prediction(image, prediction, self.predictor.class_names)
        write_atomically(self.folder / self.names[index], lambda path: picture.save(path, "png"))


def _file_names(names: Iterable[str]) -> Iterator[str]:
    """The same for the same images, whoever draws which: images of several folders may have one name."""
    taken, numbers = set[str](), Counter[str]()
    for name in names:
        stem = free = Path(name).stem
        while free in taken:
            numbers[stem] += 1
            free = f"{stem}-{numbers[stem] + 1}"
        taken.add(free)
        yield f"{free}.png"
