"""A root of the newest stable Debian, for its nginx and HAProxy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

SUITE, RELEASE = "trixie", 13
PACKAGES = "base-files,libc-bin,bash,nginx-light,haproxy"  # ldd is a script of bash
# Present in the environment of the process that has its own mount namespace.
INSIDE = "AEGIS_PEERS_MOUNTS"


def with_own_mounts():
    """Restarts this program in its own mount namespace, which takes all mounts with it when it ends."""
    if INSIDE not in os.environ:
        words = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        os.execvpe(words[0], words, {**os.environ, INSIDE: "yes"})


def root(folder, work):
    """Makes the root in a folder, unless it is there, and mounts the work folder in it."""
    if not folder.exists():
        part = folder.with_name(folder.name + ".new")
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        # Only unpacked: no scripts of packages. That takes 20 s in place of 90.
        make = ["mmdebstrap", "--quiet", "--variant=extract", "--dpkgopt=force-unsafe-io", f"--include={PACKAGES}", SUITE, part]
        made = subprocess.run(make, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if made.returncode:
            sys.exit(f"no root of Debian {RELEASE}:\n{made.stdout}")
        (part / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (part / "etc/group").write_text("root:x:0:\n")
        subprocess.run(["ldconfig", "-r", part], check=True)
        part.rename(folder)
    for path in (Path("/dev"), Path("/proc"), work):
        inner = folder / path.relative_to("/")
        inner.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--rbind", path, inner], check=True)
    return folder
