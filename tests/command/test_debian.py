# SPDX-License-Identifier: GPL-2.0
"""Sources out of Debian's archive: a package that is not installed, from a small archive in
tests/data/archive that apt reads as it reads Debian's."""

import shutil
from pathlib import Path

import pytest

from farm.base.errors import FarmError
from farm.kernel import debian
from farm.kernel.tree import from_package, is_imported
from farm.matrix import Tree
from farm.version import Version

pytestmark = pytest.mark.usefixtures("cache_root")

TREE = Tree("debian-9.9", "linux-source-9.9", Path("/nonexistent"), None, "testing")

DEB = "pool/linux-source-9.9_9.9.1-1~farm_all.deb"


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive that a test may change, signed by the key that the farm trusts."""
    copy = Path(shutil.copytree(Path(__file__).parent.parent / "data/archive", tmp_path / "archive"))
    monkeypatch.setattr(debian, "KEYRING", copy / "key.gpg")
    monkeypatch.setattr(debian, "mirror", lambda suite: copy.as_uri())
    return copy


def test_source_of_a_suite(archive: Path) -> None:
    assert not is_imported(TREE)
    source = from_package(TREE)
    assert source.version == Version(9, 9)
    assert is_imported(TREE)
    shutil.rmtree(archive)  # what was taken is kept, and the archive is not asked again
    assert from_package(TREE) == source


def test_newest_is_asked_for(archive: Path) -> None:
    source = from_package(TREE)
    shutil.rmtree(archive / "dists")
    with pytest.raises(FarmError, match=r"linux-source-9.9 could not be had from Debian's testing; go online"):
        from_package(TREE, newest=True)
    assert from_package(TREE) == source


def test_nobody_answers(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """apt itself ends well then, with what it had before."""
    monkeypatch.setattr(debian, "mirror", lambda suite: "http://127.0.0.1:9/debian")
    with pytest.raises(FarmError, match=r"(?s)could not be had from Debian's testing; go online.*127\.0\.0\.1"):
        from_package(TREE)


def test_installed_package_is_taken(archive: Path, tmp_path: Path) -> None:
    shutil.rmtree(archive)
    packed = tmp_path / "linux-source-9.9.tar.xz"
    packed.write_bytes(b"")
    tree = Tree("debian-9.9", "linux-source-9.9", packed, None, "testing")
    assert not is_imported(tree)
    assert debian.taken(tree.package, tree.suite) is None


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("no suite", r"(?s)could not be had from Debian's testing; go online.*testing"),
        ("no package", r"Debian's testing has no package linux-source-9.9; the matrix \(`trees:`\) says"),
        ("another key", r"(?s)could not be had from Debian's testing.*(NO_PUBKEY|not signed|signature)"),
        ("changed list", r"(?s)could not be had from Debian's testing"),
        ("cut off", r"(?s)could not be had from Debian's testing.*(size|Hash Sum)"),
        ("changed package", r"(?s)could not be had from Debian's testing.*Hash Sum"),
        ("no keyring", r"key.gpg is missing: .* install debian-archive-keyring"),
    ],
)
def test_archive_that_is_not_what_it_should_be(archive: Path, harm: str, said: str) -> None:
    """The message names package, suite and what apt said, and nothing is taken."""
    tree = TREE
    package, packages = archive / DEB, archive / "dists/testing/main/binary-amd64/Packages"
    match harm:
        case "no suite":
            shutil.rmtree(archive / "dists")
        case "no package":
            said = said.replace("9.9", "9.8")
            tree = Tree("debian-9.8", "linux-source-9.8", Path("/nonexistent"), None, "testing")
        case "another key":
            shutil.copy(archive / "other.gpg", archive / "key.gpg")
        case "changed list":
            packages.write_text(packages.read_text().replace("9.9.1", "9.9.2"))
        case "cut off":
            package.write_bytes(package.read_bytes()[:-100])
        case "changed package":
            package.write_bytes(package.read_bytes()[:-1] + b"!")
        case "no keyring":
            (archive / "key.gpg").unlink()
    with pytest.raises(FarmError, match=said):
        from_package(tree)
    assert not is_imported(tree)
