# SPDX-License-Identifier: GPL-2.0
"""Builds a source and fragments into a kernel in the cache, with TuxMake."""

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tuxmake.build import Build
from tuxmake.exceptions import TuxMakeException
from tuxmake.runtime import NullRuntime, Terminated

from farm import artifact
from farm.arch import cross_prefix, of
from farm.artifact import Ref
from farm.base import cache, removal, strict
from farm.base.command import echo, leashed, run
from farm.base.errors import BuildFailed, FarmError
from farm.kernel import kconfig
from farm.kernel.blame import check_host, first_errors
from farm.kernel.tree import Source, check_out, need_disk, worktree_name
from farm.matrix import Cell

#: To be changed when the recipe below changes, so that old artifacts are not used.
RECIPE = "kernel-1"

#: A build directory of the lean base has 350 MB; the rest is headroom.
NEEDED_BYTES = 1 << 30

#: With these, the same input gives the same kernel, byte for byte.
REPRODUCIBLE = {
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
    "KBUILD_BUILD_USER": "farm",
    "KBUILD_BUILD_HOST": "farm",
    "KBUILD_BUILD_VERSION": "1",
    "KCFLAGS": "",
}

#: Has the wrapper of ccache, which kbuild calls by ccache's own name: its command lines are then the same
#: in every checkout of the farm.
_WRAPPER = Path(__file__).parent / "wrapper"

#: In a build directory with a finished build: the key of its plan.
STAMP = ".farm-built"

#: Beside a kernel: the key of everything that its modules are built from.
MODULE_INPUTS = "module-inputs"

#: In a build directory: the key of what its .config was made from.
CONFIGURED = ".farm-configured"

#: The files of a source that decide the .config, and those that modules are built from: all
#: except the code itself. `{0}` stands for SRCARCH.
_CONFIGURING = r"(?:.*/)?Kconfig[^/]*|scripts/.*|.*\.config|(?:arch/{0}/)?Makefile.*"
_INCLUDED = r"(?:include|arch/{0}/include|arch/{0}/tools|scripts|tools)/.*|(?:arch/{0}/)?Makefile.*"

#: Called with one short line whenever the build made progress.
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Kernel:
    """The result of a cell's build. `directory` has the image under its architecture's name,
    System.map, config, dropped-options, build.log, module-inputs, metadata.json and reproducer.sh."""

    ref: Ref
    directory: Path
    arch: str

    @property
    def image(self) -> Path:
        return self.directory / of(self.arch).image_name

    @property
    def module_inputs(self) -> str:
        """A key that two kernels share if their modules are the same."""
        path = self.directory / MODULE_INPUTS
        return path.read_text() if path.exists() else self.ref.key


@dataclass(frozen=True)
class BuildPlan:
    """Everything that a kernel depends on."""

    cell: Cell
    source: Source
    fragments: tuple[Path, ...]
    without_feature: bool

    @property
    def key(self) -> str:
        texts = [part for fragment in self.fragments for part in (fragment.name, strict.text(fragment))]
        return cache.digest(RECIPE, self.cell.arch, self.source.content, tools_of(self.cell), *texts)

    @property
    def build_name(self) -> str:
        """The name of the build directory, for people and for the files beside it."""
        return f"{worktree_name(self.source)}+{self.cell.name}"


def plan(cell: Cell, source: Source, bare: bool) -> BuildPlan:
    """The build plan for a cell and a source.

    The feature's own fragments are left out only of a `bare` tree, one without the series: there is
    nothing to ask for. A series that does not bring the feature, on the other hand, is to be noticed.
    """
    without = bool(cell.feature) and bare and not source.has_feature
    wanted = cell.fragments + (() if without else cell.feature)
    return BuildPlan(cell, source, tuple(kconfig.fitted(one, source.version) for one in wanted), without)


