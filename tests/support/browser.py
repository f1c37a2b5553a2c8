"""Headless Chromium for the tests of pages, driven over the DevTools protocol (version 1.3)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from tests.support.debian import install

START_S, CALL_S = 60.0, 60.0
KEYS = {"Tab": 9, "Enter": 13}


def chromium() -> str:
    """Returns the path of Chromium; installs Debian's package where it is missing and apt needs no password.

    Raises RuntimeError where there is none: a test that needs a browser must not pass without one.
    """
    if found := shutil.which("chromium"):
        return found
    install(["chromium"])
    if found := shutil.which("chromium"):
        return found
    raise RuntimeError("the tests of pages need a browser: apt-get install chromium")


class Browser:
    """A running Chromium; `open` shows a file or an address at a size and a colour scheme."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._profile = tempfile.mkdtemp(prefix="pgcrucible-chromium-")
        self._process = subprocess.Popen(
            [
                chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--disable-background-networking", "--hide-scrollbars", "--remote-debugging-port=0",
                f"--user-data-dir={self._profile}", "about:blank",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def __enter__(self) -> Browser:
        try:
            self._runner.run(self._connect())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(Exception):
            self._runner.run(self._close())
        self._stop()

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=20)
        self._runner.close()
        shutil.rmtree(self._profile, ignore_errors=True)

    async def _connect(self) -> None:
        port_file = Path(self._profile) / "DevToolsActivePort"
        deadline = time.monotonic() + START_S
        while not (port_file.exists() and port_file.read_text().count("\n")):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Chromium did not start within {START_S:g} s")
            await asyncio.sleep(0.05)
        port = port_file.read_text().splitlines()[0]
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as response:
            (target,) = [one for one in await response.json() if one["type"] == "page"]
        self._socket = await self._session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0)
        self._number = 0
        self._events: list[Mapping[str, Any]] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self._call(f"{domain}.enable")

    async def _close(self) -> None:
        await self._socket.close()
        await self._session.close()

    async def _call(self, method: str, **params: Any) -> Mapping[str, Any]:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        return await self._until(lambda message: message.get("id") == self._number)

    async def _until(self, wanted: Any) -> Mapping[str, Any]:
        async with asyncio.timeout(CALL_S):
            while True:
                message = json.loads((await self._socket.receive()).data)
                if "method" in message:
                    self._events.append(message)
                if wanted(message):
                    if "error" in message:
                        raise RuntimeError(str(message["error"]))
                    return dict(message.get("result", message))

    def open(
        self, page: Path | str, *, width: int = 1280, height: int = 800, dark: bool = False, print_: bool = False
    ) -> None:
        """Shows a file or the page at an address; waits until it is loaded."""
        url = page if isinstance(page, str) else page.absolute().as_uri()
        self._runner.run(self._open(url, width, height, dark=dark, print_=print_))

    async def _open(self, url: str, width: int, height: int, *, dark: bool, print_: bool) -> None:
        await self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self._call("Emulation.setEmulatedMedia", media="print" if print_ else "screen", features=scheme)
        self._events.clear()
        await self._call("Page.navigate", url=url)
        await self._until(lambda message: message.get("method") == "Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """Returns the value of a JavaScript expression; the page's content policy does not bind it."""
        result = self._runner.run(self._call("Runtime.evaluate", expression=expression, returnByValue=True))
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def press(self, key: str) -> None:
        """Presses and releases a key."""
        code = KEYS[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self._runner.run(
                self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)
            )

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Writes a PNG of the window, or of the whole page."""
        result = self._runner.run(self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole))
        path.write_bytes(base64.b64decode(result["data"]))

    @property
    def errors(self) -> list[str]:
        """Errors in the console since the page was opened: scripts, content policy, files."""
        logged = [e["params"]["entry"] for e in self._events if e["method"] == "Log.entryAdded"]
        thrown = [str(e["params"]) for e in self._events if e["method"] == "Runtime.exceptionThrown"]
        called = [str(e["params"]["args"]) for e in self._events if e["method"] == "Runtime.consoleAPICalled"]
        return [*(f"{one['level']}: {one['text']}" for one in logged), *thrown, *called]

    @property
    def requests(self) -> list[str]:
        """Addresses that were requested since the page was opened."""
        sent = [e["params"]["request"]["url"] for e in self._events if e["method"] == "Network.requestWillBeSent"]
        return [str(url) for url in sent]


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Runs Chromium."""
    with Browser() as running:
        yield running
