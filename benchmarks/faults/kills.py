# SPDX-License-Identifier: GPL-2.0
"""SIGKILL of each process of a run, at moments drawn from the time for which an undisturbed run has it."""

import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults import processes
from benchmarks.faults.ground import LIMIT, Ground, run_directory, troubles
from benchmarks.faults.outcome import Point, Row, Verdicts, differing, lost, repeat, say, verdicts
from benchmarks.faults.processes import Process
from farm.base.deadline import Deadline
from farm.base.errors import Blamed
from farm.guest.image import Keys
from farm.guest.ssh import Connection
from farm.record import records
from farm.record.verdict import Verdict

#: What a test may get whose guest, worker or SSH server was killed.
HIT = (Verdict.CRASH, Verdict.HANG, Verdict.INFRA)

#: In the guest: every SSH server, the one that listens and those of sessions.
KILL_SSHD = (
    "for p in /proc/[0-9]*; do read name < $p/comm; [ $name = dropbear ] && set -- $@ ${p#/proc/}; done; kill -9 $@"
)


@dataclass(frozen=True)
class Undisturbed:
    """What a run is like to which nothing is done: its verdicts, its seconds, and for each of its parts
    when it was first and last there, in seconds from the start."""

    verdicts: Verdicts
    seconds: float
    lives: dict[str, tuple[float, float]]


def undisturbed(ground: Ground) -> Undisturbed:
    """Run once. Raises RuntimeError where that does not pass."""
    results, lives, started = ground.fresh(), dict[str, tuple[float, float]](), time.monotonic()
    process = ground.farm(ground.words, results, results / ".log")
    while process.poll() is None:
        now = time.monotonic() - started
        for name, which in PARTS.items():
            if processes.find(ground.mark, which):
                lives[name] = (lives.get(name, (now, now))[0], now)
        time.sleep(0.1)
    seconds = time.monotonic() - started
    directory = run_directory(results)
    if process.returncode != 0 or directory is None:
        raise RuntimeError(f"a run to which nothing is done fails:\n{(results / '.log').read_text()}")
    lives["controller"] = (0.0, seconds)
    lives["sshd"] = lives["guest"]
    found = verdicts(directory)
    say(f"undisturbed: {len(found)} verdicts in {seconds:.1f} s; {lives}")
    return Undisturbed(found, seconds, lives)


PARTS: dict[str, Callable[[Process], bool]] = {
    "worker": processes.is_worker,
    "builder": processes.is_builder,
    "guest": processes.is_guest,
}


