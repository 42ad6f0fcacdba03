# SPDX-License-Identifier: GPL-2.0
"""kconfigs/matrix.yaml, read once at the edge into frozen records."""

import os
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field

from farm.arch import ARCHITECTURES, FIRST
from farm.base.errors import UsageError
from farm.base.strict import Strict, complaint, form, near, read
from farm.version import EVERY_VERSION, Bounds, Version, bounds, parse

CHECKOUT = Path(__file__).resolve().parent.parent
MATRIX = CHECKOUT / "kconfigs" / "matrix.yaml"
RESULTS = CHECKOUT / "results"


@dataclass(frozen=True)
class Machine:
    """The guest of a cell. Memory is in MiB. `boot` is how many times longer than
    usual the guest may take to be ready."""

    memory: int
    cpus: int
    cmdline: str
    boot: int = 1


@dataclass(frozen=True)
class Cell:
    """One entry of the matrix: architecture, tree, fragments, guest.

    It is for kernels of some `versions`: there may be options that only those have. Of what it
    supports, `bounded` names what only some versions do.
    `supports` is what the cell must support: the declared facts of its fragments,
    never an answer of the kernel under test. `feature` are the fragments for what
    the series adds; they are left out if there is no series. Cells of the `main`
    road run if no cell is named. A cell without a `machine` is built, but not
    booted. In a `lenient` cell the tree may drop options: `farm config-bisect`
    tries whatever is left of them.
    """

    name: str
    about: str
    arch: str
    tree: str
    fragments: tuple[Path, ...]
    feature: tuple[Path, ...]
    patches: tuple[Path, ...]
    supports: frozenset[str]
    main: bool
    toolchain: str
    machine: Machine | None
    lenient: bool = False
    versions: Bounds = EVERY_VERSION
    bounded: tuple[tuple[str, Bounds], ...] = ()


@dataclass(frozen=True)
class Tree:
    """A kernel source from a Debian package, and the series for it, if there is one.

    It is `archive` if the package is installed; else the newest one of `suite`, which the farm gets
    from Debian's archive and keeps. One of the two may be missing. A night that is asked for no tree
    tests the `nightly` cells on this one too.
    """

    name: str
    package: str
    archive: Path
    series: Path | None
    suite: str = ""
    nightly: tuple[str, ...] = ()

    @property
    def version(self) -> Version | None:
        """The version that the package's name says, as linux-source-6.12, without having it."""
        return parse(f"v{self.package.rpartition('-')[2]}")


@dataclass(frozen=True)
class Matrix:
    trees: dict[str, Tree]
    cells: dict[str, Cell]


#: What a cell can support. A test names those that it needs.
FACTS = {
    "bpf_ftrace": "BPF programs can filter ftrace",
    "dynamic_ftrace": "call sites are patched, and functions can be chosen",
    "fault_injection": "allocations of memory can be made to fail",
    "fentry": "BPF programs attach to functions by BTF",
    "fprobe": "probes on entry and exit of functions, by ftrace",
    "function_graph": "the graph tracer",
    "graph_instances": "the graph tracer in instances, and more than one at once",
    "kmemleak": "the kernel looks for memory that it lost",
    "latency_tracers": "irqsoff, wakeup, wakeup_rt, wakeup_dl",
    "livepatch": "functions can be replaced",
    "lockdown": "the kernel can be locked down",
    "user_namespaces": "there are namespaces with a root of their own",
    "preempt_tracers": "preemptoff, preemptirqsoff",
    "profiler": "the function profiler",
    "pstore": "function calls recorded in memory that survives",
    "rt": "spin locks sleep, interrupts are threads",
    "smp": "more than one processor",
    "stack_tracer": "the deepest stack",
    "startup_test": "the kernel tests its tracers at boot",
    "validates_rcu": "a traced call while RCU is not watching is reported as a bug",
    "with_regs": "the trampoline can save every register",
}

#: The fact that the series brings.
FEATURE = "bpf_ftrace"

#: A name becomes part of a directory's name, with a suffix.
_Name = Annotated[str, form(r"[a-z0-9][a-z0-9_.-]{0,99}", "up to 100 of a-z, 0-9 and _.-, a letter or digit first")]


_Version = Annotated[str, form(r"v\d{1,3}\.\d{1,3}", "a version, as v6.12")]


class _Machine(Strict):
    memory: int = Field(default=224, ge=64, le=65536)
    cpus: int = Field(default=2, ge=1, le=64)
    cmdline: str = ""
    boot: int = Field(default=1, ge=1, le=100)


class _Tree(Strict):
    package: Annotated[str, form(r"[a-z0-9][a-z0-9.+-]*", "the name of a Debian package")]
    archive: str | None = None
    suite: Annotated[str, form(r"[a-z][a-z0-9.-]*", "a suite of Debian, as trixie-backports")] = ""
    series: str | None = None
    nightly: list[_Name] = Field(default=[])


class _Cell(Strict):
    about: str
    arch: str = FIRST
    tree: _Name | None = None  # the first of `trees`
    fragments: list[_Name] = Field(min_length=1)
    feature: list[_Name] = Field(default=[])
    patches: list[str] = Field(default=[])
    main: bool = False
    toolchain: Annotated[str, form(r"(gcc|clang)(-\d+)?", "gcc or clang, or one of a version, as clang-16")] = "gcc"
    guest: _Machine | None = _Machine()
    lenient: bool = False
    since: _Version | None = None
    until: _Version | None = None


