"""Ways to damage a checkpoint, each a function of its bytes and a generator of random numbers."""

import io
import json
import struct
import zipfile

DEEP = "[" * 5000 + "]" * 5000
TEXTS = (
    DEEP,
    "1" * 5000,
    "NaN",
    "-Infinity",
    "1e999",
    "{",
    "",
    '"\\ud800"',
    '{"a": {"b": [1, {}]}}',
)  # in place of JSON
VALUES = (
    *(None, True, -1, 0, 1, 3.5, float("nan"), float("inf"), 2**31, 2**63, -(2**64), 10**30, "text", "", "7", [], {}),
    *([1, 2], [0, 0], [2, 2, 2], [-1] * 4, [2**40] * 4, ["x"] * 4, [[1, 2]] * 4, [1e308] * 3, [None] * 3, [0.5] * 3),
    *({"a": 1}, {"gelu": "relu"}, {"gelu": ["tanh"]}, {"length": 3}),
    *([10**6] * 4, [1, 1, 1, 1], [True] * 3, ["a", "b", "c"]),
)  # fmt: skip
DTYPES = (
    "F64",
    "F16",
    "BF16",
    "I64",
    "I8",
    "BOOL",
    "F8_E4M3",
    "F8_E5M2",
    "F8_E8M0",
    "F4",
    "C64",
    "U16",
    "X",
    "",
    7,
    None,
)
CODE = (  # pickles that would run something
    b"cos\nsystem\n(S'touch canary'\ntR.",
    b"\x80\x02cbuiltins\neval\n(S\"open('canary', 'w')\"\ntR.",
    b"cposix\nmkdir\n(S'canary'\ntR",
)


def some_bytes(data, random):
    """Change, cut, insert, repeat or blank out bytes, half the time where the description is."""
    near = random.random() < 0.5
    span = min(len(data), 4096) if near else len(data)
    at = int(random.integers(0, span)) if random.random() < 0.7 else len(data) - 1 - int(random.integers(0, span))
    length = int(random.choice([1, 1, 1, 2, 4, 8, 100]))
    noise = random.bytes(length)
    return [
        data[:at] + bytes([data[at] ^ (1 << int(random.integers(8)))]) + data[at + 1 :],
        data[:at] + noise + data[at + length :],
        data[:at] + noise + data[at:],
        data[:at] + data[at + length :],
        data[:at],
        data[:at] + bytes([random.choice([0, 255])]) * length + data[at + length :],
        data + noise,
        data[:at] + data[at : at + length] * 2 + data[at + length :],
    ][int(random.integers(8))]


def header(data, random):
    """Change the header of a safetensors file, and keep its length right."""
    (length,) = struct.unpack("<Q", data[:8])
    entries, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
    tensors = [name for name in entries if name != "__metadata__"]
    name = str(random.choice(tensors))
    entry, kind = entries[name], int(random.integers(9))
    if kind == 0:
        entry["dtype"] = _pick(DTYPES, random)
    elif kind == 1:
        entry["shape"] = _pick(
            [[], [0], [2**62, 4], [2**63], [0, 2**62], [-1], ["a"], [1.5], 3, None, [1] * 100], random
        )
    elif kind == 2:
        entry["shape"] = _pick([entry["shape"][::-1], [1, *entry["shape"]], [2**31 * 2, *entry["shape"]]], random)
    elif kind == 3:
        begin, end = entry["data_offsets"]
        entry["data_offsets"] = _pick(
            [[end, begin], [0, 2**60], [begin, end + 4], [begin + 4, end], [-1, end], [begin], "x", None], random
        )
    elif kind == 4:
        entries[_pick(["", "\n", "stages.9.9.x", "a" * 9999, "\u2028"], random)] = entries.pop(name)
    elif kind == 5:
        other = str(random.choice(tensors))
        entries[name], entries[other] = entries[other], entries[name]
    elif kind == 6:
        entries[name] = _pick(VALUES, random)
    elif kind == 7:
        entries["__metadata__"] = _pick([*VALUES, {"format": "maxvit"}, {"format": 7}], random)
    else:
        entries.pop(name)
    text = json.dumps(entries).encode()
    if random.random() < 0.1:
        text = _pick(
            [text[:-1], text + b"}", text.replace(b'"', b"\xff", 1), DEEP.encode(), b"{}", b"[]", b"7"], random
        )
    if random.random() < 0.1:
        return struct.pack("<Q", _pick([0, 1, 2**40, 2**64 - 1, len(text) + 1, len(text) - 1], random)) + text + rest
    return struct.pack("<Q", len(text)) + text + rest


def description(data, random):
    """Change what one of our own files says of its network, its images and its classes."""
    (length,) = struct.unpack("<Q", data[:8])
    entries, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
    said = entries["__metadata__"]
    key = str(random.choice([*said, "config", "config", "config", "preprocessing", "preprocessing"]))
    inside = json.loads(said[key])
    if isinstance(inside, dict) and random.random() < 0.85:
        names = [*inside, "unknown"]
        name = str(random.choice(names))
        if name == "dialect" and random.random() < 0.5:
            inside[name]["gelu"] = _pick(VALUES, random)
        elif random.random() < 0.15:
            inside.pop(name, None)
        else:
            inside[name] = _pick(VALUES, random)
        said[key] = json.dumps(inside)
    elif random.random() < 0.3:
        said[key] = _pick(TEXTS, random)
    elif random.random() < 0.3:
        said.pop(key)
    else:
        said[key] = json.dumps(_pick(VALUES, random))
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + rest


def archive(data, random):
    """Change the pickle, or another entry, of an archive of PyTorch, and write the archive properly."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(changed, "w") as after:
        entries = before.infolist()
        chosen = entries[int(random.integers(len(entries)))].filename
        if random.random() < 0.8:
            chosen = next(entry.filename for entry in entries if entry.filename.endswith("data.pkl"))
        for entry in entries:
            content = before.read(entry)
            if entry.filename == chosen and random.random() < 0.05:
                continue
            if entry.filename == chosen:
                content = pickled(content, random) if content else b"x"
            after.writestr(entry.filename, content)
    return changed.getvalue()


def pickled(data, random):
    """Change a pickle; sometimes put one into it that would run something."""
    if random.random() < 0.15:
        at = int(random.integers(len(data)))
        return data[:at] + _pick(CODE, random) + data[at:]
    for _ in range(int(random.integers(1, 4))):
        data = some_bytes(data, random) or b"x"
    return data


def _pick(values, random):
    return values[int(random.integers(len(values)))]
