"""Headless Chromium over its debugging protocol, through a pipe: no package, no port."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# it reads commands from file descriptor 3 and writes answers to 4
_START = (
    "import os, sys; [os.dup2(int(n), i) for i, n in enumerate(sys.argv[1:3], 3)]; os.execv(sys.argv[3], sys.argv[3:])"
)
_SETTINGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--remote-debugging-pipe",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


class Page:
    """One page.

    Attributes:
        requests: The addresses that it asked for.
        errors: What it wrote to its console as an error, or raised.
    """

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read, self._rest, self._ids = write, read, b"", itertools.count(1)
        self.requests: list[str] = []
        self.errors: list[str] = []
        target = self._call("Target.createTarget", session="", url="about:blank")["targetId"]
        self._session = ""
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self._call(f"{domain}.enable")

    def open(self, address: str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Go there, and wait until it is loaded."""
        phone = width < 600
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def prepend(self, script: str) -> None:
        """Run this in every page that is opened, before its own scripts."""
        self._call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def run(self, script: str) -> Any:
        """The value of an expression, awaited if it is a promise."""
        made = self._call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in made, made["exceptionDetails"]
        return made["result"].get("value")

    def wait(self, condition: str, seconds: float = 120) -> Any:
        """Until an expression is true; returns its value."""
        end = time.monotonic() + seconds
        while not (value := self.run(condition)):
            assert time.monotonic() < end, f"{condition} is not true after {seconds} s; {self.errors}"
            time.sleep(0.02)
        return value

    def choose(self, selector: str, *files: Path) -> None:
        """Give files to an input."""
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        node = self._call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._call("DOM.setFileInputFiles", nodeId=node, files=[str(file.resolve()) for file in files])

    def press(self, key: str) -> None:
        """Press and release a key."""
        text = {"Enter": "\r", " ": " "}.get(key)
        code = {"Enter": 13, " ": 32, "Tab": 9}.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self._call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)

    def picture(self, path: Path, whole: bool = True) -> None:
        """A screenshot as a PNG file."""
        made = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(made["data"]))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._ids)
        session = parameters.pop("session", None)
        message = {"id": number, "method": method, "params": parameters}
        if session is None and self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        for answer in self._messages():
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer)
        raise AssertionError("Chromium has ended")

    def _note(self, event: dict[str, Any]) -> None:
        what, said = event.get("method"), event.get("params", {})
        if what == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])
        elif what == "Runtime.exceptionThrown":
            self.errors.append(str(said["exceptionDetails"].get("exception", {}).get("description")))
        elif what == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.errors.append(said["entry"]["text"])
        elif what == "Runtime.consoleAPICalled" and said["type"] == "error":
            self.errors.append(" ".join(str(one.get("value")) for one in said["args"]))

    def _messages(self) -> Iterator[dict[str, Any]]:
        while True:
            while b"\0" in self._rest:
                one, _, self._rest = self._rest.partition(b"\0")
                yield json.loads(one)
            more = os.read(self._read, 1 << 20)
            if not more:
                return
            self._rest += more


@contextmanager
def browse() -> Iterator[Page]:
    """A browser with an empty profile, which ends with the block."""
    assert BROWSER
    given, taken = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        pair = [str(given[0]), str(taken[1])]
        command = [sys.executable, "-c", _START, *pair, BROWSER, *_SETTINGS, f"--user-data-dir={profile}"]
        process = subprocess.Popen(command, pass_fds=[given[0], taken[1]], stderr=subprocess.DEVNULL)
        os.close(given[0])
        os.close(taken[1])
        try:
            yield Page(given[1], taken[0])
        finally:
            os.close(given[1])  # at which it ends
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(taken[0])
