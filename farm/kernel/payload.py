# SPDX-License-Identifier: GPL-2.0
"""Builds the C code that runs inside a guest: the agent, the BPF programs, and the modules of a kernel."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from farm import artifact
from farm.artifact import Ref
from farm.base import cache
from farm.base.command import CommandFailed, run
from farm.base.errors import BuildFailed, FarmError
from farm.kernel import abi, build
from farm.kernel.blame import check_host, first_errors
from farm.kernel.build import BuildPlan, Kernel, Progress
from farm.matrix import CHECKOUT

SOURCES = CHECKOUT / "payload"


@dataclass(frozen=True)
class Payload:
    """`programs` has the static agent and *.bpf.o. They are the same for every kernel,
    because they are built against the published contract, never against a tree.
    `module` has abi.o or abi.error, and for a cell that is booted also
    ftrace_target.ko and the modules that tests load."""

    programs: Ref
    module: Ref


def payload(wanted: BuildPlan, kernel: Kernel, progress: Progress) -> Payload:
    """The payload for a kernel, from the cache or built now."""
    return Payload(programs(progress), _module(wanted, kernel, progress))


def programs(progress: Progress) -> Ref:
    key = cache.digest("programs-1", cache.digest_files(SOURCES), build.toolchain())

    def make(directory: Path) -> None:
        progress("agent and BPF programs")
        try:
            run(["make", "-C", SOURCES, f"O={directory}", "agent", "bpf"])
        except CommandFailed as error:
            raise FarmError(f"{SOURCES}: the payload does not build\n{error}") from error
        shutil.rmtree(directory / "obj")

    return artifact.make("programs", key, make)


def _module(wanted: BuildPlan, kernel: Kernel, progress: Progress) -> Ref:
    parts = ("module", f"arch/{wanted.cell.arch}", "include", "abi")
    sources = [cache.digest_files(SOURCES / part) for part in parts]
    key = cache.digest("module-2", kernel.module_inputs, *sources)

    def make(directory: Path) -> None:
        try:
            _build_module(wanted, directory, progress)
        except BuildFailed as failed:  # earlier builds in the directory may be the reason
            progress(f"failed, building once more from scratch: {str(failed).splitlines()[-1].strip()}")
            _build_module(wanted, directory, progress, anew=True)

    return artifact.make("modules", key, make)


def _build_module(wanted: BuildPlan, directory: Path, progress: Progress, anew: bool = False) -> None:
    # the build directory may belong to another state of the tree by now
    with build.prepared(wanted, progress, anew) as build_dir, cache.scratch("modules") as scratch:
        if wanted.cell.machine:
            progress("target module")
            for part in ("module", "include"):
                shutil.copytree(SOURCES / part, scratch / part)
            shutil.copytree(SOURCES / "arch" / wanted.cell.arch, scratch / "module", dirs_exist_ok=True)
            variables = [f"{name}={value}" for name, value in build.make_variables(wanted.cell).items()]
            # the module must not depend on where it is built: WARN() stores __FILE__
            variables.append(f"KCFLAGS=-ffile-prefix-map={scratch}=.")
            try:
                run(["make", "-C", build_dir, f"M={scratch / 'module'}", *variables, "modules"])
            except CommandFailed as error:
                check_host(f"{wanted.cell.name}: the target module", error.output, build_dir / ".config")
                lines = "\n".join(f"  {line}" for line in first_errors(error.output))
                raise BuildFailed(f"{wanted.cell.name}: the target module does not build\n{lines}") from error
            for module in (scratch / "module").glob("*.ko"):
                shutil.copy(module, directory)
        headers = (build_dir / "source").resolve() / abi.HEADERS
        abi.compile_headers(headers.glob("bpf*.h"), scratch / "abi")
        for left in (scratch / "abi").glob("abi.*"):
            shutil.copy(left, directory)
