# SPDX-License-Identifier: GPL-2.0
"""Every night: the units that systemd reads, the line that cron reads."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from farm import timer
from farm.base.errors import FarmError, UsageError


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program whose path has all that systemd would take for its own."""
    place = tmp_path / 'my $HOME %h "farm" \\n'
    place.mkdir()
    (place / "farm").write_text("#!/bin/sh\n")
    (place / "farm").chmod(0o755)
    return place / "farm"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this host has no systemd")
def test_systemd_takes_the_units(tmp_path: Path, program: Path) -> None:
    for name, text in timer.units(
        [str(program), "nightly", "--budget", "6h"], "01:30", {"PATH": "/usr/bin:/o$d %d"}
    ).items():
        (tmp_path / name).write_text(text)
    files = [str(tmp_path / f"{timer.NAME}.{kind}") for kind in ("service", "timer")]
    argv = ["systemd-analyze", "--user", "verify", "--man=no", *files]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120, env=environment)
    said = [line for line in done.stderr.splitlines() if timer.NAME in line]
    assert (done.returncode, said) == (0, []), done.stderr


def test_units_say_what_is_run() -> None:
    service, clock = timer.units(
        ["/a b/farm", "nightly", "50%", "$x"], "1:05", {"PATH": "/bin", "XDG_CACHE_HOME": "/c d"}
    ).values()
    assert 'ExecStart=/usr/bin/env "/a b/farm" "nightly" "50%%" "$$x"\n' in service
    assert 'Environment="PATH=/bin"\nEnvironment="XDG_CACHE_HOME=/c d"\n' in service
    assert "SuccessExitStatus=1\n" in service
    assert "Restart=on-abnormal\n" in service
    assert "OnCalendar=*-*-* 01:05:00\n" in clock


@pytest.mark.parametrize("at", ["24:00", "1:60", "1", "01:30:00", "", "٠١:٣٠", "01:30\n"])
def test_wrong_time(at: str) -> None:
    with pytest.raises(UsageError, match="the time must be HH:MM"):
        timer.units(["/farm"], at, {})
    with pytest.raises(UsageError, match="the time must be HH:MM"):
        timer.cron_line(["/farm"], at, {})


def test_name_that_would_be_another_line() -> None:
    with pytest.raises(UsageError, match="systemd cannot take such a name"):
        timer.units(["/farm\nUser=root"], "01:00", {})


def test_cron_line() -> None:
    line = timer.cron_line(["/a b/farm", "nightly", "50%"], "01:30", {"PATH": "/my bin"})
    assert line == "30 1 * * * /usr/bin/env 'PATH=/my bin' '/a b/farm' nightly 50\\%"


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the cache is goes along, and no secret does."""
    for name in timer.CARRIED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FTRACE_FARM_CACHE", "/big/disk")
    monkeypatch.setenv("FTRACE_FARM_SMTP_PASSWORD", "secret")
    assert timer.environment() == {"PATH": os.defpath, "FTRACE_FARM_CACHE": "/big/disk"}


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl and a loginctl that keep what they were asked for, and succeed."""
    script = tmp_path / "bin/systemctl"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    (script.parent / "loginctl").write_text(f"#!/bin/sh\ncat {tmp_path}/linger\n")
    (tmp_path / "linger").write_text("Linger=yes\n")
    for one in script.parent.iterdir():
        one.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return script


def test_install(tmp_path: Path, systemctl: Path) -> None:
    for at in ("01:00", "02:00"):
        assert timer.install(["/farm", "nightly"], at) == (tmp_path / "config/systemd/user", "")
    asked = (tmp_path / "asked").read_text().splitlines()
    enabled = f"--user enable --now {timer.NAME}.timer"
    assert asked == ["--user show-environment", "--user daemon-reload", enabled] * 2
    left = {path.name: path.read_text() for path in (tmp_path / "config/systemd/user").iterdir()}
    assert left == timer.units(["/farm", "nightly"], "02:00", timer.environment())


@pytest.mark.parametrize("answer", ["Linger=no\n", None])
def test_install_says_what_is_left_to_do(tmp_path: Path, systemctl: Path, answer: str | None) -> None:
    """A timer of a user who logs out does not go off."""
    (tmp_path / "linger").unlink()
    if answer:
        (tmp_path / "linger").write_text(answer)
    _, said = timer.install(["/farm", "nightly"], "01:00")
    assert re.search(r"only while you are logged in, unless you run `loginctl enable-linger \w+` once", said)


def test_install_without_systemd(tmp_path: Path, systemctl: Path) -> None:
    systemctl.write_text("#!/bin/sh\necho no bus >&2\nexit 1\n")
    with pytest.raises(FarmError, match=r"for cron, by `crontab -e`:\n0 1 \* \* \* /usr/bin/env .* /farm nightly$"):
        timer.install(["/farm", "nightly"], "01:00")
    assert not (tmp_path / "config").exists()
