"""The folder of one row: its socket directory, its processes, and aegis in front.

The users are as docs/systemd.md has them. The socket directory belongs to the group of services and is
setgid. aegis has its own user and is in that group, and so is the user of services.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))

from aegis_host import Aegis, generate, wait_until

RECIPES = Path(__file__).resolve().parent / "recipes"

# Neither has to exist in /etc/passwd.
AEGIS_ID = 61_000
SERVICES_GROUP = 61_001
SERVICE_ID = 61_002

# Recipes and documents name these.
SERVICES_FOLDER = "/run/aegis/services"
PYTHON = "/srv/app/venv/bin"


class Place:
    """A row's folder: services/ pki/, copies of recipes, and a log of each process."""

    def __init__(self, folder, common):
        self.folder, self.common, self.processes = Path(folder), common, []
        self.folder.mkdir()
        self.folder.chmod(0o755)
        self.services = self.folder / "services"
        self.services.mkdir()
        os.chown(self.services, 0, SERVICES_GROUP)
        self.services.chmod(0o3770)
        # As RuntimeDirectory= of a unit.
        self.runtime = self.folder / "runtime"
        self.runtime.mkdir()
        os.chown(self.runtime, SERVICE_ID, SERVICES_GROUP)
        self.runtime.chmod(0o755)

    def socket(self, name):
        return self.services / f"{name}.sock"

    def recipe(self, name):
        """A copy of a recipe with this row's paths in it."""
        text = (RECIPES / name).read_text()
        for written, real in ((SERVICES_FOLDER, self.services), (PYTHON, self.common.venv / "bin"), ("/srv/app", self.folder),
                              ("/run/app", self.runtime)):  # fmt: skip
            text = text.replace(written, str(real))
        copy = self.folder / name
        copy.write_text(text)
        copy.chmod(0o755)
        return copy

    def start(self, *command, root=False, group=SERVICE_ID, umask=0o007, stdin=subprocess.DEVNULL, **environment):
        """Starts a process in the background: as a service, with UMask=0007, or as root."""
        user = {} if root else {"user": SERVICE_ID, "group": group, "extra_groups": [SERVICES_GROUP]}
        command = [str(argument) for argument in command]
        # SIGPIPE stays ignored, as systemd leaves it (IgnoreSIGPIPE=).
        with self.log_file(Path(command[0]).name).open("wb") as log:
            process = subprocess.Popen(command, stdin=stdin, stdout=log, stderr=log, cwd=self.folder, umask=umask, start_new_session=True,
                                       restore_signals=False, env={**self.environment(), **environment}, **user)  # fmt: skip
        self.processes.append(process)
        return process

    def log_file(self, name):
        return self.folder / f"{len(self.processes)}-{name}.out"

    def environment(self):
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TZ")}
        # No recipe may read or write what belongs to this checkout.
        return {**kept, "HOME": str(self.runtime), "PYTHONDONTWRITEBYTECODE": "1", "NODE_PATH": str(self.common.node_modules)}

    def socket_unit(self, name, *command, options=(), **how):
        """Starts a program as a .socket unit with SocketGroup=aegis and SocketMode=0660 does: root listens."""
        return self.socket_unit_at(self.socket(name), *command, options=options, **how)

    def socket_unit_at(self, path, *command, options=(), **how):
        run_as = ["setpriv", "--reuid", SERVICE_ID, "--regid", SERVICE_ID, "--clear-groups"]
        process = self.start("systemd-socket-activate", *options, "-l", path, *run_as, *command, root=True, **how)
        wait_until(f"{path.name} listens", lambda: is_bound(path))
        os.chown(path, 0, AEGIS_ID)
        path.chmod(0o660)
        return process

    def wait_for(self, path):
        """Waits until something accepts connections on a socket."""

        def is_listening():
            for process in self.processes:
                if process.poll() not in (None, 0):
                    raise RuntimeError(f"{process.args[0]} ended with {process.returncode}: {self.logs()}")
            return path.exists() and (is_bound(path) or accepts(path))

        wait_until(f"{path.name} listens", is_listening, 30)

    def aegis(self, more=""):
        """aegis in front of the socket directory, as its own user."""
        pki = self.folder / "pki"
        if not pki.exists():
            shutil.copytree(self.common.pki, pki)
            for file in [pki, *pki.iterdir()]:
                os.chown(file, AEGIS_ID, AEGIS_ID)
        front = self.folder / "aegis"
        front.mkdir(exist_ok=True)
        os.chown(front, AEGIS_ID, AEGIS_ID)
        return UnprivilegedAegis(front, more, binary=self.common.binary, pki=pki, services=self.services, before=become_aegis)

    def logs(self):
        parts = []
        for log in [*sorted(self.folder.glob("*.out")), self.folder / "aegis/log"]:
            with contextlib.suppress(OSError):
                lines = log.read_text(errors="replace").splitlines()
                parts += [f"-- {log.name}", *(line[:600] for line in lines[-6:])]
        return "\n".join(parts)

    def close(self):
        """Ends what was started here, with the processes that it started."""
        for process in self.processes:
            signal_group(process, signal.SIGTERM)
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(3)
            signal_group(process, signal.SIGKILL)
            process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class UnprivilegedAegis(Aegis):
    def notified(self):
        path = super().notified()
        os.chmod(path, 0o777)
        return path


def become_aegis():
    os.setgroups([SERVICES_GROUP])
    os.setgid(AEGIS_ID)
    os.setuid(AEGIS_ID)


def signal_group(process, number):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def accepts(path):
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as stream:
        stream.connect(str(path))
        return True
    return False


def is_bound(path):
    """Whether a Unix socket was bound there and listens. Connecting would start what waits for a connection."""
    for line in Path("/proc/net/unix").read_text().splitlines():
        fields = line.split()
        # __SO_ACCEPTCON: the socket listens.
        if fields[-1] == str(path) and int(fields[3], 16) & 0x10000:
            return True
    return False


class Common:
    """What all rows share: the binary, a PKI, and the installed packages."""

    def __init__(self, work, binary, cache):
        work.chmod(0o755)
        self.work, self.binary, self.pki = work, work / "aegis-binary", work / "pki"
        self.venv, self.node_modules = cache / "venv", cache / "node/node_modules"
        # The checkout may be in a folder that only root can enter.
        shutil.copy(binary, self.binary)
        self.binary.chmod(0o755)
        generate(self.pki)
