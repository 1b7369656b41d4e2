"""A real Chromium, spoken to through a pipe: no port is open, and nothing is installed for it."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

__all__ = ["Browser", "chromium"]

_PATIENCE_SECONDS = 60
# The browser reads commands from descriptor 3 and answers on 4.
_HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium() -> str | None:
    """Where the program is; None: there is none."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Browser:
    """One page in a headless browser.

    Attributes:
        complaints: What the console said as a warning or an error, what raised, and every request that
            was refused.
        requests: What the page asked for.
    """

    def __init__(self, program: str) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._program = program
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._events: list[Mapping[str, Any]] = []

    def __enter__(self) -> Self:
        self._folder = TemporaryDirectory(prefix="certload-chromium-", ignore_cleanup_errors=True)
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()

        self._process = subprocess.Popen(
            [
                sys.executable, "-S", "-c", _HAND_OVER, str(theirs_in), str(theirs_out),
                self._program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                "--disable-dev-shm-usage", "--disable-background-networking", "--disable-extensions",
                "--hide-scrollbars", "--force-color-profile=srgb", "--remote-debugging-pipe",
                # Else a key that is pressed before the first picture is there is lost.
                "--allow-pre-commit-input",
                f"--user-data-dir={self._folder.name}", "about:blank",
            ],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # What it makes elsewhere goes with the folder, too.
            env={**os.environ, "TMPDIR": self._folder.name},
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._out, self._in = ours_out, ours_in
        self._session: str | None = None
        try:
            self._attach()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _attach(self) -> None:
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session = None
        with suppress(OSError, EOFError):
            self._call("Browser.close")
        os.close(self._out)
        os.close(self._in)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # Its helpers may still write for a moment.
        deadline = time.monotonic() + 60
        while os.path.lexists(self._folder.name):
            assert time.monotonic() < deadline, f"{self._folder.name} cannot be removed"
            self._folder.cleanup()

    def open(
        self,
        file: Path,
        *,
        width: int = 1280,
        height: int = 900,
        scheme: str = "light",
        scripts: bool = True,
    ) -> None:
        """Load a file, and wait until it is there."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        self._call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self._call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        self.complaints.clear()
        self.requests.clear()
        self._events.clear()
        self._call("Page.navigate", url=file.resolve().as_uri())
        self._wait_for("Page.loadEventFired")
        self._call("Runtime.evaluate", expression="0")  # fmt: skip

    def ask(self, expression: str) -> Any:
        """What an expression comes to in the page.

        Raises:
            AssertionError: It raised.
        """
        answer = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def move_to(self, x: float, y: float) -> None:
        """Move the mouse, in pixels of the page as it is scrolled."""
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key: str) -> None:
        """Press a key, such as ``ArrowRight``."""
        self._call("Input.dispatchKeyEvent", type="keyDown", key=key)
        self._call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def shoot(self, file: Path, *, whole: bool = True) -> None:
        """Save what is to be seen as a PNG."""
        answer = self._call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=whole,
            **({"clip": {**self._size(), "x": 0, "y": 0, "scale": 1}} if whole else {}),
        )  # fmt: skip
        file.write_bytes(base64.b64decode(answer["data"]))

    def print_to(self, file: Path) -> None:
        """Save the page as a PDF."""
        answer = self._call("Page.printToPDF", printBackground=True)
        file.write_bytes(base64.b64decode(answer["data"]))

    def _size(self) -> dict[str, float]:
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        return {"width": size["width"], "height": min(size["height"], 16_000)}

    def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, object] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        while True:
            answer = self._read()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _wait_for(self, event: str) -> None:
        while not any(seen["method"] == event for seen in self._events):
            self._note(self._read())

    def _note(self, event: Mapping[str, Any]) -> None:
        self._events.append(event)
        about = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.complaints.append(str(about["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if about["type"] in ("error", "warning", "assert"):
                self.complaints.append(str(about["args"]))
            case "Log.entryAdded" if about["entry"]["level"] in ("error", "warning"):
                self.complaints.append(about["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(about["request"]["url"])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], _PATIENCE_SECONDS)[0]:
                self._process.kill()
                raise TimeoutError("Chromium does not answer")
            data = os.read(self._in, 1 << 20)
            if not data:
                raise EOFError("Chromium ended")
            self._buffer += data
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        return message
