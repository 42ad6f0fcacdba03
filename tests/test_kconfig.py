# SPDX-License-Identifier: GPL-2.0
"""Fragments against configurations, and the reasons for what was dropped."""

import os
from pathlib import Path

import pytest

from farm.arch.x86_64 import X86_64
from farm.base.errors import UsageError
from farm.kernel.kconfig import Dropped, compare, explain, parse

KCONFIG = """\
mainmenu "Test"

config PLAIN
	bool "Plain"

config NEEDS_TWO
	bool "Needs two"
	depends on PLAIN && (HIDDEN || OTHER)

config OTHER
	bool "Other"

config HIDDEN
	bool

config SELECTS
	bool "Selects"
	select SELECTED

config SELECTED
	bool "Selected"

choice
	prompt "One of"
	default FIRST

config FIRST
	bool "First"

config SECOND
	bool "Second"

endchoice

config NUMBER
	int "Number"
	range 1 64
	default 8

config DRIVER
	tristate "Driver"

source "kernel/module/Kconfig"
"""

MODULES = """\
menuconfig MODULES
	bool "Loadable modules"
	modules
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source with nothing but Kconfig files."""
    (tmp_path / "kernel/module").mkdir(parents=True)
    (tmp_path / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 0\n")
    (tmp_path / "Kconfig").write_text(KCONFIG)
    (tmp_path / "kernel/module/Kconfig").write_text(MODULES)
    return tmp_path


def reason(tree: Path, wanted: str, config: str) -> str:
    """Why an option of a fragment is not in a configuration."""
    (tree / "mine.config").write_text(f"{wanted}\n")
    (tree / ".config").write_text(config)
    (dropped,) = explain(compare([tree / "mine.config"], tree / ".config"), tree, tree / ".config", X86_64, "gcc")
    assert dropped.fragment == "mine.config"
    return dropped.reason


def test_parse() -> None:
    text = '# about\n\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C="a b=c"\nCONFIG_D=0x10\n'
    assert parse(text) == {"A": "y", "B": "n", "C": '"a b=c"', "D": "0x10"}


@pytest.mark.parametrize("line", ["CONFIG_A", "A=y", "CONFIG_A = y", " CONFIG_A=y"])
def test_parse_names_the_line_that_is_neither(line: str) -> None:
    with pytest.raises(UsageError, match=r"^x\.config:2: neither"):
        parse(f"# fine\n{line}\n", "x.config")


def test_compare(tmp_path: Path) -> None:
    first, second, config = tmp_path / "first", tmp_path / "second", tmp_path / ".config"
    first.write_text("CONFIG_KEPT=y\nCONFIG_OVERRIDDEN=y\nCONFIG_LOST=y\n# CONFIG_OFF is not set\n")
    second.write_text("# CONFIG_OVERRIDDEN is not set\nCONFIG_CHANGED=m\n# CONFIG_FORCED is not set\n")
    config.write_text("CONFIG_KEPT=y\nCONFIG_CHANGED=y\nCONFIG_FORCED=y\n# CONFIG_LOST is not set\n")
    assert compare([first, second], config) == [
        Dropped("LOST", "y", "n", "first"),
        Dropped("CHANGED", "m", "y", "second"),
        Dropped("FORCED", "n", "y", "second"),
    ]
    assert Dropped("OVERRIDDEN", "y", "n", "first") in compare([second, first], config), "the last fragment decides"


def test_dropped_in_words() -> None:
    dropped = Dropped("A", "y", "n", "base.config", "needs B (B=n)")
    assert str(dropped) == "A=y (from base.config) came out as n: needs B (B=n)"


def test_unmet_dependency_is_named_with_values(tree: Path) -> None:
    said = reason(tree, "CONFIG_NEEDS_TWO=y", "CONFIG_PLAIN=y\n# CONFIG_OTHER is not set\n")
    assert said == "needs HIDDEN || OTHER (HIDDEN=n, OTHER=n)"  # and nothing of PLAIN, which is met


def test_both_dependencies_unmet(tree: Path) -> None:
    said = reason(tree, "CONFIG_NEEDS_TWO=y", "# CONFIG_PLAIN is not set\n")
    assert said == "needs PLAIN (PLAIN=n) and HIDDEN || OTHER (HIDDEN=n, OTHER=n)"


def test_no_such_option(tree: Path) -> None:
    assert reason(tree, "CONFIG_NO_SUCH=y", "CONFIG_PLAIN=y\n") == "there is no such option in this tree"


def test_no_prompt(tree: Path) -> None:
    assert "no prompt" in reason(tree, "CONFIG_HIDDEN=y", "CONFIG_PLAIN=y\n")


def test_choice(tree: Path) -> None:
    assert reason(tree, "CONFIG_SECOND=y", "CONFIG_FIRST=y\n") == "another option of its choice was set: FIRST"


def test_selected(tree: Path) -> None:
    said = reason(tree, "# CONFIG_SELECTED is not set", "CONFIG_SELECTS=y\nCONFIG_SELECTED=y\n")
    assert said == "selected by SELECTS"


def test_out_of_range(tree: Path) -> None:
    assert "default or a range" in reason(tree, "CONFIG_NUMBER=100", "CONFIG_NUMBER=8\n")


def test_modules_attribute_is_understood(tree: Path) -> None:
    """Without it kconfiglib takes every tristate for a bool, or refuses the file."""
    said = reason(tree, "CONFIG_DRIVER=y", "CONFIG_MODULES=y\nCONFIG_DRIVER=m\n")
    assert said == "its dependencies are met, and the tree's Kconfig gave m (a default or a range)"


def test_transitional_option(tree: Path) -> None:
    """Since v6.18. It cannot be set, as it has no prompt."""
    (tree / "Kconfig").write_text(KCONFIG + "\nconfig OLD\n\tbool\n\ttransitional\n\thelp\n\t  Was renamed.\n")
    said = reason(tree, "CONFIG_OLD=y", "CONFIG_PLAIN=y\n")
    assert said == "it has no prompt: it cannot be set, it only follows from others"


@pytest.mark.parametrize("text", ["config A\n\tfrobnicate\n", 'source "missing/Kconfig"\n', "\xff\xfe"])
def test_kconfig_of_another_time(tree: Path, text: str) -> None:
    """The option is named all the same."""
    (tree / "Kconfig").write_bytes((KCONFIG + text).encode("latin-1"))
    said = reason(tree, "CONFIG_NO_SUCH=y", "CONFIG_PLAIN=y\n")
    assert said.startswith("the farm does not understand the tree's Kconfig, so it cannot say why (")


def test_explain_leaves_the_process_as_it_was(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCH", "mine")
    here = Path.cwd()
    reason(tree, "CONFIG_NO_SUCH=y", "CONFIG_PLAIN=y\n")
    assert (os.environ["ARCH"], Path.cwd()) == ("mine", here)
    assert "srctree" not in os.environ
