# SPDX-License-Identifier: MIT
"""A headless Chromium, spoken to over a pipe by the DevTools protocol: opens a page without any network, tells its errors, asks its DOM, takes pictures."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# The protocol's pipes have to be 3 and 4. Copies first, so that neither overwrites the other; not in this process, which has its own 3 and 4.
ENDS = ("import os, sys; a, b = os.dup2(int(sys.argv[1]), 103), os.dup2(int(sys.argv[2]), 104); os.dup2(a, 3); os.dup2(b, 4);"
        " os.close(a); os.close(b); os.execvp(sys.argv[3], sys.argv[3:])")
SECONDS = 120  # for one answer: a first start on a busy machine takes its time


def find():
    """The browser's path, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class BrowserError(Exception):
    """It did not start, did not answer, or answered with an error."""


class Browser:
    """`with Browser() as b: b.open(url)`. errors: what the page and the browser complained of, requests that leave the machine among them."""

    def __init__(self):
        self.errors, self.events, self.number, self.rest = [], [], 0, b""
        self.home = tempfile.mkdtemp(prefix="drover-browser-")
        here, there = os.pipe(), os.pipe()  # to it, from it
        self.to, self.back = here[1], there[0]
        argv = [find() or "chromium", "--headless=new", "--remote-debugging-pipe", "--user-data-dir=" + self.home, "--no-first-run", "--disable-gpu",
                "--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking", "--disable-component-update",
                "--no-default-browser-check", "--hide-scrollbars", "about:blank"]
        if os.geteuid() == 0:
            argv.insert(1, "--no-sandbox")  # its sandbox refuses to be root's
        self.log = open(os.path.join(self.home, "log"), "wb")
        self.process = subprocess.Popen([sys.executable, "-c", ENDS, str(here[0]), str(there[1]), *argv], stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log, pass_fds=(here[0], there[1]), start_new_session=True)
        os.close(here[0])
        os.close(there[1])
        self.session = None

    def __enter__(self):
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(domain + ".enable")
        return self

    def __exit__(self, *_):
        try:
            self.session = None
            self.ask("Browser.close")
        except (BrowserError, OSError):
            pass
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.to)
        os.close(self.back)
        self.log.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def read(self, until):
        """The next message."""
        while b"\0" not in self.rest:
            if not select.select([self.back], [], [], max(0, until - time.monotonic()))[0]:
                raise BrowserError("no answer within %d s" % SECONDS)
            data = os.read(self.back, 1 << 16)
            if not data:
                with open(self.log.name, "rb") as said:
                    raise BrowserError("the browser has gone: %s" % said.read()[-400:].decode("utf-8", "replace"))
            self.rest += data
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def ask(self, method, **params):
        """A command's result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + SECONDS
        while True:
            answer = self.read(until)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise BrowserError("%s: %s" % (method, answer["error"].get("message")))
                return answer["result"]
            self.note(answer)

    def note(self, event):
        """Keeps what an event says that matters."""
        name, params = event.get("method", ""), event.get("params", {})
        self.events.append(name)
        if name == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append("exception: %s %s" % (details.get("text"), details.get("exception", {}).get("description", "")))
        elif name == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append("log: %s" % params["entry"]["text"])
        elif name == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append("console: %s" % [a.get("value") for a in params["args"]])
        elif name == "Network.requestWillBeSent" and not params["request"]["url"].startswith(("file:", "data:", "about:")):
            self.errors.append("request: %s" % params["request"]["url"])
        elif name == "Network.loadingFailed":
            self.errors.append("failed: %s" % params.get("errorText"))

    def open(self, url, width=1400, height=1000, scheme="light"):
        """Opens a page and waits until it is there. scheme: light or dark."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        failed = self.ask("Page.navigate", url=url).get("errorText")
        if failed:
            raise BrowserError("%s: %s" % (url, failed))
        until = time.monotonic() + SECONDS
        while "Page.loadEventFired" not in self.events:
            self.note(self.read(until))

    def value(self, expression):
        """A JavaScript expression's value."""
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise BrowserError("%s: %s" % (expression, result["exceptionDetails"].get("exception", {}).get("description")))
        return result["result"].get("value")

    def picture(self, path, selector=None):
        """A PNG of what is visible, or of one element and what belongs to it."""
        params = {}
        if selector:
            box = self.value("(() => { const r = document.querySelector(%s).getBoundingClientRect(); return {x: r.x + scrollX, y: r.y + scrollY,"
                             " width: r.width, height: Math.min(r.height, 2000)}; })()" % json.dumps(selector))
            params = {"clip": dict(box, scale=1), "captureBeyondViewport": True}
        with open(path, "wb") as out:
            out.write(base64.b64decode(self.ask("Page.captureScreenshot", format="png", **params)["data"]))