class _Matrix(Strict):
    trees: dict[_Name, _Tree]
    fragments: dict[_Name, list[str]]
    cells: dict[_Name, _Cell] = Field(min_length=1)


@cache
def load(path: Path = MATRIX) -> Matrix:
    """The matrix in `path`. Raises a UsageError that names file, line and key."""
    root, parsed = read(path, _Matrix)
    trees = {name: _tree(path, root, name, tree) for name, tree in parsed.trees.items()}
    for name, tree in parsed.trees.items():
        for i, cell in enumerate(tree.nightly):
            if cell not in parsed.cells:
                said = f"no cell {cell!r}; {near(cell, parsed.cells)}there is: {', '.join(parsed.cells)}"
                raise UsageError(complaint(path, root, ("trees", name, "nightly", i), said))
    for fragment, facts in parsed.fragments.items():
        for i, text in enumerate(facts):
            fact, _, when = text.partition(" ")
            if when and bounds([when]) == EVERY_VERSION:
                said = f"{when!r} is not when it is so; write `{fact} since v6.12` or `{fact} until v7.2`"
                raise UsageError(complaint(path, root, ("fragments", fragment, i), said))
            if fact not in FACTS:
                where = ("fragments", fragment, i)
                raise UsageError(
                    complaint(path, root, where, f"no fact {fact!r}; {near(fact, FACTS)}there is: {', '.join(FACTS)}")
                )
    cells = {name: _cell(path, root, parsed, name) for name in parsed.cells}
    return Matrix(trees, cells)


def choose(matrix: Matrix, names: list[str]) -> list[Cell]:
    """The named cells, in the order of the matrix. If none is named, those of the main road."""
    for name in names:
        if name not in matrix.cells:
            raise UsageError(
                f"no cell {name!r}; {near(name, matrix.cells)}`farm cells` lists them: {', '.join(matrix.cells)}"
            )
    return [cell for name, cell in matrix.cells.items() if (name in names if names else cell.main)]


def without_feature(cell: Cell) -> Cell:
    """The cell on a tree that does not have the series."""
    return replace(cell, feature=(), supports=cell.supports - {FEATURE})


def of_version(cell: Cell, version: Version) -> Cell:
    """The cell on a tree of this version, without what only others support."""
    missing = {fact for fact, bounds in cell.bounded if not bounds.hold(version)}
    return replace(cell, supports=cell.supports - missing)


def _cell(path: Path, root: yaml.Node | None, parsed: _Matrix, name: str) -> Cell:
    spec, here = parsed.cells[name], ("cells", name)
    if spec.arch not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        said = f"no architecture {spec.arch!r}; {near(spec.arch, ARCHITECTURES)}there is: {known}"
        raise UsageError(complaint(path, root, (*here, "arch"), said))
    tree = spec.tree or next(iter(parsed.trees), "")
    if tree not in parsed.trees:
        known = ", ".join(parsed.trees)
        raise UsageError(
            complaint(path, root, (*here, "tree"), f"no tree {tree!r}; {near(tree, parsed.trees)}there is: {known}")
        )
    for key, names in (("fragments", spec.fragments), ("feature", spec.feature)):
        for i, fragment in enumerate(names):
            if fragment not in parsed.fragments:
                known = ", ".join(parsed.fragments)
                meant = near(fragment, parsed.fragments)
                said = f"no fragment {fragment!r}; {meant}there is: {known}"
                raise UsageError(complaint(path, root, (*here, key, i), said))

    def files(key: str, names: list[str]) -> tuple[Path, ...]:
        relative = [f"kconfigs/{spec.arch}/{n}.config" if key != "patches" else n for n in names]
        return tuple(_existing(path, root, (*here, key, i), file) for i, file in enumerate(relative))

    facts = [fact for name in spec.fragments + spec.feature for fact in parsed.fragments[name]]
    return Cell(
        name=name,
        about=spec.about,
        arch=spec.arch,
        tree=tree,
        fragments=files("fragments", spec.fragments),
        feature=files("feature", spec.feature),
        patches=files("patches", spec.patches),
        supports=frozenset(fact.partition(" ")[0] for fact in facts),
        bounded=tuple((fact.partition(" ")[0], bounds([fact.partition(" ")[2]])) for fact in facts if " " in fact),
        main=spec.main,
        toolchain=spec.toolchain,
        machine=Machine(**spec.guest.model_dump()) if spec.guest else None,
        lenient=spec.lenient,
        versions=Bounds(parse(spec.since or ""), parse(spec.until or "")),
    )


def _tree(path: Path, root: yaml.Node | None, name: str, spec: _Tree) -> Tree:
    installed = Path(spec.archive or f"/usr/src/{spec.package}.tar.xz")
    series = _existing(path, root, ("trees", name, "series"), spec.series) if spec.series else None
    return Tree(name, spec.package, installed, series, spec.suite, tuple(spec.nightly))


def _existing(path: Path, root: yaml.Node | None, where: tuple[str | int, ...], relative: str) -> Path:
    """A file or directory of the checkout that the matrix names."""
    file = path.parent.parent / relative
    if not os.path.exists(file):  # never raises, unlike Path.exists()
        raise UsageError(complaint(path, root, where, f"there is no {file}"))
    return file
