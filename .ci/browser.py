"""Headless Chromium, driven over a pair of pipes (the DevTools protocol), without a port or a library."""

import atexit
import base64
import fcntl
import json
import os
import select
import signal
import subprocess
import time

PROGRAM = "chromium"
FLAGS = [
    "--headless",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
]
# Without this setting, Chromium asks which certificate to send. The policy
# AutoSelectCertificateForUrls is for a whole machine, in /etc; this one is for a profile.
PREFERENCES = {"profile": {"content_settings": {"exceptions": {"auto_select_certificate": {
    "https://127.0.0.1,*": {"setting": {"filters": [{}]}},
}}}}}
PATIENCE = 20


def store_certificates(home, pki, client):
    """Creates the NSS database of Chromium: one CA, one client certificate."""
    database = os.path.join(home, ".pki", "nssdb")
    os.makedirs(database)
    at = ["-d", f"sql:{database}"]
    bundle = os.path.join(home, "client.p12")
    for command in (
        ["certutil", *at, "-N", "--empty-password"],
        ["certutil", *at, "-A", "-n", "ca", "-t", "C,,", "-i", f"{pki}/ca.pem"],
        ["openssl", "pkcs12", "-export", "-passout", "pass:", "-name", client, "-out", bundle,
         "-in", f"{pki}/{client}.pem", "-inkey", f"{pki}/{client}.key"],
        ["pk12util", *at, "-i", bundle, "-W", ""],
    ):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)


class Browser:
    """One Chromium with one tab."""

    def __init__(self, home):
        environment = {**os.environ, "HOME": home}
        for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
            environment.pop(name, None)
        flags = [*FLAGS, f"--user-data-dir={home}/profile"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")
        profile = f"{home}/profile/Default"
        os.makedirs(profile)
        with open(f"{profile}/Preferences", "w", encoding="utf-8") as file:
            json.dump(PREFERENCES, file)
        theirs_in, self.to = os.pipe()
        self.come, theirs_out = os.pipe()
        # Chromium reads from descriptor 3 and writes to 4, so ours must be others first.
        handed = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out)]
        self.log = open(os.path.join(home, "chromium.log"), "w+b")
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{handed[0]} 4>&{handed[1]}', "bash",
             PROGRAM, *flags, "about:blank"],
            env=environment, pass_fds=handed, stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log, start_new_session=True,
        )
        atexit.register(self.kill)
        for end in (theirs_in, theirs_out, *handed):
            os.close(end)
        self.buffer, self.number, self.events, self.session = b"", 0, [], None
        page = next(
            target for target in self.ask("Target.getTargets")["targetInfos"]
            if target["type"] == "page"
        )
        attach = self.ask("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = attach["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Audits"):
            self.ask(f"{domain}.enable")
        self.ask("Emulation.setFocusEmulationEnabled", enabled=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.log.close()
        os.close(self.to)
        os.close(self.come)

    def kill(self):
        if self.process.poll() is None:
            # Chromium has its own process group.
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def ask(self, method, **params):
        """Sends a command and returns its result. Keeps events that arrive meanwhile in `events`."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.to, data):]
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self.receive(deadline, method)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def receive(self, deadline, awaited):
        while b"\0" not in self.buffer:
            left = max(0, deadline - time.monotonic())
            if not select.select([self.come], [], [], left)[0]:
                raise TimeoutError(f"Chromium: no {awaited} in time")
            more = os.read(self.come, 1 << 16)
            if not more:
                self.log.seek(0)
                log = self.log.read()[-2000:].decode(errors="replace")
                raise EOFError(f"Chromium has ended; its log:\n{log}")
            self.buffer += more
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def open(self, url):
        """Loads a page completely."""
        self.events.clear()
        failed = self.ask("Page.navigate", url=url).get("errorText")
        if failed:
            raise RuntimeError(f"{url}: {failed}")
        deadline = time.monotonic() + PATIENCE
        while not self.happened("Page.loadEventFired"):
            self.events.append(self.receive(deadline, "Page.loadEventFired"))

    def happened(self, method):
        """The parameters of each event of that name since the page was opened."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def complaints(self):
        """The messages of the console and the issues tab since the page was opened."""
        self.ask("Runtime.evaluate", expression="0")  # what was on its way has come
        entries = [event["entry"]["text"] for event in self.happened("Log.entryAdded")]
        called = [str(event["args"]) for event in self.happened("Runtime.consoleAPICalled")]
        issues = [str(event["issue"]) for event in self.happened("Audits.issueAdded")]
        return entries + called + issues

    def look(self, width, scheme, mobile=False):
        """Sets the width of the screen in CSS pixels, and a light or a dark scheme."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=844,
                 deviceScaleFactor=1, mobile=mobile)
        self.ask("Emulation.setEmulatedMedia",
                 features=[{"name": "prefers-color-scheme", "value": scheme}])

    def run(self, script):
        """The value of an expression of the page."""
        result = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"])
        return result["result"].get("value")

    def press(self, key, code):
        for kind in ("rawKeyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                     windowsVirtualKeyCode=code)

    def picture(self, path, whole=True):
        """Writes a picture of the whole page, or of its first screen."""
        self.run("scrollTo(0, 0)")
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))
