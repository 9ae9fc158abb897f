"""Whatever is sent: no crash, no 500, nothing read that was not sent, and nothing kept."""

import json
import logging
import socket
import sys
import urllib.request
from collections import Counter
from contextlib import suppress
from random import Random

import pytest
from hostile import exchange
from pictures import encoded

from listening import listening
from maxvit.serve.app import create_app
from maxvit.serve.limits import Limits

opened: list[str] = []
watched: list[str] = []


def _note(event, arguments):
    """An audit hook cannot be removed: this one does nothing but while a test watches."""
    if watched and event == "open" and any(name in str(arguments[0]) for name in watched):
        opened.append(str(arguments[0]))


sys.addaudithook(_note)


@pytest.fixture
def canary(tmp_path):
    """A picture that nobody may read."""
    path = tmp_path / "canary.png"
    path.write_bytes(encoded())
    opened.clear()
    watched[:] = ["canary", "passwd"]
    yield str(path)
    watched.clear()


def settled(port):
    """What the server counts, asked of a connection of its own."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("number", [100, pytest.param(5000, marks=pytest.mark.full)])
@pytest.mark.filterwarnings("ignore")  # of Pillow's readers, about damaged files
def test_hostile_requests_are_refused_and_the_server_goes_on(predictor, brightest, canary, caplog, number):
    caplog.set_level(logging.ERROR)
    app = create_app({"small": predictor, "stars": brightest}, limits=Limits(max_bytes=100_000, max_pixels=1_000_000))
    random, statuses = Random(number), Counter()
    with listening(app) as port:
        for _ in range(number):
            answer = exchange(port, random, canary)
            statuses[answer[9:12].decode() if answer.startswith(b"HTTP/1.1") else "none"] += 1
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/predict", encoded(), {"Content-Type": "image/png"})
        with urllib.request.urlopen(asked) as good:
            assert json.load(good)["results"][0]["error"] is None
        counted = settled(port)
    assert set(statuses) <= {"none", "200", "400", "404", "405", "413", "415", "422"}
    assert min(statuses[s] for s in ("400", "413", "415", "422")) > number / 100  # they were of all sorts
    assert not [name for name in counted if 'status="5' in name or 'status="0"' in name]
    assert (counted["maxvit_images_in_hand"], counted["maxvit_body_bytes"]) == ("0.0", "0.0")
    assert opened == []
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_the_canary_sings(canary):
    with open(canary, "rb"):
        pass
    assert opened == [canary]


@pytest.mark.parametrize("sent", [b"POST /predict HT", b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"])
def test_a_head_that_never_ends_is_cut(predictor, sent):
    with listening(create_app({"small": predictor}), timeout_s=0.2) as port:
        connection = socket.create_connection(("127.0.0.1", port), timeout=20)
        with connection, suppress(ConnectionResetError):
            connection.sendall(sent)
            assert connection.recv(100) == b""


def test_a_body_that_never_ends_is_408_and_does_not_hinder_others(predictor):
    app = create_app({"small": predictor}, limits=Limits(timeout_s=1, queue=1, max_images=1))
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 100\r\n\r\n"
    with listening(app) as port:
        slow = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(8)]
        for connection in slow:
            connection.sendall(head + b"x" * 7)
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/predict", encoded(), {"Content-Type": "image/png"})
        with urllib.request.urlopen(asked) as good:
            assert good.status == 200
        for connection in slow:
            assert connection.recv(1000).startswith(b"HTTP/1.1 408")
            connection.close()
        assert app.state.service.memory.taken == 0


def test_what_a_client_no_longer_waits_for_gives_its_place_back(predictor):
    app = create_app({"small": predictor})
    data = encoded()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(data)}\r\n\r\n"
    with listening(app) as port:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(head.encode() + data)
        counted = settled(port)
        for _ in range(500):
            if counted["maxvit_images_in_hand"] == counted["maxvit_body_bytes"] == "0.0":
                break
            counted = settled(port)
    assert (counted["maxvit_images_in_hand"], counted["maxvit_body_bytes"]) == ("0.0", "0.0")
    assert not [name for name in counted if 'status="5' in name]