def toolchain(compiler: str = "gcc", prefix: str = "") -> str:
    """A key for the compiler and the linker, made without starting them. `prefix` is that of a cross
    compiler; clang needs none."""
    if compiler.startswith("clang"):
        tools = [compiler, compiler.replace("clang", "ld.lld"), "as"]
    else:
        tools = [f"{prefix}{tool}" for tool in (compiler, "ld", "as")]
    parts = []
    for tool in (*tools, "pahole"):
        path = shutil.which(tool)
        if path is None:
            raise FarmError(f"{tool}: not found; `farm doctor` says how to get it")
        real = Path(path).resolve()
        parts.append(f"{real} {real.stat().st_size} {real.stat().st_mtime_ns}")
    return cache.digest(*parts)


def tools_of(cell: Cell) -> str:
    """A key for the tools that a cell is built with."""
    return toolchain(cell.toolchain, cross_prefix(of(cell.arch)))


def kernel(wanted: BuildPlan, progress: Progress) -> Kernel:
    """The kernel of a plan, from the cache or built now.

    Raises BuildFailed if the tree does not compile or an option was dropped,
    FarmError if the host is to blame.
    """
    key = wanted.key
    ref = artifact.make("kernels", key, lambda directory: _build(wanted, directory, progress))
    return Kernel(ref, artifact.locate(ref), wanted.cell.arch)


class OptionsDropped(BuildFailed):
    """The tree does not have the options that the cell asks for."""


@contextmanager
def prepared(wanted: BuildPlan, progress: Progress, anew: bool = False) -> Iterator[Path]:
    """The build directory of a plan, with its kernel built in it, and locked while the
    block lasts. The module needs it. With `anew`, it is emptied first."""
    with _directories(wanted, progress) as (tree, build_dir):
        if anew:
            _empty(build_dir)
        stamp = build_dir / STAMP
        if not stamp.exists() or stamp.read_text() != wanted.key:
            with cache.scratch("logs") as output:
                _compile_surely(wanted, tree, build_dir, output, progress)
        yield build_dir


@contextmanager
def _directories(wanted: BuildPlan, progress: Progress) -> Iterator[tuple[Path, Path]]:
    """The work tree and the build directory. The latter is locked; other cells may
    be built from the same tree meanwhile."""
    with cache.locked(cache.entry("worktrees", f"{wanted.build_name}.lock")):
        progress("checking out")
        with check_out(wanted.source) as tree:
            # Inside the source, all of kbuild's paths begin with `..`. So the compiler's
            # command line is the same in every work tree, and ccache finds what
            # another tree has compiled.
            yield tree, tree / f"build-{wanted.cell.name}"


def log_of(wanted: BuildPlan) -> Path:
    """The log of the last build of this plan, whether it failed or not."""
    return cache.entry("logs", f"{wanted.build_name}.log")


def _build(wanted: BuildPlan, directory: Path, progress: Progress) -> None:
    need_disk(NEEDED_BYTES)
    with _directories(wanted, progress) as (tree, build_dir):
        _compile_surely(wanted, tree, build_dir, directory, progress)
        arch = of(wanted.cell.arch)
        shutil.copy(build_dir / arch.image, directory)
        (directory / arch.image_name).chmod(0o644)  # if the farm is root, guests run as nobody
        shutil.copy(build_dir / "System.map", directory)
        config = directory / "config"
        shutil.copy(build_dir / ".config", config)
        notes = ["BPF_FTRACE: not asked for, the tree has no such option"] if wanted.without_feature else []
        notes += [f"{d.option}={d.wanted}: came out as {d.got}" for d in kconfig.compare(wanted.fragments, config)]
        (directory / "dropped-options").write_text("".join(f"{note}\n" for note in notes))
        (directory / "build.log").write_bytes(log_of(wanted).read_bytes())
        (directory / MODULE_INPUTS).write_text(_module_inputs(wanted, build_dir))


def _compile_surely(wanted: BuildPlan, tree: Path, build_dir: Path, output: Path, progress: Progress) -> None:
    """Compile. If that fails in a directory with earlier builds, compile again from scratch: the kernel
    is not to blame for what an earlier build left there."""
    history = build_dir.is_dir()
    try:
        _compile(wanted, tree, build_dir, output, progress)
    except OptionsDropped:
        raise
    except BuildFailed as failed:
        if not history:
            raise
        progress(f"failed, building once more from scratch: {str(failed).splitlines()[-1].strip()}")
        _empty(build_dir)
        _compile(wanted, tree, build_dir, output, progress)


