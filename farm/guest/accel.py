# SPDX-License-Identifier: GPL-2.0
"""Which accelerator runs guests here: proved, not assumed.

/dev/kvm may exist, open, create a machine and even run a few instructions, and
still boot no kernel. So three things decide, from cheap to certain: whether
guests may open the device, whether the smallest possible guest runs in it, and
whether earlier kernels booted in it (farm.guest.start). The last answer is kept,
with reason and time, until the host reboots or the device changes.
"""

import grp
import json
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from farm.arch import HOST, Architecture
from farm.base import cache
from farm.base.atomic import save_json
from farm.base.command import echo, leashed
from farm.base.errors import FarmError
from farm.guest import privileges, qemu

DEVICE = Path("/dev/kvm")

#: A second is long for twelve bytes of machine code, but a loaded host may need more.
PROBE_SECONDS = 5.0


@dataclass(frozen=True)
class Accelerator:
    """`name` is kvm or tcg; `reason` says in words why it was chosen."""

    name: str
    reason: str


@dataclass(frozen=True)
class Experience:
    """What earlier guests under KVM have shown: whether they run, how that is known, and since when.
    `guest` describes the guest that was booted, to try it again; empty if there was none."""

    works: bool
    reason: str
    when: str
    guest: dict[str, Any] = field(default_factory=dict)


def choose(wish: str) -> Accelerator:
    """The accelerator for `auto`, `kvm` or `tcg`. FarmError if KVM was requested and does not run guests."""
    if wish == "tcg":
        return Accelerator("tcg", "asked for")
    trouble = _trouble()
    if not trouble:
        known = experience()
        return Accelerator("kvm", f"{known.reason}, {known.when}" if known else "no kernel has run in it yet")
    if wish == "kvm":
        raise FarmError(f"--accel kvm: KVM does not work here: {trouble}; --accel tcg does, slower")
    return Accelerator("tcg", f"no KVM: {trouble}")


def of_guest(chosen: str, arch: Architecture) -> str:
    """The accelerator for a guest, if `chosen` is that of the run: TCG for any but the host's architecture."""
    return chosen if arch == HOST else "tcg"


def experience() -> Experience | None:
    """What is known of this host's KVM since it booted; None if nothing is."""
    try:
        return Experience(**json.loads(_record().read_text()))
    except (OSError, ValueError, TypeError):
        return None  # a crash may have left half a file: find out again


def trust(what: str, guest: dict[str, Any] | None = None) -> None:
    """Remember that a guest ran under KVM."""
    _remember(Experience(True, what, _now(), guest or {}))


def distrust(why: str, guest: dict[str, Any] | None = None) -> None:
    """Remember that this host's KVM does not run guests, and why."""
    _remember(Experience(False, why, _now(), guest or {}))


def forget() -> None:
    """Let the next guest find out again."""
    if DEVICE.exists():
        _record().unlink(missing_ok=True)


def _trouble() -> str:
    """Why guests cannot run under KVM; empty as far as is known without a kernel."""
    if HOST is None:  # KVM runs guests of the host's own architecture
        return f"no cell is of this host's architecture, {platform.machine()}"
    if not DEVICE.exists():
        return (
            f"there is no {DEVICE}; load its module (sudo modprobe kvm_intel, or kvm_amd); "
            "a virtual machine's host must allow nested guests"
        )
    if experience() is None and (trouble := probe("kvm", HOST)):
        if "Permission denied" in trouble:  # not remembered: the user can repair it at once
            return f"guests cannot open {DEVICE}; {_permission()}"
        distrust(trouble)
    known = experience()
    return "" if known is None or known.works else f"{known.reason} ({known.when}); `farm doctor` tries it again"


def _permission() -> str:
    """What to do for guests to open the device. The farm never changes it."""
    status = DEVICE.stat()
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    if group == "kvm" and status.st_mode & 0o060 == 0o060 and os.geteuid() != 0:
        return f"join its group (sudo adduser $USER {group}) and log in again"
    return (
        f"it is {stat.filemode(status.st_mode)} with the group {group}, and they run in the group kvm: "
        f"sudo chgrp kvm {DEVICE} && sudo chmod 660 {DEVICE}"
    )


def _record() -> Path:
    """Where the experience is kept: for this boot of the host, this QEMU, this user and
    the present state of the device, permissions included."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    binary = (shutil.which(HOST.qemu) if HOST else "") or ""
    device = DEVICE.stat()
    made_of = (device.st_rdev, device.st_mode, device.st_uid, device.st_gid, device.st_ino, device.st_ctime_ns)
    who = (os.geteuid(), *sorted(os.getgroups()))
    return cache.root() / "kvm" / f"{cache.digest(boot, binary, repr(made_of), repr(who))}.json"


def _remember(known: Experience) -> None:
    try:
        cache.hold()
        _record().parent.mkdir(parents=True, exist_ok=True)
        save_json(_record(), asdict(known))
    except (OSError, FarmError):
        pass  # the next farm finds out again


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def probe(accelerator: str, arch: Architecture) -> str:
    """Run the smallest possible guest in the way of all guests. Empty if it ran, else what went wrong."""
    with tempfile.TemporaryFile() as firmware:
        firmware.write(arch.probe.firmware)
        firmware.flush()
        os.fchmod(firmware.fileno(), 0o644)  # the user nobody must read it too
        argv = [arch.qemu, "-M", arch.machine, *qemu.accelerator(accelerator, arch), "-m", "16M"]
        argv += ["-no-user-config", "-nodefaults", "-no-reboot", "-display", "none"]
        argv += ["-bios", f"/proc/self/fd/{firmware.fileno()}", *arch.probe.options]
        echo(argv)
        try:
            done = subprocess.run(
                leashed(argv, "KILL", *privileges.dropped()),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PROBE_SECONDS,
                check=False,
                pass_fds=[firmware.fileno()],
            )
        except FileNotFoundError as error:
            raise FarmError(f"{error.filename}: no such command; see `farm doctor`") from error
        except subprocess.TimeoutExpired:
            return f"a guest was created but did not run an instruction within {PROBE_SECONDS:.0f} s"
    if (done.returncode, done.stdout) == (arch.probe.status, arch.probe.says):
        return ""
    said = done.stderr.decode(errors="replace").strip().splitlines()
    if done.returncode == 127 and said and f"failed to execute {arch.qemu}" in said[-1]:  # setpriv's words
        raise FarmError(f"{arch.qemu}: no such command; see `farm doctor`")
    # QEMU's first line is the cause; its last line says what it gave up
    return f"QEMU exited with {done.returncode}" + (f": {said[0]}" if said else "")
