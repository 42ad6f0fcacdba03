# SPDX-License-Identifier: GPL-2.0
"""Source packages from Debian's archive, by apt, and nothing of the host's apt is touched.

A suite has its own lists in the cache. apt checks the signatures as always; nothing
is installed, and nobody needs to be root. Proxies and mirrors are the host's.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from farm.base import cache
from farm.base.atomic import write
from farm.base.command import CommandFailed, run
from farm.base.errors import FarmError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

#: Where Debian is, if the host's own apt does not have it from elsewhere. The host's are looked
#: up by the label that a mirror's Release file has.
MIRRORS = {"Debian": "http://deb.debian.org/debian", "Debian-Security": "http://security.debian.org/debian-security"}

#: apt's configuration: lists and packages of our own, and none of the commands that the
#: host's administrator has run after an update. `{0}` is a directory in the cache.
_CONFIGURATION = """\
Dir::Etc::sourcelist "{0}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "{0}/lists";
Dir::State::status "/dev/null";
Dir::Cache "{0}";
Dir::Cache::archives "{0}/archives";
APT::Update::Error-Mode "any";
APT::Sandbox::User "root";
Acquire::Languages "none";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""

#: The file beside a suite's lists that names the version of a package that was taken last.
_TAKEN = "{0}.version"

#: The longest that apt may take to fetch a suite's lists, or a package of 170 MB, in seconds.
PATIENCE = 1800.0


@dataclass(frozen=True)
class Package:
    """A package of a suite, at one version."""

    name: str
    suite: str
    version: str


def taken(name: str, suite: str) -> Package | None:
    """The package as it was taken last. It stays until `newest` finds another one."""
    record = _place(suite) / _TAKEN.format(name)
    return Package(name, suite, record.read_text().strip()) if record.is_file() else None


def newest(name: str, suite: str) -> Package:
    """The newest version in the suite, which asks the archive. It is the one that is `taken` from now
    on. Raises FarmError if the archive cannot be asked, or has no such package."""
    with _apt(suite) as (place, options):
        _ask(name, suite, ["apt-get", *options, "update"])
        known = _ask(name, suite, ["apt-cache", *options, "madison", name])
        versions = [line.split("|")[1].strip() for line in known.splitlines() if line.count("|") == 2]
        if not versions:
            raise FarmError(f"Debian's {suite} has no package {name}; the matrix (`trees:`) says where it should be")
        write(place / _TAKEN.format(name), f"{versions[0]}\n")
        return Package(name, suite, versions[0])


def unpack(package: Package, directory: Path) -> Path:
    """Fetch a package and write the archive of sources that is in it into `directory`. Raises FarmError."""
    with _apt(package.suite) as (_, options):
        wanted = f"{package.name}={package.version}"
        _ask(package.name, package.suite, ["apt-get", *options, "download", wanted], directory)
    (deb,) = directory.glob("*.deb")
    run(["dpkg-deb", "--extract", deb, directory])
    deb.unlink()
    archives = sorted(directory.glob("usr/src/*.tar.*"))
    if len(archives) != 1:
        raise FarmError(f"{deb.name} of Debian's {package.suite} has no source in /usr/src: is it a linux-source-*?")
    return archives[0]


def _place(suite: str) -> Path:
    return cache.entry("packages", suite)


@contextmanager
def _apt(suite: str) -> Iterator[tuple[Path, list[str | Path]]]:
    """The directory of a suite, locked, and the options by which apt's programs use it."""
    if not KEYRING.exists():
        raise FarmError(f"{KEYRING} is missing: Debian's packages cannot be checked; install debian-archive-keyring")
    place = _place(suite)
    with cache.locked(place.with_name(f".{suite}.lock")):
        for part in ("lists/partial", "archives/partial"):
            (place / part).mkdir(parents=True, exist_ok=True)
        write(place / "sources.list", f"deb [signed-by={KEYRING}] {mirror(suite)} {suite} main\n")
        configuration = place / "apt.conf"
        write(configuration, _CONFIGURATION.format(place))
        yield place, ["-q", "-c", configuration]


def mirror(suite: str) -> str:
    """Where the host's own apt has this part of Debian from, or Debian's own address."""
    label = "Debian-Security" if suite.endswith("-security") else "Debian"
    try:
        known = run(["apt-get", "indextargets", "--format", "$(LABEL)|$(ORIGIN)|$(REPO_URI)", "Identifier: Packages"])
    except CommandFailed:
        known = ""
    found = re.search(rf"^{label}\|Debian\|(\S+)$", known, re.M)
    return found[1] if found else MIRRORS[label]


def _ask(name: str, suite: str, argv: list[str | Path], cwd: Path | None = None) -> str:
    try:
        return run(argv, cwd=cwd, env={"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}, timeout=PATIENCE)
    except CommandFailed as error:
        told = re.findall(r"^(?:E: |Err:|W: .*(?:Failed|GPG|signature)).*", error.output, re.M)
        said = "\n".join(f"  {line}" for line in told[:3]) or f"  {error}"
        advice = "go online, or test a tree of your own (--tree PATH)"
        raise FarmError(f"{name} could not be had from Debian's {suite}; {advice}:\n{said}") from error
