"""A client for the server."""

import io
import ssl
import time
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import numpy.typing as npt
from PIL import Image

from maxvit.data.bands import Bands
from maxvit.data.depth import is_deep
from maxvit.data.images import ImageLike, decode_shown
from maxvit.errors import MaxViTError


@dataclass(frozen=True, slots=True)
class ServedPrediction:
    """What a network of any task says of one image, or why it could not be read.

    Attributes:
        name: Name of the file, or "image 3" for what has none.
        prediction: In the form of the task, in pixels of the image as it was sent; None if it could not be read.
        summary: The prediction in a line.
        picture: The prediction drawn over the image, at most 1024 pixels long, where pictures were asked for.
        error: A sentence, or None.
    """

    name: str
    prediction: dict[str, Any] | None
    summary: str = ""
    picture: Image.Image | None = None
    error: str | None = None


class ServerError(RuntimeError):
    """The server could not be asked, or did not answer; the request may be right.

    Attributes:
        status: HTTP's; 0: there was no answer.
        retry_after_s: When the server wants to be asked again, or None.
    """

    def __init__(self, sentence: str, status: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(sentence)
        self.status, self.retry_after_s = status, retry_after_s


class Client:
    """Asks a server of `maxvit serve`.

    Args:
        url: Such as http://localhost:8000.
        api_key: The server's, if it has one.
        timeout_s: The longest silence.
        patience_s: How long to ask again where the server is too busy, as it says itself; 0: not at all.
    """

    def __init__(self, url: str, api_key: str | None = None, timeout_s: float = 60.0, patience_s: float = 0.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise MaxViTError(f"the address is {url!r}; give one such as http://localhost:8000")
        self.url, self.timeout_s, self.patience_s = url.rstrip("/"), timeout_s, patience_s
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._trusted = ssl.create_default_context()  # the authorities of this system, where httpx has its own

    def predict(
        self,
        images: ImageLike | Sequence[ImageLike],
        top_k: int | None = None,
        model: str | None = None,
        pictures: bool = False,
        coverage: float | None = None,
    ) -> list[ServedPrediction]:
        """What a network says of one image or several, in order.

        Args:
            images: Paths, bytes of files, PIL images or arrays.
            top_k: Classes to name for each, by a network whose task has this setting; None: 5.
            model: One of `models`; None: the server's first.
            pictures: Whether to draw the predictions.
            coverage: How often the set of classes to name for each holds the true one, such as 0.9; None: no set.

        Raises:
            MaxViTError: If the server refuses what it got, or no image could be read.
            ServerError: If it cannot be reached or is too busy.
        """
        given = {"top_k": top_k, "coverage": coverage, "picture": pictures or None}
        asked = {name: value for name, value in given.items() if value is not None}
        answer = self._send(images, "predict", model, asked)
        return [
            ServedPrediction(r["image"], r["prediction"], r["summary"], _picture(r["picture"]), r["error"])
            for r in answer["results"]
        ]

    def embed(
        self, images: ImageLike | Sequence[ImageLike], model: str | None = None
    ) -> list[npt.NDArray[np.float32] | None]:
        """What a network sees of each image, (features); None where it could not be read. Raises as `predict`."""
        answer = self._send(images, "embed", model, {})
        return [None if r["error"] else np.array(r["embedding"], np.float32) for r in answer["results"]]

    def similar(
        self, images: ImageLike | Sequence[ImageLike], k: int = 10, model: str | None = None
    ) -> list[list[tuple[str, float]] | None]:
        """Names and similarities of the pictures in the server's index that are most like each image.

        Args:
            images: As for `predict`.
            k: How many for each.
            model: One of `models` that has an index; None: the first that has one.

        Returns:
            For each image; None where it could not be read. Raises as `predict`.
        """
        answer = self._send(images, "similar", model, {"k": k})
        return [
            None if r["error"] else [(found["image"], found["similarity"]) for found in r["pictures"]]
            for r in answer["results"]
        ]

    def models(self) -> list[dict[str, Any]]:
        """What is served there: name, task, variant, classes, image_size, engine. Raises as `predict`."""
        found: list[dict[str, Any]] = self._ask("GET", "/v1/models")["models"]
        return found

    def ready(self) -> bool:
        """Whether it wants requests; not, too, if nobody is there."""
        try:
            self._once("GET", "/ready")
        except ServerError:
            return False
        return True

    def _send(
        self, images: ImageLike | Sequence[ImageLike], what: str, model: str | None, asked: dict[str, Any]
    ) -> Any:
        several = images if isinstance(images, list | tuple) else [images]
        if not several:
            raise MaxViTError("there are no images: give one or more")
        files = [("image", (*file_of(image, i), "application/octet-stream")) for i, image in enumerate(several)]
        where = f"/v1/models/{quote(model, safe='')}/{what}" if model else f"/{what}"
        return self._ask("POST", where, files=files, params=asked)

    def _ask(self, method: str, path: str, **content: Any) -> Any:
        end = time.monotonic() + self.patience_s
        while True:
            try:
                return self._once(method, path, **content)
            except ServerError as error:
                wait = error.retry_after_s
                if error.status != 503 or wait is None or time.monotonic() + wait > end:
                    raise
            time.sleep(wait)

    def _once(self, method: str, path: str, **content: Any) -> Any:
        try:
            answer = httpx.request(
                method,
                self.url + path,
                headers=self._headers,
                timeout=self.timeout_s,
                verify=self._trusted,
                follow_redirects=True,
                **content,
            )
            if answer.is_success:
                return answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise ServerError(f"{self.url} does not answer: {str(error) or type(error).__name__}") from error
        sentence, status = _sentence(answer), answer.status_code
        if 400 <= status < 500 and status not in (408, 429):
            raise MaxViTError(f"{self.url} refuses: {sentence}")
        after = answer.headers.get("Retry-After", "")
        raise ServerError(sentence, status, float(after) if after.isdecimal() else None)


def _sentence(answer: httpx.Response) -> str:
    """What the server says, or HTTP's own words where what answers is not ours."""
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.reason_phrase}"


def _picture(uri: str | None) -> Image.Image | None:
    return None if uri is None else Image.open(io.BytesIO(b64decode(uri.partition(",")[2])))


def file_of(image: ImageLike, place: int) -> tuple[str, bytes]:
    """Its name, and the content of a file of it."""
    if isinstance(image, bytes):
        return f"image {place}", image
    if isinstance(image, str | Path):
        try:
            return Path(image).name, Path(image).read_bytes()
        except OSError as error:
            raise MaxViTError(f"{image} cannot be read ({error.strerror}): check the path") from error
    buffer = io.BytesIO()
    if isinstance(image, Bands) or (isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] not in (3, 4)):
        np.save(buffer, np.asarray(image), allow_pickle=False)
    else:
        picture = _picture_of(image)
        picture.save(buffer, "TIFF" if is_deep(picture) else "PNG")
    return f"image {place}", buffer.getvalue()


def _picture_of(image: Image.Image | npt.NDArray[Any]) -> Image.Image:
    """Whole values of more than 8 bits as they are: what is black and white of them, the network knows."""
    if isinstance(image, Image.Image):
        return image if is_deep(image) else decode_shown(image)
    deep = image.ndim == 2 and image.dtype in (np.uint16, np.float32)
    return Image.fromarray(image) if deep else decode_shown(image)