def _empty(build_dir: Path) -> None:
    """Remove a build directory. The caller holds its lock."""
    if build_dir.is_dir():
        removal.remove(build_dir, cache.entry("worktrees", ""))


def _compile(wanted: BuildPlan, tree: Path, build_dir: Path, output: Path, progress: Progress) -> None:
    log_of(wanted).parent.mkdir(parents=True, exist_ok=True)
    (build_dir / STAMP).unlink(missing_ok=True)
    _configure(wanted, tree, build_dir, output, progress)
    _tuxmake(wanted, tree, build_dir, output, ["default"], progress)
    (build_dir / STAMP).write_text(wanted.key)


def _configure(wanted: BuildPlan, tree: Path, build_dir: Path, output: Path, progress: Progress) -> None:
    """Make the .config from this tree and these fragments. Raises OptionsDropped if it lacks a requested option."""
    build_dir.mkdir(parents=True, exist_ok=True)
    config, stamp = build_dir / ".config", build_dir / CONFIGURED
    texts = [part for fragment in wanted.fragments for part in (fragment.name, strict.text(fragment))]
    key = cache.digest(_files(wanted, _CONFIGURING), tools_of(wanted.cell), *texts)
    if stamp.exists() and config.exists() and stamp.read_text() == f"{key} {cache.digest(config.read_bytes())}":
        return
    stamp.unlink(missing_ok=True)
    # TuxMake configures only if there is no .config; kbuild compares the result
    # with the last one, and rebuilds what an option affects
    config.unlink(missing_ok=True)
    _tuxmake(wanted, tree, build_dir, output, ["config"], progress)
    dropped = kconfig.compare(wanted.fragments, config)
    if dropped and not wanted.cell.lenient:
        reasons = kconfig.explain(dropped, tree, config, of(wanted.cell.arch), wanted.cell.toolchain)
        lines = "\n".join(f"  {reason}" for reason in reasons)
        raise OptionsDropped(f"{wanted.cell.name}: the tree dropped options that the cell asks for:\n{lines}")
    stamp.write_text(f"{key} {cache.digest(config.read_bytes())}")


def _files(wanted: BuildPlan, pattern: str) -> str:
    """The files of a plan's source whose paths match, as git lists them, with the ids of their contents."""
    matches = re.compile(pattern.format(of(wanted.cell.arch).srcarch)).fullmatch
    lines = wanted.source.git("ls-tree", "-r", wanted.source.commit).splitlines()
    return "\n".join(line for line in lines if matches(line.partition("\t")[2]))


def _module_inputs(wanted: BuildPlan, build_dir: Path) -> str:
    """The key of what a module of this kernel is built from: headers, both written and
    generated, tools, options and exported symbols. The kernel's own code is not a part of
    it, except with BTF, where a module's types refer to those of the kernel."""
    config = (build_dir / ".config").read_text()
    code = wanted.key if "CONFIG_DEBUG_INFO_BTF=y" in config else ""
    headers = ("include", f"arch/{of(wanted.cell.arch).srcarch}/include")
    generated = [cache.digest_files(build_dir / where / "generated") for where in headers]
    exported = build_dir / "Module.symvers"  # none where modules are off
    symbols = exported.read_bytes() if exported.exists() else b""
    tools = tools_of(wanted.cell)
    return cache.digest(_files(wanted, _INCLUDED), tools, config, code, symbols, *generated)


class _Runtime(NullRuntime):
    """TuxMake's null runtime. Its commands die with the farm, and report progress."""

    name = "null"
    progress: Progress

    def get_command_prefix(self, interactive: bool) -> list[str]:
        # TERM, not KILL: make passes it on to the compilers below it
        return leashed([], "TERM")

    @property
    def offline_available(self) -> bool:
        # the user namespace for that would clear the parent-death signal
        return False

    def log(self, *stuff: str) -> None:
        super().log(*stuff)  # type: ignore[no-untyped-call]
        for line in stuff:
            if found := re.match(r"^\s\s(CC|AS|LD|AR|OBJCOPY|GEN|HOSTCC)\s+(?:\[M\]\s+)?(\S+)", line):
                self.progress(f"{found[1]} {found[2]}")