def rows(ground: Ground, points: int) -> Iterator[Row]:
    """All parts of a run, in turn, and what came of it."""
    before = undisturbed(ground)
    names = ("controller", "worker", "builder", "guest", "sshd")
    share = {name: points // len(names) + (number < points % len(names)) for number, name in enumerate(names)}
    for name in names:
        if share[name]:
            yield _row(ground, before, name, share[name])


def _row(ground: Ground, before: Undisturbed, name: str, points: int) -> Row:
    first, last = before.lives[name]

    def point(number: int) -> Point | None:
        moment = random.Random(f"{ground.seed} {name} {number}").uniform(first, last)
        return (
            _killed_controller(ground, before, moment) if name == "controller" else _part(ground, before, name, moment)
        )

    what = {"guest": "SIGKILL of QEMU", "sshd": "SIGKILL of the guest's sshd"}.get(name, f"SIGKILL of the {name}")
    return repeat(Row(what, "farm run, guests"), points, point)


def _killed_controller(ground: Ground, before: Undisturbed, moment: float) -> Point | None:
    """The run ends at once; `--resume`, or the same command where it had not begun, brings it to its end."""
    results = ground.fresh()
    log = results / ".log"
    process = ground.farm(ground.words, results, log)
    with suppress(subprocess.TimeoutExpired):
        process.wait(moment)
        return None
    processes.kill(process.pid)
    process.wait()
    orphans = processes.left(ground.mark, 10)
    begun = run_directory(results)
    if begun and records.load_run(begun).status == "finished":
        return None  # all there was to do was done
    kept = dict(verdicts(begun)) if begun else {}
    again = ground.farm(["run", "--resume", str(begun)] if begun else ground.words, results, log)
    status = ended(again)
    directory = run_directory(results)
    if directory is None:
        return Point(len(before.verdicts), orphans, (), (*troubles(log, status, (0,)), "no run"))
    found = verdicts(directory)
    changed = differing(kept, {test: found[test] for test in kept if test in found})
    return Point(
        lost(directory, before.verdicts),
        (*orphans, *processes.left(ground.mark, 10)),
        differing(before.verdicts, found),
        (*troubles(log, status, (0,)), *(f"had a verdict before the kill: {one}" for one in changed)),
    )


def ended(process: "subprocess.Popen[bytes]") -> int:
    """The exit status, or -1 of a command that hangs: it is killed."""
    try:
        return process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return -1


def _part(ground: Ground, before: Undisturbed, name: str, moment: float) -> Point | None:
    """The run goes on by itself: all tests but the one that was hit end as always, and that one is named. Without
    its builder a run has no kernel: it says so of each test, and the same command again is as if nothing had been."""
    results = ground.fresh()
    log = results / ".log"
    process = ground.farm(ground.words, results, log)
    with suppress(subprocess.TimeoutExpired):
        process.wait(moment)
        return None
    hit = _strike(ground, process, name)
    status = ended(process)
    orphans = processes.left(ground.mark, 10)
    directory = run_directory(results)
    if not hit or directory is None:
        return None if not hit else Point(len(before.verdicts), orphans, (), (*troubles(log, status, ()), "no run"))
    found, missing = verdicts(directory), lost(directory, before.verdicts)
    others = {test: found.get(test) for test in before.verdicts if found.get(test) != before.verdicts[test]}
    named = [test for test, verdict in others.items() if verdict in HIT][: 1 if name != "builder" else None]
    if name == "worker" and status == 3 and not found:  # it was killed before it had a test: nobody has begun
        named, missing = list(before.verdicts), 0
    trouble = troubles(log, status, (0, 1, 3) if named else (0,))
    same = {test: verdict for test, verdict in found.items() if test not in named}
    expected = {test: verdict for test, verdict in before.verdicts.items() if test not in named}
    unequal = differing(expected, same)
    if len(named) > 1:
        again, at = ground.fresh(), ground.fresh() / ".log"
        status = ended(ground.farm(ground.words, again, at))
        directory = run_directory(again)
        unequal += differing(before.verdicts, verdicts(directory) if directory else {})
        trouble += troubles(at, status, (0,))
    said = tuple(f"{found.get(test, 'no verdict of')} {test.suite} {test.test}" for test in named[:1])
    return Point(missing, orphans, unequal, trouble, (*said, f"{len(named)} tests") if len(named) > 1 else said)


def _strike(ground: Ground, process: "subprocess.Popen[bytes]", name: str) -> bool:
    """Kill one of the processes of that name as soon as there is one; False if the run ended before."""
    which = PARTS["guest" if name == "sshd" else name]
    while process.poll() is None:
        for victim in processes.find(ground.mark, which):
            if _kill_sshd(ground, victim.pid) if name == "sshd" else processes.kill(victim.pid):
                return True
        time.sleep(0.02)
    return False


def _kill_sshd(ground: Ground, guest: int) -> bool:
    """By a session of our own, which ends with it."""
    port = processes.port_of(guest)
    for keys in sorted(Path(ground.cache / "keys").glob("*/id_ed25519")) if port else []:
        assert port
        try:
            connection = Connection(port, Keys(keys, keys.with_name("host_key.pub")), Deadline(5))
        except Blamed:
            continue  # other keys, or it does not listen yet
        with closing(connection), suppress(Blamed):
            connection.run(KILL_SSHD, Deadline(5))  # which takes its own answer away
        return True
    return False
