"""Pre-annotations in Label Studio by a checkpoint: classes of images (<Choices>) or boxes (<RectangleLabels>).

    pip install 'maxvit[serve]'
    LABEL_STUDIO_URL=http://localhost:8080 LABEL_STUDIO_API_KEY=... python examples/label_studio_backend.py CHECKPOINT

then add http://localhost:9090 under Settings, Model. The names of the labels are those of the checkpoint's classes.
"""

import os
import sys
from typing import Any
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

import httpx
from fastapi import FastAPI, HTTPException

from maxvit import MaxViTError, Predictor


def read_image(place: str) -> bytes:
    """The file that a task names: a path of Label Studio's, or a URL; the key is sent to Label Studio alone."""
    studio = os.environ.get("LABEL_STUDIO_URL", "http://localhost:8080")
    url, key = urljoin(studio, place), os.environ.get("LABEL_STUDIO_API_KEY")
    own = urlsplit(url)[:2] == urlsplit(studio)[:2]
    answer = httpx.get(url, headers={"Authorization": f"Token {key}"} if own and key else {}, timeout=30)
    return answer.raise_for_status().content


def find_controls(label_config: str) -> tuple[ElementTree.Element, str]:
    """The control tag that is to be filled in, and the field of a task that holds its image."""
    root = ElementTree.fromstring(label_config)
    for control in root.iter():
        if control.tag in ("Choices", "RectangleLabels"):
            shown = next(tag for tag in root.iter("Image") if tag.get("name") == control.get("toName"))
            return control, shown.attrib["value"].removeprefix("$")
    raise HTTPException(422, "the labelling interface has neither Choices nor RectangleLabels")


def annotate(prediction: dict[str, Any], size: tuple[int, int], control: ElementTree.Element) -> list[dict[str, Any]]:
    """What `maxvit predict --json` prints, in Label Studio's form: places in percent of the image."""
    height, width = size
    common = {"from_name": control.get("name"), "to_name": control.get("toName"), "type": control.tag.lower()}
    if control.tag == "Choices":
        found = [one for one in prediction["classes"] if one.get("predicted", one is prediction["classes"][0])]
        score = max((one["probability"] for one in found), default=0.0)
        return [{**common, "value": {"choices": [one["class"] for one in found]}, "score": score}]
    results = []
    for one in prediction["objects"]:
        left, top, right, bottom = one["box"]
        place = {
            "x": left / width,
            "y": top / height,
            "width": (right - left) / width,
            "height": (bottom - top) / height,
        }
        value = {
            **{name: 100 * share for name, share in place.items()},
            "rotation": 0,
            "rectanglelabels": [one["class"]],
        }
        size_of = {"original_width": width, "original_height": height, "image_rotation": 0}
        results.append({**common, **size_of, "value": value, "score": one["score"]})
    return results


def make_app(checkpoint: str) -> FastAPI:
    """The three requests that Label Studio makes."""
    predictor, app = Predictor(checkpoint), FastAPI()
    task = predictor.task.name
    tags = {"classification": "Choices", "detection": "RectangleLabels"}
    if task not in tags:
        raise MaxViTError(f"{checkpoint} is for {task}; Label Studio's backend takes classification or detection")

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "UP", "model_class": task}

    @app.post("/setup")
    def setup(body: dict[str, Any]) -> dict[str, str]:
        return {"model_version": checkpoint}

    @app.post("/predict")
    def predict(body: dict[str, Any]) -> dict[str, Any]:
        control, field = find_controls(body["label_config"])
        if control.tag != tags[task]:
            raise HTTPException(422, f"{checkpoint} is for {task}, which fills in {tags[task]}, not {control.tag}")
        results = []
        for image in (read_image(one["data"][field]) for one in body["tasks"]):
            (found,) = predictor(image)
            marks = [] if found.error else annotate(found.to_json(), found.size, control)
            score = max((mark["score"] for mark in marks), default=0.0)
            results.append({"result": marks, "score": score, "model_version": checkpoint})
        return {"results": results, "model_version": checkpoint}

    return app


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(make_app(sys.argv[1]), port=9090)