def set_up_ccache() -> None:
    """Have ccache keep its objects in the cache, unless the user's environment names another place, and
    have builds call it by a wrapper that says how much it may spare itself for a file."""
    os.environ.setdefault("CCACHE_DIR", str(cache.root() / "ccache"))
    os.environ.setdefault("CCACHE_MAXSIZE", "10G")
    others = [part for part in os.environ.get("PATH", os.defpath).split(os.pathsep) if part != str(_WRAPPER)]
    if ccache := shutil.which("ccache", path=os.pathsep.join(others)):  # else the shell misses it, and says so
        os.environ["FARM_CCACHE"] = ccache
        os.environ["PATH"] = os.pathsep.join([str(_WRAPPER), *others])


def _tuxmake(
    wanted: BuildPlan, tree: Path, build_dir: Path, output: Path, targets: Sequence[str], progress: Progress
) -> None:
    cell = wanted.cell
    set_up_ccache()
    try:
        build = Build(
            tree=tree,
            output_dir=output,
            build_dir=build_dir,
            target_arch=of(cell.arch).kbuild,
            toolchain=cell.toolchain,
            wrapper="ccache",
            environment=REPRODUCIBLE,
            kconfig="tinyconfig",
            kconfig_add=[str(fragment) for fragment in wanted.fragments],
            # any value keeps setlocalversion from asking git
            make_variables={"LOCALVERSION": "-farm", **llvm(cell)},
            targets=list(targets),
            runtime="null",
            verbose=True,  # without it, `make -s` prints no progress
            quiet=True,
        )
        runtime = _Runtime()
        # TuxMake needs one, even without containers
        runtime.set_image("none")  # type: ignore[no-untyped-call]
        runtime.progress = progress
        build.runtime = runtime
        echo(["tuxmake", f"--directory={tree}", f"--build-dir={build_dir}", *targets])
        build.run()
    except Terminated as error:
        raise KeyboardInterrupt from error
    except TuxMakeException as error:
        raise FarmError(f"{wanted.cell.name}: TuxMake: {error}") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise FarmError(f"disk full while building {wanted.cell.name} below {cache.root()}") from error
        raise FarmError(f"{wanted.cell.name}: {error.filename}: {error.strerror}; build again") from error
    if build.interrupted:
        raise KeyboardInterrupt
    log = log_of(wanted)
    shutil.copy(output / "build.log", log)
    failed = [name for name, info in build.status.items() if not info.passed]
    if failed:
        _blame(
            wanted.cell, failed[0], log, tree / "Makefile", *([] if "config" in targets else [build_dir / ".config"])
        )


def llvm(cell: Cell) -> dict[str, str]:
    """make's variables for a cell's toolchain: with clang also its linker and
    binutils of the same version, by `LLVM=-16`."""
    family, dash, version = cell.toolchain.partition("-")
    return {"LLVM": dash + version or "1"} if family == "clang" else {}


def make_variables(cell: Cell) -> dict[str, str]:
    """All variables that make needs for a cell, the same as TuxMake sets for the kernel."""
    arch = of(cell.arch)
    cross = {"ARCH": arch.kbuild, "CROSS_COMPILE": arch.cross_compile} if cross_prefix(arch) else {}
    return {**cross, **llvm(cell)}


def _blame(cell: Cell, target: str, log: Path, *needed: Path) -> None:
    """Raise the error for a failed build, which says who is to blame and where the log is."""
    text = log.read_text(errors="replace")
    check_host(cell.name, text, *needed)
    errors = first_errors(text)
    lines = "\n".join(f"  {line}" for line in errors)
    raise BuildFailed(f"{cell.name}: target {target} failed, log in {log}\n{lines}")


def version_of(tool: str) -> str:
    """The first line of `tool --version`, for the records."""
    return run([tool, "--version"]).splitlines()[0]
