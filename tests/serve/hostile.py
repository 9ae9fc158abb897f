"""Requests that nobody honest sends, from a seed."""

import base64
import json
import socket
import struct
from collections.abc import Callable
from random import Random

from pictures import bomb, encoded

ROUTES = (
    "/predict",
    "/embed",
    "/v1/models/small/predict",
    "/v1/models/stars/predict?picture=true",
    "/v1/models/stars/embed",
    "/v1/models/../../etc/passwd/predict",
    "/v1/models/%2e%2e/embed",
)
KINDS = (
    "image/png",
    "image/jpeg",
    "application/json",
    "multipart/form-data; boundary=b",
    "text/html",
    "",
    "image/png; x",
)


def request(random: Random, route: str, kind: str, body: bytes, length: int | None = None) -> bytes:
    """One in HTTP/1.1; `length` is what it claims."""
    head = f"POST {route} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def damaged(random: Random) -> bytes:
    """A picture with an end too few, or bytes that were others."""
    data = bytearray(encoded(random.randrange(5), random.choice(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])))
    if random.random() < 0.5:
        return bytes(data[: random.randrange(len(data))])
    for _ in range(random.randrange(1, 30)):
        data[random.randrange(len(data))] = random.randrange(256)
    return bytes(data)


def truncated_or_flipped(random: Random) -> bytes:
    return request(random, random.choice(ROUTES), random.choice(KINDS), damaged(random))


def noise(random: Random) -> bytes:
    return request(random, random.choice(ROUTES), random.choice(KINDS), random.randbytes(random.randrange(3000)))


def too_large(random: Random) -> bytes:
    if random.random() < 0.5:
        return request(random, "/predict", "image/png", b"x" * 300, 10 ** random.randrange(7, 30))
    chunks = b"".join(b"%x\r\n%s\r\n" % (4096, b"y" * 4096) for _ in range(40))
    return (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    )


def bombs(random: Random) -> bytes:
    return request(
        random,
        "/predict",
        "image/png",
        bomb(random.choice([2000, 50_000, 2**31 - 1]), random.choice([5000, 2**31 - 1])),
    )


def malformed_json(random: Random) -> bytes:
    good = json.dumps({"image": base64.b64encode(encoded()).decode()}).encode()
    deep = random.choice([b"[", b'{"image":']) * 20_000
    odd = [
        good[: random.randrange(len(good))],
        deep,
        b'{"image": 1e999}',
        b'{"images": [null]}',
        b"\xff\xfe{",
        b'{"image":"\\ud800"}',
    ]
    paths = [json.dumps({"image": path}).encode() for path in ("/etc/passwd", "file:///etc/passwd", "../canary.png")]
    return request(random, random.choice(ROUTES), "application/json", random.choice(odd + paths))


def names_that_are_paths(random: Random, canary: str) -> bytes:
    name = random.choice(
        [canary, "../" * 9 + canary, f"file://{canary}", "a\0b", "é" * 4000, "..\\..\\x", "|id", f"{canary}\r\nX: y"]
    )
    field = random.choice(["image", canary, "", "é"])
    content = random.choice([encoded(), canary.encode(), b"", f"file://{canary}".encode()])
    disposition = f'Content-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()
    body = b"--b\r\n" + disposition + content + random.choice([b"\r\n--b--\r\n", b"\r\n--b", b""])
    return request(random, random.choice(ROUTES), "multipart/form-data; boundary=b", body)


def odd_heads(random: Random) -> bytes:
    return random.choice(
        [
            random.randbytes(200),
            b"GET / HTTP/9.9\r\n\r\n",
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /static-offline-docs/../../../../../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"GET /static-offline-docs/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"POST /predict?top_k=%00%ff HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            b"POST /predict HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 5000 + b"\r\n",
        ]
    )


def exchange(port: int, random: Random, canary: str) -> bytes:
    """Send one request, in one of the ways in which clients misbehave, and read what comes for a while."""
    kinds: list[Callable[[Random], bytes]] = [truncated_or_flipped, noise, too_large, bombs, malformed_json, odd_heads]
    kinds.append(lambda r: names_that_are_paths(r, canary))
    data, way = random.choice(kinds)(random), random.random()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            if way < 0.1:  # resets in the middle
                connection.sendall(data[: random.randrange(len(data) + 1)])
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return b""
            if way < 0.2:  # closes its half in the middle
                connection.sendall(data[: random.randrange(len(data) + 1)])
                connection.shutdown(socket.SHUT_WR)
            else:
                connection.sendall(data)
            if b"Connection: close" not in data:
                connection.settimeout(0.2)
            answer = b""
            while more := connection.recv(65536):
                answer += more
            return answer
        except TimeoutError:
            return answer
        except OSError:  # the server has had enough
            return b""
