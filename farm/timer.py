# SPDX-License-Identifier: GPL-2.0
"""Running the farm every night: units for the user's own systemd, or a line for cron."""

import getpass
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from farm.base import atomic
from farm.base.command import run
from farm.base.errors import Exit, FarmError, UsageError

NAME = "ftrace-farm-nightly"

#: How long systemd may take to answer, in seconds.
SYSTEMCTL_SECONDS = 60

#: The variables that say where things are. The timer's environment lacks them, so its unit sets them.
#: No secrets are among them.
CARRIED = ("PATH", "FTRACE_FARM_CACHE", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")


def environment() -> dict[str, str]:
    """Where this shell's farm finds its tools, its cache and its configuration."""
    return {"PATH": os.defpath} | {name: os.environ[name] for name in CARRIED if os.environ.get(name)}


def units(command: Sequence[str], at: str, carried: Mapping[str, str]) -> dict[str, str]:
    """The files of the service and its timer, by name. `at` is HH:MM of this host's clock, and
    `carried` is the environment for the farm. Raises UsageError."""
    hour, minute = _time(at)
    lines = "".join(f"Environment={_quoted(f'{name}={value}', expanded=False)}\n" for name, value in carried.items())
    service = f"""\
[Unit]
Description=ftrace farm: what changed since yesterday
StartLimitIntervalSec=1d
StartLimitBurst=5

[Service]
Type=oneshot
# by env: systemd allows no quotes and dollar signs in the name of the program itself
ExecStart=/usr/bin/env {" ".join(map(_quoted, command))}
{lines}# a kernel that failed something is a result, not a failure of the service
SuccessExitStatus={int(Exit.KERNEL)}
TimeoutStartSec=infinity
# after a kill it continues where it was; the farm itself reports a guest that ran out of the host's memory
Restart=on-abnormal
RestartSec=60
OOMPolicy=continue
# the farm ends its guests itself; systemd kills what is left after that
KillMode=mixed
TimeoutStopSec=60
Nice=10
"""
    timer = f"""\
[Unit]
Description=ftrace farm, every night

[Timer]
OnCalendar=*-*-* {hour:02}:{minute:02}:00
# if the host was off at that time, the night starts later
Persistent=true

[Install]
WantedBy=timers.target
"""
    return {f"{NAME}.service": service, f"{NAME}.timer": timer}


def _time(at: str) -> tuple[int, int]:
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", at, re.ASCII)
    if not match:
        raise UsageError(f"--at {at!r}: the time must be HH:MM, 00:00 to 23:59")
    return int(match[1]), int(match[2])


def _quoted(word: str, expanded: bool = True) -> str:
    """A word quoted for systemd, so that nothing in it is expanded. Variables are `expanded` only
    in a command."""
    if not word.isprintable():
        raise UsageError(f"{word!r}: systemd cannot take such a name; move the farm")
    coded = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    coded = coded.replace("$", "$$") if expanded else coded
    return f'"{coded}"'


def cron_line(command: Sequence[str], at: str, carried: Mapping[str, str]) -> str:
    """The line for `crontab -e`. Raises UsageError."""
    hour, minute = _time(at)
    words = ["/usr/bin/env", *(f"{name}={value}" for name, value in carried.items()), *command]
    # for cron, a percent sign ends the line
    return f"{minute} {hour} * * * {shlex.join(words)}".replace("%", "\\%")


def install(command: Sequence[str], at: str) -> tuple[Path, str]:
    """Install and start the timer in the user's systemd. Returns where its files are, and what is left
    to do. A second call replaces the files. Raises UsageError, and FarmError with the line for cron if
    the user has no systemd."""
    carried = environment()
    files = units(command, at, carried)
    configuration = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    directory = configuration / "systemd/user"
    systemctl = ["systemctl", "--user"]
    try:
        run([*systemctl, "show-environment"], timeout=SYSTEMCTL_SECONDS)
    except FarmError as error:
        line = cron_line(command, at, carried)
        raise FarmError(f"no systemd of yours answers; for cron, by `crontab -e`:\n{line}") from error
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            atomic.write(directory / name, text)
    except OSError as error:
        raise FarmError(f"{directory}: {error.strerror}") from error
    run([*systemctl, "daemon-reload"], timeout=SYSTEMCTL_SECONDS)
    run([*systemctl, "enable", "--now", f"{NAME}.timer"], timeout=SYSTEMCTL_SECONDS)
    return directory, _alone()


def _alone() -> str:
    """What to do so that the timer starts while its user is not logged in; empty if nothing is left to do."""
    user = getpass.getuser()
    try:
        lingers = run(["loginctl", "show-user", user, "--property=Linger"], timeout=SYSTEMCTL_SECONDS)
    except FarmError:
        lingers = ""
    if lingers.strip() == "Linger=yes":
        return ""
    return f"; it runs only while you are logged in, unless you run `loginctl enable-linger {user}` once"
