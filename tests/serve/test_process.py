"""`maxvit serve` as a process: how it begins, and how it ends."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from pictures import encoded
from served import NAMES, network

from maxvit.cli import main
from maxvit.serve.client import Client, ServerError
from maxvit.serve.process import bind


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("serve") / "small.safetensors"
    network().save(path)
    return path


@contextmanager
def serving(checkpoint, log, *options):
    """The process and its port."""
    command = [sys.executable, "-m", "maxvit", "serve", str(checkpoint), "--port", "0", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with log.open("w") as errors, subprocess.Popen(command, stderr=errors, env=environment) as process:
        try:
            while not (found := re.search(r"serving on http://127\.0\.0\.1:(\d+)", log.read_text())):
                assert process.poll() is None, log.read_text()
                threading.Event().wait(0.05)
            yield process, int(found[1])
        finally:
            process.kill()


def status(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_at_sigterm_it_turns_unready_answers_what_it_has_in_hand_and_ends_with_0(checkpoint, tmp_path):
    data, log = encoded(), tmp_path / "log"
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(data)}\r\n\r\n"
    with serving(checkpoint, log, "--drain", "2") as (process, port):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(head.encode() + data[:100])
            assert status(port, "/ready") == 200
            process.send_signal(signal.SIGTERM)
            while (ready := status(port, "/ready")) == 200:  # until the signal is handled
                pass
            assert ready == 503
            while True:  # until it accepts no more
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=60).close()
                except ConnectionRefusedError:
                    break
                threading.Event().wait(0.1)
            assert process.poll() is None
            connection.sendall(data[100:])
            answer = b""
            while more := connection.recv(65536):
                answer += more
        assert answer.startswith(b"HTTP/1.1 200")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["results"][0]["prediction"]["classes"][0]["class"] in NAMES
        assert process.wait(60) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert {line["status"] for line in lines if line["path"] == "/ready"} == {200, 503}
    assert [line["level"] for line in lines if line["level"] != "info"] == []


@pytest.mark.full
def test_killed_under_load_every_client_gets_an_error_and_none_hangs(checkpoint, tmp_path):
    ends = []

    def client(port):
        try:
            while True:
                assert Client(f"http://127.0.0.1:{port}", timeout_s=60).predict(encoded())
        except ServerError as error:
            ends.append(str(error))

    with serving(checkpoint, tmp_path / "log") as (process, port):
        threads = [threading.Thread(target=client, args=(port,)) for _ in range(16)]
        for thread in threads:
            thread.start()
        threading.Event().wait(2)
        assert ends == []
        process.kill()
        for thread in threads:
            thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert len(ends) == 16


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["gone.safetensors"], "gone.safetensors does not exist"),
        (["a=x.safetensors", "a=y.safetensors"], "the name 'a' is empty, taken or has '/' in it"),
        (["=x.safetensors"], "the name '' is empty"),
        (["a/b=x.safetensors"], "the name 'a/b' is"),
        (["x", "--queue", "8"], "max_images is 32 and queue 8"),
        (["x", "--host", "no.such.host.invalid"], "cannot listen on no.such.host.invalid"),
        (["x", "--max-batch", "0"], "max-batch"),
    ],
)
def test_what_cannot_be_served_is_told_at_once(arguments, sentence, capsys):
    port = [] if "--host" in arguments else ["--port", "0"]
    assert main(["serve", *arguments, *port]) == 2
    assert sentence in capsys.readouterr().err


def test_a_port_that_is_taken_is_told(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "x", "--port", str(port)]) == 2
    assert f"cannot listen on 127.0.0.1, port {port}" in capsys.readouterr().err


def test_a_file_whose_name_has_an_equals_sign_is_found(tmp_path):
    from maxvit.cli.serve import _named

    path = tmp_path / "a=b.safetensors"
    path.touch()
    assert _named([str(path), f"c={path}"]) == {"a=b": [str(path)], "c": [str(path)]}


def test_the_socket_says_that_it_is_tcp_without_which_answers_would_wait_for_acknowledgements():
    with bind("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP
