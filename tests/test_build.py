# SPDX-License-Identifier: GPL-2.0
"""What decides a kernel's key, and what a build log is boiled down to."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from farm.base.atomic import save_json
from farm.base.errors import FarmError
from farm.kernel.blame import first_errors
from farm.kernel.build import BuildPlan, plan, set_up_ccache, toolchain, version_of
from farm.kernel.tree import FEATURE_HEADER, from_user
from farm.matrix import Cell, load
from tests.conftest import Repository

LOGS = Path(__file__).parent / "data" / "build"


@pytest.mark.parametrize(
    "log, errors",
    [
        ("compiler", [
            "../kernel/trace/bpf_ftrace.c:41:23: error: ‘struct ftrace_regs’ has no member named ‘arg9’",
            "../kernel/trace/bpf_ftrace.c:52:1: error: expected ‘;’ before ‘}’ token",
        ]),
        ("header", ["../kernel/trace/bpf_ftrace.c:5:10: fatal error: linux/bpf_ftrace.h: No such file or directory"]),
        ("assembler", ["../arch/x86/kernel/ftrace_64.S:171: Error: no such instruction: `movx %rdi,112(%rsp)'"]),
        ("linker", [
            "/tmp/linux/build-x/../kernel/trace/ftrace.c:1512:(.text+0x1c2): undefined reference to `bpf_ftrace_match'",
            "ld: /tmp/linux/build-x/../kernel/trace/ftrace.c:1519:(.text+0x1f0): "
            "undefined reference to `bpf_ftrace_match'",
        ]),
        ("modpost", ['ERROR: modpost: "bpf_ftrace_match" [drivers/x.ko] undefined!']),
        ("objtool", [
            "arch/x86/kernel/ftrace_64.o: error: objtool: ftrace_caller+0x1f: unsupported stack register modification"
        ]),
        ("make", [
            "make[2]: *** No rule to make target 'kernel/trace/none.o', needed by 'kernel/trace/built-in.a'.  Stop.",
            "make[1]: *** [/tmp/linux/Makefile:224: __sub-make] Error 2",
        ]),
    ],
)  # fmt: skip
def test_first_errors(log: str, errors: list[str]) -> None:
    assert first_errors((LOGS / f"{log}.log").read_text()) == errors


def test_every_log_has_a_test() -> None:
    parameters = test_first_errors.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {path.stem for path in LOGS.iterdir()} == {log for log, _ in parameters}


def test_first_errors_of_a_log_without_any() -> None:
    assert first_errors("one\ntwo\nthree\n\n", most=2) == ["two", "three"]
    assert first_errors("") == []


def test_first_errors_are_few_and_different() -> None:
    lines = [f"a.c:{n // 2}:1: error: no\n" for n in range(100)]
    assert first_errors("".join(lines)) == [f"a.c:{n}:1: error: no" for n in range(5)]


def tool(directory: Path, name: str, text: str) -> None:
    (directory / name).write_text(text)
    (directory / name).chmod(0o755)


def test_toolchain_is_the_same_until_a_tool_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert toolchain() == toolchain()
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("gcc", "ld", "as", "pahole", "clang-19", "ld.lld-19"):
        tool(tmp_path, name, "#!/bin/sh\n")
    before = toolchain()
    assert toolchain() == before
    tool(tmp_path, "ld", "#!/bin/sh\n# another one\n")
    assert toolchain() != before
    clang = toolchain("clang-19")
    tool(tmp_path, "ld.lld-19", "#!/bin/sh\n# another one\n")
    assert toolchain("clang-19") != clang
    (tmp_path / "as").unlink()
    with pytest.raises(FarmError, match="as: not found"):
        toolchain()


def test_version_of_names_a_version() -> None:
    assert version_of("git").startswith("git version ")


# What decides a kernel.


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    (tmp_path / "base.config").write_text("CONFIG_A=y\n")
    (tmp_path / "feature.config").write_text("CONFIG_BPF_FTRACE=y\n")
    fragments, feature = (tmp_path / "base.config",), (tmp_path / "feature.config",)
    return replace(load().cells["x86_64-regs"], fragments=fragments, feature=feature)


@pytest.fixture
def wanted(linux: Repository, cell: Cell, cache_root: Path) -> BuildPlan:
    return plan(cell, from_user(str(linux.path)), False)


def test_key_is_of_content(linux: Repository, cell: Cell, wanted: BuildPlan) -> None:
    linux.git("commit", "--quiet", "--allow-empty", "--message", "Nothing new")
    same = plan(replace(cell, about="another text", name="other"), from_user(str(linux.path)), False)
    assert same.source.commit != wanted.source.commit
    assert same.key == wanted.key


def test_key_changes_with_source_and_fragments(linux: Repository, cell: Cell, wanted: BuildPlan) -> None:
    keys = {wanted.key}
    linux.write({"Kbuild": "changed\n"})
    keys.add(plan(cell, from_user(str(linux.path)), False).key)
    cell.fragments[0].write_text("# CONFIG_A is not set\n")
    keys.add(wanted.key)
    keys.add(replace(wanted, fragments=wanted.fragments[::-1]).key)
    assert len(keys) == 4


@pytest.mark.usefixtures("cache_root")
@pytest.mark.parametrize("in_tree", [False, True])
@pytest.mark.parametrize("bare", [True, False])
def test_feature_is_left_out_only_where_there_is_none(linux: Repository, cell: Cell, in_tree: bool, bare: bool) -> None:
    if in_tree:
        linux.write({FEATURE_HEADER: "struct bpf_ftrace_args;\n"})
    made = plan(cell, from_user(str(linux.path)), bare)
    assert made.without_feature == (bare and not in_tree)
    assert (cell.feature[0] in made.fragments) != made.without_feature


def test_save_json_replaces(tmp_path: Path) -> None:
    save_json(tmp_path / "x.json", {"a": 1})
    save_json(tmp_path / "x.json", {"a": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
    assert (tmp_path / "x.json").read_text() == '{\n "a": 2\n}\n'


@pytest.fixture
def compile_with_ccache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Compiles a file as kbuild would, with an empty ccache, and gives the object."""
    monkeypatch.setenv("CCACHE_DIR", str(tmp_path / "ccache"))
    monkeypatch.setenv("CCACHE_LOGFILE", str(tmp_path / "log"))
    monkeypatch.setenv("PATH", os.environ["PATH"])
    set_up_ccache()
    set_up_ccache()  # as it is before each target

    def compiled(source: str) -> Path:
        command = ["ccache", "gcc", "-Wp,-MMD,x.d", "-D__KERNEL__", "-c", "-o", "x.o", source]
        subprocess.run(command, cwd=tmp_path, check=True)
        return tmp_path / "x.o"

    return compiled


