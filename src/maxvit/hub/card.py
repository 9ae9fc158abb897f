"""The model card of a network: what its checkpoint's metadata says, for people."""

import json
from collections.abc import Mapping
from typing import Any

PIPELINES = {"segmentation": "image-segmentation", "detection": "object-detection"}  # what the hub calls a task
_TEXT = """\
---
license: apache-2.0
library_name: maxvit
{pipeline}tags:
- maxvit
- vision
---

# MaxViT{title}

A [MaxViT](https://arxiv.org/abs/2204.01697) network, saved by the Python package `maxvit`.

```python
import maxvit

network = maxvit.{kind}.from_pretrained("{repo_id}")
predict = maxvit.Predictor(network)
print(predict("photo.jpg")[0].summary)
```

## Network

| | |
|---|---|
{network}

{task}## Images

These weights expect images prepared so; `maxvit.Predictor` does it.

| | |
|---|---|
{preprocessing}

## Classes

{classes}

## Provenance

{provenance}

Everything above is in the metadata of `model.safetensors`; `config.json` is a copy of it.
"""


def model_card(metadata: Mapping[str, Any], repo_id: str = "owner/name") -> str:
    """Write the card.

    Args:
        metadata: As `MaxViT.metadata` or `TaskNetwork.metadata` gives it.
        repo_id: Where the network will be, for the example.

    Returns:
        Markdown with the hub's YAML header.
    """
    config, names, task = metadata["config"], metadata["class_names"], metadata.get("task")
    count = len(names or ()) if task else config["num_classes"]
    if names:
        classes = f"{count}: " + ", ".join(_escaped(name) for name in names)
    else:
        classes = f"{count}, without names" if count else "None: the network gives features."
    known = PIPELINES.get(task["name"]) if task else "image-classification"
    return _TEXT.format(
        title=f" for {_escaped(task['name'])}" if task else f" for {count} classes" if count else "",
        pipeline=f"pipeline_tag: {known}\n" if known else "",
        kind="TaskNetwork" if task else "MaxViT",  # what reads it, whatever class a task derives from it
        repo_id=repo_id,
        network=_table(config),
        task=f"## Task\n\n| | |\n|---|---|\n{_table(task)}\n\n" if task else "",
        preprocessing=_table(metadata["preprocessing"]),
        classes=classes,
        provenance=_list(metadata["provenance"]) or "Not recorded.",
    )


def _table(values: Mapping[str, Any]) -> str:
    return "\n".join(f"| {_words(key)} | {_escaped(_plain(value))} |" for key, value in values.items())


def _list(values: Mapping[str, Any]) -> str:
    return "\n".join(f"- {_words(key)}: {_escaped(_plain(value))}" for key, value in values.items())


def _words(key: str) -> str:
    return _escaped(str(key)).replace("_", " ")


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_plain(v) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{k.replace('_', ' ')} {_plain(v)}" for k, v in value.items())
    return value if isinstance(value, str) else json.dumps(value)


def _escaped(text: str) -> str:
    """Text that is neither markup nor the end of a table cell."""
    flat = " ".join(text.split())
    for mark in "\\|<>*`[]":
        flat = flat.replace(mark, f"\\{mark}")
    return flat
