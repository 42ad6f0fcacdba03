# SPDX-License-Identifier: GPL-2.0
"""Make .venv, or make it anew where it is not what this checkout needs.

    python3 hosts/venv.py

It takes a quarter of a second where nothing is to be done. Nothing but the
standard library is there yet, and perhaps an old Python: no import of the farm.
"""

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

OLDEST = (3, 11)
VERSION = "{}.{}".format(*sys.version_info)

#: In .venv, written last: what the environment was made of. Without it, it is half made.
READY = "ready"


def main() -> int:
    if sys.version_info < OLDEST:
        need = "{}.{}".format(*OLDEST)
        sys.stderr.write(f"{sys.executable} is Python {VERSION}, the farm needs {need}: make PYTHON=/path/to/python3\n")
        return 1
    checkout = Path(__file__).resolve().parent.parent
    # two `make` at once in one checkout: the second waits, and finds it made
    with open(checkout / "pyproject.toml", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        reason = trouble(checkout)
        return make(checkout, reason) if reason else 0


def trouble(checkout: Path) -> str:
    """Why the checkout's .venv cannot be used as it is; empty if it can."""
    venv = checkout / ".venv"
    if not os.path.lexists(venv):
        return "there is none"
    if not (venv / READY).is_file():
        return "it was not finished"
    if (venv / READY).read_text() != identity(checkout):
        return "the checkout was moved, or its dependencies or Python changed"
    if not os.access(venv / "bin" / "python", os.X_OK):
        return "its Python is gone"
    damaged = next(damages(venv), "")
    return f"{damaged} is damaged" if damaged else ""


def identity(checkout: Path) -> str:
    """What an environment is made of: the Python, the place, what is to be installed.

    A script in it begins with the place, and the farm in it is the checkout there.
    """
    import tomllib  # Python 3.11

    project = tomllib.loads((checkout / "pyproject.toml").read_text())
    wanted = repr([project["build-system"], project["project"]])
    parts = (str(interpreter()), VERSION, str(checkout), hashlib.sha256(wanted.encode()).hexdigest())
    return "".join(f"{part}\n" for part in parts)


def interpreter() -> Path:
    """The Python below all environments: the one that runs this may be .venv's own."""
    here = sys.prefix == sys.base_prefix
    python = Path(sys.executable) if here else Path(sys.base_prefix, "bin", f"python{VERSION}")
    return python.resolve()


def damages(venv: Path) -> Iterator[str]:
    """The files of an environment that are not there, or not as long as pip wrote them."""
    site = venv / "lib" / f"python{VERSION}" / "site-packages"
    records = sorted(site.glob("*.dist-info/RECORD"))
    if not any(record.parent.name.startswith("ftrace_farm-") for record in records):
        yield str(site)
    for record in records:
        for line in record.read_text().splitlines():
            name, _, size = line.rsplit(",", 2)
            if size:  # what Python writes itself has none
                path = os.path.join(site, name.strip('"'))
                if not os.path.isfile(path) or os.path.getsize(path) != int(size):
                    yield path


def make(checkout: Path, reason: str) -> int:
    venv, python, wanted = checkout / ".venv", interpreter(), identity(checkout)
    if os.path.lexists(venv):
        print(f"making .venv anew: {reason}", flush=True)
    if venv.is_symlink() or venv.is_file():
        venv.unlink()
    shutil.rmtree(venv, ignore_errors=True)
    pip = f"{venv}/bin/pip"
    install = [pip, "install", "--quiet", "--disable-pip-version-check", "--editable", f"{checkout}[dev]"]
    for command in ([str(python), "-m", "venv", str(venv)], install):
        try:
            status = subprocess.run(command, check=False).returncode
        except OSError as error:
            sys.stderr.write(f"{error}\n")
            status = 1
        if status:
            sys.stderr.write(f".venv was not made, this failed: {shlex.join(command)}\n")
            return 1
    partial = venv / "ready.partial"
    partial.write_text(wanted)
    partial.replace(venv / READY)
    return 0


if __name__ == "__main__":
    sys.exit(main())