@pytest.mark.parametrize("wish", ["", "1"])
@pytest.mark.parametrize(
    ("source", "text"),
    [("piggy.S", '.section .rodata\n.incbin "image"\n'), ("configs.c", 'asm(".incbin \\"image\\"");\n')],
)
def test_included_binary_is_never_stale(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    compile_with_ccache: Callable[[str], Path],
    source: str,
    text: str,
    wish: str,
) -> None:
    """bzImage is made of piggy.S, whose text is the same for two kernels of the same size."""
    if wish:
        monkeypatch.setenv("CCACHE_DEPEND", wish)
    (tmp_path / source).write_text(text)
    for image in (b"the first kernel", b"another kernel!!"):
        (tmp_path / "image").write_bytes(image)
        assert image in compile_with_ccache(source).read_bytes()


def test_kernel_code_is_compiled_without_a_preprocessor_before(
    tmp_path: Path, compile_with_ccache: Callable[[str], Path]
) -> None:
    """ccache's depend mode: a quarter of the time of a build from nothing. Headers are seen in it."""
    (tmp_path / "x.c").write_text('#include "x.h"\n')
    for name in (b"first_symbol", b"other_symbol"):
        (tmp_path / "x.h").write_bytes(b"int " + name + b";")
        assert name in compile_with_ccache("x.c").read_bytes()
    log = (tmp_path / "log").read_text()
    assert "preprocessed_cache_miss" not in log
    assert log.count("Result: cache_miss") == 2
