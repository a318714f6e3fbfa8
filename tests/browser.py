"""A headless Chromium over its debugging pipe: opens a page without a network, moves the pointer, and asks."""

import base64
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
)
KEYS = {"Enter": (13, "\r"), "ArrowLeft": (37, ""), "ArrowRight": (39, ""), "ArrowDown": (40, ""), "Tab": (9, "")}
SECONDS = 120  # until a page must have done what a test waits for
UNTIL = """new Promise((done, failed) => {
  const begun = performance.now();
  const look = () => (EXPRESSION) ? done() : performance.now() - begun > SECONDS * 1000 ? failed(Error("never")) : setTimeout(look, 10);
  look();
})"""
WAIT = "const look = () => (document.body?.dataset.ready ? done(1) : setTimeout(look, 5)); look();"


class Page:
    """One page, with its messages and requests since it was opened."""

    def __init__(self, source: BinaryIO, target: BinaryIO) -> None:
        self._source, self._target, self._last = source, target, 0
        self._session: dict[str, str] = {}
        self._opened = ""
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol; note what happens meanwhile."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters, **self._session}
        self._target.write(json.dumps(message).encode() + b"\0")
        self._target.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]

    def _read(self) -> dict[str, Any]:
        """Read one message."""
        whole = bytearray()
        while (byte := self._source.read(1)) != b"\0":
            assert byte, "the browser went away"
            whole += byte
        message: dict[str, Any] = json.loads(whole)
        method, parameters = message.get("method"), message.get("params", {})
        if message.get("sessionId") != self._session.get("sessionId"):  # of the page before, which is being closed
            return message
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.complaints.append(json.dumps(parameters))
        return message

    def open(
        self, address: str, width: int = 1280, height: int = 900, *, scheme: str = "light", wait: bool = True
    ) -> None:
        """Open an address in a window of a size in pixels, and wait until the page is ready."""
        last, self._session = self._opened, {}
        self._opened = self.call("Target.createTarget", url="about:blank")["targetId"]
        if last:  # what runs in it would go on
            self.call("Target.closeTarget", targetId=last)
        attached = self.call("Target.attachToTarget", targetId=self._opened, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=address)
        self.ask("globalThis.$ = (id) => document.getElementById(id)")
        if wait:
            self.ask(f"new Promise((done) => {{ {WAIT} }})")

    def ask(self, expression: str) -> Any:
        """Return what an expression (or promise) is worth in the page."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def point(self, x: float, y: float) -> None:
        """Move the pointer."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def drag(self, begin: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the pointer's button at one place and let it go at another."""
        for kind, (x, y) in (("mousePressed", begin), ("mouseMoved", end), ("mouseReleased", end)):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def until(self, expression: str) -> None:
        """Wait until an expression is true in the page."""
        self.ask(UNTIL.replace("EXPRESSION", expression).replace("SECONDS", str(SECONDS)))

    def click(self, x: float, y: float) -> None:
        """Press the pointer's button, and let it go."""
        self.drag((x, y), (x, y))

    def tap(self, x: float, y: float) -> None:
        """Touch the page with a finger."""
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def type(self, text: str) -> None:
        """Insert a text at the cursor, as if it were pasted."""
        self.call("Input.insertText", text=text)

    def key(self, name: str, *held: str) -> None:
        """Press a key by its name, such as ArrowRight, while others are held: Alt, Control, Shift."""
        modifiers = sum({"Alt": 1, "Control": 2, "Shift": 8}[each] for each in held)
        code, text = KEYS.get(name, (ord(name.upper()) if len(name) == 1 else 0, ""))
        shared = {"key": name, "modifiers": modifiers, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", **shared, **({"text": text} if text and not held else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **shared)

    def picture(self, path: Path) -> None:
        """Write the visible part as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """Start Chromium with an empty profile, and end it."""
    (read_by_it, write), (read, written_by_it) = os.pipe(), os.pipe()
    # It reads from descriptor 3 and writes to 4: neither of ours may be one of these.
    theirs = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 10) for each in (read_by_it, written_by_it)]
    places = [(os.POSIX_SPAWN_DUP2, theirs[0], 3), (os.POSIX_SPAWN_DUP2, theirs[1], 4)]
    quiet = (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)
    words = [str(BROWSER), *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
    process = os.posix_spawn(words[0], words, os.environ, file_actions=[*places, quiet])
    for each in (read_by_it, written_by_it, *theirs):
        os.close(each)
    with os.fdopen(read, "rb") as source, os.fdopen(write, "wb") as target:
        page = Page(source, target)
        try:
            yield page
        finally:
            page._session = {}
            page.call("Browser.close")
            os.waitpid(process, 0)
