"""What is in the files of Weights & Biases' offline mode."""

import json
import struct
from pathlib import Path
from typing import Any, NamedTuple

BLOCK, HEADER = 2**15, 7  # LevelDB's log: the file begins with 7 bytes of its own, records have headers as long


class Offline(NamedTuple):
    """One file: what was said of the run, its points, its summary, artifacts, and how it ended."""

    run: Any
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    artifacts: list[Any]
    exit_code: int | None


def read_offline(folder: Path) -> list[Offline]:
    """The files below FOLDER/wandb, the oldest first."""
    return [_read(path) for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"))]


def _read(path: Path) -> Offline:
    from wandb.proto.wandb_internal_pb2 import Record

    run, config, history, summary, artifacts, code = None, {}, [], {}, [], None
    for content in _records(path.read_bytes()):
        record = Record.FromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            config |= {one.key: json.loads(one.value_json) for one in run.config.update}
        elif kind == "history":
            history.append(_values(record.history.item))
        elif kind == "summary":
            summary |= _values(record.summary.update)
        elif kind == "artifact":
            artifacts.append(record.artifact)
        elif kind == "exit":
            code = record.exit.exit_code
    return Offline(run, config, history, summary, artifacts, code)


def _values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(data: bytes) -> list[bytes]:
    found, parts, at = [], b"", HEADER
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:  # too little is left of the block
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        parts += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # whole, or the last part
            found.append(parts)
            parts = b""
    return found
