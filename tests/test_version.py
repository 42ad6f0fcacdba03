# SPDX-License-Identifier: GPL-2.0
"""Versions of the kernel, and fragments that say of an option in which of them it is."""

from pathlib import Path

import pytest

from farm.kernel import kconfig
from farm.version import Version, bounds, of_makefile, parse


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 117\nEXTRAVERSION =\n", Version(6, 12)),
        ("# SPDX\nVERSION=7\nPATCHLEVEL =  3\n", Version(7, 3)),
        ("VERSION = 6\n", None),
        ("VERSION = six\nPATCHLEVEL = 12\n", None),
        ("MY_VERSION = 6\nPATCHLEVEL = 12\n", None),
        ("", None),
    ],
)
def test_version_of_a_makefile(text: str, version: Version | None) -> None:
    assert of_makefile(text) == version


@pytest.mark.parametrize("text", ["6.12", "v6", "v6.12.1", "v6.x", "", "v6.12-rc1"])
def test_no_version(text: str) -> None:
    assert parse(text) is None


def test_versions_are_numbers() -> None:
    assert Version(6, 9) < Version(6, 12) < Version(7, 0)
    assert str(Version(6, 12)) == "v6.12"
    near = sorted([Version(6, 1), Version(6, 12), Version(7, 3)], key=Version(7, 0).steps_to)
    assert near == [Version(7, 3), Version(6, 12), Version(6, 1)]


@pytest.mark.parametrize(
    ("lines", "holding"),
    [
        ([], ["v6.1", "v6.12", "v7.3"]),
        (["# since v6.12, as a comment may say"], ["v6.12", "v7.3"]),
        (["# until v6.12"], ["v6.1", "v6.12"]),
        (["# since v6.2", "# until v7.2: gone then"], ["v6.12"]),
        (["Since: v6.12", "Until: v6.12"], ["v6.12"]),
        (["# since v6.2 until v7.2, and then no more"], ["v6.12"]),
        (["# it is there since v6.12", "# since v6.12.3", "# sincev7.3"], ["v6.1", "v6.12", "v7.3"]),
    ],
)
def test_bounds(lines: list[str], holding: list[str]) -> None:
    versions = [Version(6, 1), Version(6, 12), Version(7, 3)]
    assert [str(version) for version in versions if bounds(lines).hold(version)] == holding


FRAGMENT = """\
# SPDX-License-Identifier: GPL-2.0
CONFIG_ALWAYS=y
# until v7.2: and then no more
CONFIG_OLD=y
CONFIG_NEXT=y
# since v6.18
# CONFIG_NEW is not set
# since v7.0

CONFIG_BESIDE=y
# until v7.2
# since v7.0: the upper line counts too
CONFIG_BOTH=y
"""


@pytest.mark.usefixtures("cache_root")
@pytest.mark.parametrize(
    ("version", "options"),
    [
        (Version(6, 12), {"ALWAYS": "y", "OLD": "y", "NEXT": "y", "BESIDE": "y"}),
        (Version(7, 2), {"ALWAYS": "y", "OLD": "y", "NEXT": "y", "NEW": "n", "BESIDE": "y", "BOTH": "y"}),
        (Version(7, 3), {"ALWAYS": "y", "NEXT": "y", "NEW": "n", "BESIDE": "y"}),
    ],
)
def test_fragment_of_a_version(tmp_path: Path, version: Version, options: dict[str, str]) -> None:
    """A bound is for the option right below it."""
    fragment = tmp_path / "some.config"
    fragment.write_text(FRAGMENT)
    fitted = kconfig.fitted(fragment, version)
    assert kconfig.read(fitted) == options
    assert fitted.name == fragment.name


def test_fragment_that_fits_is_taken_as_it_is(tmp_path: Path) -> None:
    fragment = tmp_path / "some.config"
    fragment.write_text("# until v7.2\nCONFIG_OLD=y\n")
    assert kconfig.fitted(fragment, Version(7, 2)) == fragment
