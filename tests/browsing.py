"""A real browser, driven over the pipe that Chromium has for it: no package, no port."""

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import time

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
QUIET_BROWSER = ("--disable-background-networking", "--disable-component-update", "--no-first-run", "--disable-sync")
PHONE = (390, 844)


class Tab:
    """One page of a browser; `asked` are the addresses that it asked for, `faults` what scripts complained of."""

    def __init__(self, process):
        self._process, self._numbers, self._session = process, itertools.count(1), None
        self.asked, self.faults = [], []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method, **params):
        """Send a command of the DevTools protocol; return its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        self._process.stdin.flush()
        while True:
            read = self._read()
            if read.get("id") == number:
                assert "error" not in read, (method, read["error"])
                return read["result"]
            self._note(read)

    def _read(self):
        read = bytearray()
        while not read.endswith(b"\0"):
            one = self._process.stdout.read(1)
            assert one, "the browser has ended"
            read += one
        return json.loads(read[:-1])

    def _note(self, event):
        params = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.faults.append(json.dumps(params["exceptionDetails"])[:500])
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.faults.append(params["entry"]["text"] + " " + params["entry"].get("url", ""))

    def open(self, url, width, height):
        self.size(width, height)
        self.send("Page.navigate", url=url)

    def size(self, width, height):
        shape = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}
        self.send("Emulation.setDeviceMetricsOverride", **shape)

    def run(self, script):
        """Return the value of an expression."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, script, seconds=30):
        """Wait until an expression is true."""
        until = time.monotonic() + seconds
        while not self.run(f"Boolean({script})"):
            assert time.monotonic() < until, (script, self.run("document.body.innerText")[-2000:], self.faults)
            time.sleep(0.05)

    def upload(self, selector, *paths):
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def picture(self, path):
        taken = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))


@contextlib.contextmanager
def browser(folder):
    """Start a browser with a profile of its own; yield its tab."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}", *QUIET_BROWSER]
    command = ["sh", "-c", 'exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1', CHROMIUM]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*command, *options, "--remote-debugging-pipe"], **pipes) as process:
        try:
            yield Tab(process)
        finally:
            process.kill()
