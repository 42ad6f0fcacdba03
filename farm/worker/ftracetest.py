# SPDX-License-Identifier: GPL-2.0
"""The kernel's own tests of ftrace, tools/testing/selftests/ftrace, in a guest."""

import re
import shlex
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from farm import artifact
from farm.artifact import Ref
from farm.base.errors import FarmError, GuestCrashed, GuestHung, UsageError
from farm.guest import complaints
from farm.guest.vm import Guest
from farm.kernel.tree import Source

PATH = "tools/testing/selftests/ftrace"

#: Their directory in the guest.
ROOT = "/tmp/ftracetest"

#: The limit for one file. On a machine where a boot takes BOOT_USUAL, the longest takes half a
#: minute; but the host may be busier by then than it was when the guest booted.
SECONDS = 400.0

#: `[1] Basic trace file check	[PASS]`, or in an instance `[2] (instance)  Basic …`.
_RESULT = re.compile(r"^\[\d+\]( \(instance\) )?.*\t\[([A-Z]+)\]$", re.M)

_IN_INSTANCES = re.compile(r"^#[ \t]*flags:.*instance", re.M)


@dataclass(frozen=True)
class Suite:
    """The tests of a tree. `files` says for each whether it also runs in an instance."""

    archive: Ref
    files: Mapping[str, bool]

    def names(self, file: str) -> list[str]:
        """The names of the tests of a file."""
        name = file.removesuffix(".tc")
        return [name, f"{name}[instance]"] if self.files[file] else [name]


@dataclass(frozen=True)
class Result:
    """The outcome of one test, as ftracetest prints it, or CRASH, HANG, or NONE if it printed
    nothing. `log` is its output after a failure."""

    outcome: str
    log: str = ""


def suite(source: Source, select: str = "") -> Suite:
    """The tests of a source. With `select`, those that have it in their names."""
    if not source.has(PATH):
        raise UsageError(f"{source.label} has no {PATH}")

    def make(directory: Path) -> None:
        source.git("archive", "--output", directory / "ftrace.tar", f"{source.commit}:{PATH}")

    key = source.git("rev-parse", f"{source.commit}:{PATH}")
    archive = artifact.make("selftests", key, make)
    files = {name: instance for name, instance in _files(_tar(archive)).items() if select in name}
    if not files:
        raise UsageError(f"-k {select!r} selects no test of {PATH}")
    return Suite(archive, files)


def _tar(archive: Ref) -> Path:
    return artifact.locate(archive) / "ftrace.tar"


def _files(archive: Path) -> dict[str, bool]:
    found = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name.startswith("test.d/") and member.name.endswith(".tc"):
                handle = tar.extractfile(member)
                text = handle.read().decode(errors="replace") if handle else ""
                found[member.name.removeprefix("test.d/")] = bool(_IN_INSTANCES.search(text))
    return dict(sorted(found.items()))


def install(guest: Guest, tests: Suite) -> None:
    command = f"mkdir -p {ROOT} && tar -x -C {ROOT} -f -"
    done = guest.connection.run(command, guest.deadline(60), _tar(tests.archive).read_bytes())
    if done.status:
        raise FarmError(f"the tests cannot be unpacked in the guest: {done.stderr.strip()}")


def run(guest: Guest, tests: Suite, file: str) -> tuple[dict[str, Result], tuple[int, int]]:
    """The results of a file by name, and its span of bytes in the kernel's log.

    If the kernel complained, the result is CRASH, whatever the test printed.
    """
    start = guest.mark()
    try:
        said = _ftracetest(guest, file)
        end = guest.mark()
    except (GuestCrashed, GuestHung) as error:
        told = guest.explain(error)
        if isinstance(told, FarmError):
            raise told from error
        result = Result(told.verdict, str(told))
        return dict.fromkeys(tests.names(file), result), (start, guest.console.size)
    results = dict.fromkeys(tests.names(file), Result("NONE", said[-2000:]))
    results |= {name: result for name, result in named(file, said).items() if name in results}
    if complained := complaints.told(guest.console.text(start, end)):
        complaint = "\n".join(complained)
        results = {name: Result("CRASH", f"{complaint}\n{result.log}") for name, result in results.items()}
    return results, (start, end)


def _ftracetest(guest: Guest, file: str) -> str:
    path = shlex.quote(f"test.d/{file}")
    command = f"cd {ROOT} && sh ./ftracetest -v --logdir /tmp/ftracetest-logs {path}"
    done = guest.connection.run(command, guest.deadline(SECONDS))
    return done.stdout + done.stderr


def named(file: str, said: str) -> dict[str, Result]:
    """The results in the output of `ftracetest -v` for one file. The log of a failure follows its
    line."""
    found = {}
    # the text before the first result, then for each: instance or not, outcome, the text after it
    _, *parts = _RESULT.split(said)
    for instance, outcome, rest in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        name = file.removesuffix(".tc") + ("[instance]" if instance else "")
        log = rest.partition("\n\n# of passed:")[0]
        found[name] = Result(outcome, log.strip())
    return found
