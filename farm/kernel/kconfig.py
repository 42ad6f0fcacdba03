# SPDX-License-Identifier: GPL-2.0
"""Compares fragments with the configuration made from them, and explains why an option was dropped."""

import io
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kconfiglib

from farm.arch import Architecture
from farm.base import cache, strict
from farm.base.atomic import write
from farm.base.errors import UsageError
from farm.version import Version, bounds


@dataclass(frozen=True)
class Dropped:
    """An option that a fragment asks for, but the configuration does not have.

    `wanted` and `got` are values as in a .config; "n" is an option that is not set.
    """

    option: str
    wanted: str
    got: str
    fragment: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.option}={self.wanted} (from {self.fragment}) came out as {self.got}: {self.reason}"


#: A line that says something of an option.
_OPTION = re.compile(r"CONFIG_\w+=.+|# CONFIG_\w+ is not set")


def parse(text: str, name: str = "") -> dict[str, str]:
    """The options of a .config or a fragment, "n" for `# … is not set`.

    Raises a UsageError that names the first other line.
    """
    options: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.fullmatch(r"CONFIG_(\w+)=(.+)", line.rstrip()):
            options[found[1]] = found[2]
        elif found := re.fullmatch(r"# CONFIG_(\w+) is not set", line.rstrip()):
            options[found[1]] = "n"
        elif line.strip() and not line.startswith("#"):
            raise UsageError(f"{name}:{number}: neither CONFIG_NAME=value nor a comment: {line!r}")
    return options


def read(path: Path) -> dict[str, str]:
    """The options of a file, as from `parse`. Raises a UsageError that names file and line."""
    return parse(strict.text(path), str(path))


def fitted(fragment: Path, version: Version) -> Path:
    """The fragment as a kernel of this version can take it, in the cache if it differs: without the
    options that the comment right above them gives to other versions (farm.version)."""
    asked = strict.text(fragment).splitlines()
    fits: list[str] = []
    above: list[str] = []
    for line in asked:
        is_option = _OPTION.fullmatch(line.rstrip()) is not None
        fits.append(line if not is_option or bounds(above).hold(version) else f"# not in {version}: {line}")
        above = [*above, line] if line.startswith("#") and not is_option else []
    if fits == asked:
        return fragment
    text = "".join(f"{line}\n" for line in fits)
    directory = cache.fill("fragments", cache.digest(text), lambda to: write(to / fragment.name, text))
    return directory / fragment.name


def compare(fragments: Iterable[Path], config: Path) -> list[Dropped]:
    """The options that the fragments ask for and `config` lacks. Later fragments override earlier ones."""
    got = read(config)
    wanted: dict[str, tuple[str, str]] = {}
    for fragment in fragments:
        for option, value in read(fragment).items():
            wanted[option] = (value, fragment.name)
    return [
        Dropped(option, value, got.get(option, "n"), fragment)
        for option, (value, fragment) in wanted.items()
        if got.get(option, "n") != value
    ]


#: What kconfiglib 14.1 does not know, and what it reads instead:
#: - `modules`, which replaced `option modules` (kernel commit 6dd85ff178cd, v5.16);
#: - `transitional`, for an option that only hands its old value on (f9afce4f32e9, v6.18). Such an
#:   option has no prompt, so without the attribute it is explained in the right way;
#: - `depends on A if B` (in v7.2), which asks for A only where B is set.
_NEWER = (
    (r"^\tmodules$", "\toption modules"),
    (r"^\s+transitional$", ""),
    (r"^(\s+depends on) ([^#\n]+) if ([^#\n]+)", r"\1 (\2) || !(\3)"),
)


class _Kconfig(kconfiglib.Kconfig):
    """kconfiglib that reads the Kconfig files of newer kernels."""

    def _open(self, filename: str, mode: str) -> Any:
        text = Path(filename).read_text(encoding="utf-8")
        for newer, known in _NEWER:
            text = re.sub(newer, known, text, flags=re.M)
        return io.StringIO(text)


def explain(dropped: list[Dropped], tree: Path, config: Path, arch: Architecture, compiler: str) -> list[Dropped]:
    """The dropped options, each with its reason: the dependency that was not met.

    This reads the Kconfig files of `tree`, which starts the compiler about two
    hundred times ($(cc-option,…)). So do it only if something was dropped. If the farm cannot read
    the files, as those of a much newer tree, that is the reason given.
    """
    try:
        kconfig = _load(tree, arch, compiler)
        kconfig.load_config(str(config), replace=True)
    except (kconfiglib.KconfigError, OSError, UnicodeError, RecursionError) as error:
        said = str(error).strip().partition("\n")[0]
        unknown = f"the farm does not understand the tree's Kconfig, so it cannot say why ({said})"
        return [Dropped(d.option, d.wanted, d.got, d.fragment, unknown) for d in dropped]
    return [Dropped(d.option, d.wanted, d.got, d.fragment, _reason(kconfig, d)) for d in dropped]


def _load(tree: Path, arch: Architecture, compiler: str) -> Any:
    version = "".join(re.findall(r"^(?:VERSION|PATCHLEVEL) = (\d+)$", (tree / "Makefile").read_text(), re.M))
    environment = {
        "srctree": str(tree),
        "ARCH": arch.kbuild,
        "SRCARCH": arch.srcarch,
        "CC": compiler,
        "LD": "ld",
        "HOSTCC": compiler,
        "NM": "nm",
        "OBJCOPY": "objcopy",
        "PAHOLE": "pahole",
        "RUSTC": "rustc",
        "BINDGEN": "bindgen",
        "CLANG_FLAGS": "",
        "KERNELVERSION": version,
        "RUSTC_BOOTSTRAP": "1",
    }
    before, here = dict(os.environ), Path.cwd()
    os.environ.update(environment)
    os.chdir(tree)  # scripts named in Kconfig are relative to the source
    try:
        return _Kconfig("Kconfig", warn=False)  # type: ignore[no-untyped-call]
    finally:
        os.chdir(here)
        os.environ.clear()
        os.environ.update(before)


def _reason(kconfig: Any, dropped: Dropped) -> str:
    symbol = kconfig.syms.get(dropped.option)
    if symbol is None or not symbol.nodes:
        return "there is no such option in this tree"
    if dropped.wanted == "n":
        selecting = [
            s.name for s in kconfig.unique_defined_syms if s.tri_value and any(t is symbol for t, _ in s.selects)
        ]
        if selecting:
            return f"selected by {', '.join(selecting)}"
    if not any(node.prompt for node in symbol.nodes):
        return "it has no prompt: it cannot be set, it only follows from others"
    unmet = [clause for node in symbol.nodes for clause in _unmet(node.dep, kconfig)]
    if unmet:
        return f"needs {' and '.join(dict.fromkeys(unmet))}"
    if symbol.choice:
        return f"another option of its choice was set: {symbol.choice.selection.name}"
    return f"its dependencies are met, and the tree's Kconfig gave {dropped.got} (a default or a range)"


def _unmet(expression: Any, kconfig: Any) -> list[str]:
    """The clauses of a conjunction that are n, each with the values of its symbols."""
    if isinstance(expression, tuple) and expression[0] == kconfiglib.AND:
        return _unmet(expression[1], kconfig) + _unmet(expression[2], kconfig)
    if kconfiglib.expr_value(expression):
        return []
    text = kconfiglib.expr_str(expression)
    items = sorted({item.name for item in kconfiglib.expr_items(expression) if getattr(item, "nodes", None)})
    values = ", ".join(f"{name}={kconfig.syms[name].str_value}" for name in items if name in kconfig.syms)
    return [f"{text} ({values})" if values else text]
