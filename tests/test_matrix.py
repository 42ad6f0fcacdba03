# SPDX-License-Identifier: GPL-2.0
"""The matrix: what it says when it is right, and where it points when it is wrong."""

from pathlib import Path

import pytest

from farm.base.errors import UsageError
from farm.matrix import FACTS, MATRIX, Machine, choose, load, of_version, without_feature
from farm.version import EVERY_VERSION, Version

GOOD = """\
trees:
  mine:
    package: linux-source-mine
    archive: /usr/src/mine.tar.xz
    series: patches/mine
fragments:
  base: []
  regs: [with_regs]
  missing: []
cells:
  one:
    about: the first
    tree: mine
    fragments: [base, regs]
    main: true
  two:
    about: the second
    tree: mine
    fragments: [base]
    guest: {memory: 128, cpus: 1, cmdline: quiet, boot: 3}
"""


def write(tmp_path: Path, text: str) -> Path:
    """A checkout with that matrix; its path."""
    for directory in ("kconfigs/x86_64", "patches/mine"):
        (tmp_path / directory).mkdir(parents=True)
    for fragment in ("base", "regs"):
        (tmp_path / f"kconfigs/x86_64/{fragment}.config").write_text("CONFIG_X=y\n")
    path = tmp_path / "kconfigs" / "matrix.yaml"
    path.write_text(text)
    return path


def test_the_real_one_loads() -> None:
    matrix = load()
    main = {cell.name for cell in matrix.cells.values() if cell.main}
    assert main == {"x86_64-regs", "x86_64-regs-fp", "x86_64-noregs", "x86_64-static"}
    for cell in matrix.cells.values():
        assert cell.tree in matrix.trees
        assert cell.supports <= set(FACTS)
        assert all(path.is_file() for path in cell.fragments + cell.feature)
        assert all(path.is_dir() for path in cell.patches)
        assert ("bpf_ftrace" in cell.supports) == bool(cell.feature), "who has the feature must declare it"


def test_values_and_defaults(tmp_path: Path) -> None:
    matrix = load(write(tmp_path, GOOD))
    one, two = matrix.cells["one"], matrix.cells["two"]
    assert one.fragments == tuple(tmp_path / f"kconfigs/x86_64/{name}.config" for name in ("base", "regs"))
    assert one.supports == {"with_regs"}
    assert not two.supports
    assert (one.machine, two.machine) == (Machine(224, 2, ""), Machine(128, 1, "quiet", 3))
    assert matrix.trees["mine"].series == tmp_path / "patches/mine"
    assert (one.versions, one.bounded) == (EVERY_VERSION, ())


def test_what_only_some_versions_have(tmp_path: Path) -> None:
    """A fact of a fragment, a whole cell, and the feature, which a tree without the series has not."""
    text = GOOD.replace("[with_regs]", "[with_regs, fprobe since v6.5, smp until v6.4]")
    text = text.replace("    main: true", "    since: v6.1\n    until: v7.2").replace(
        "linux-source-mine", "linux-source-6.4"
    )
    matrix = load(write(tmp_path, text))
    one = matrix.cells["one"]
    assert one.supports == {"with_regs", "fprobe", "smp"}
    assert of_version(one, Version(6, 4)).supports == {"with_regs", "smp"}
    assert of_version(one, Version(6, 5)).supports == {"with_regs", "fprobe"}
    assert [one.versions.hold(Version(*which)) for which in ((5, 19), (6, 1), (7, 2), (7, 3))] == [0, 1, 1, 0]
    assert matrix.trees["mine"].version == Version(6, 4)
    real = load().cells["x86_64-regs"]
    assert without_feature(real).supports == real.supports - {"bpf_ftrace"}
    assert not without_feature(real).feature


@pytest.mark.parametrize(
    "old, new, line, where",
    [
        ("    about: the first\n", "    abuot: the first\n", 12,
         "cells.one.abuot: no such key; did you mean about? there is: about, arch, tree"),
        ("    about: the first\n", "", 11, "cells.one.about: is missing"),
        ("    about: the first\n", "    about: 5\n", 12, "cells.one.about: must be text"),
        ("[with_regs]", "with_regs", 8, "fragments.regs: must be a list"),
        ("main: true", "main: maybe", 15, "cells.one.main: must be true or false"),
        ("memory: 128", "memory: lots", 20, "cells.two.guest.memory: must be a whole number"),
        ("memory: 128", "memory: 1", 20, "cells.two.guest.memory: must be at least 64"),
        ("cells:\n", "sells:\n", 10, "sells: no such key; did you mean cells? there is: trees, fragments, cells"),
        ("    tree: mine\n    fragments: [base, regs]", "    tree: your\n    fragments: [base, regs]", 13,
         "cells.one.tree: no tree 'your'; there is: mine"),
        ("[with_regs]", "[with_regs, magic]", 8, "fragments.regs.1: no fact 'magic'; there is: bpf_ftrace"),
        ("guest: {memory: 128, cpus: 1, cmdline: quiet, boot: 3}", "guest: some", 20, "cells.two.guest"),
        ("fragments: [base]\n    guest", "fragments: [base, nix]\n    guest", 19,
         "cells.two.fragments.1: no fragment 'nix'; there is: base, regs, missing"),
        ("fragments: [base]\n    guest", "fragments: [base, missing]\n    guest", 19,
         "cells.two.fragments.1: there is no"),
        ("fragments: [base]\n    guest", "fragments: [../../etc]\n    guest", 19,
         "cells.two.fragments.0: must be up to 100 of a-z"),
        ("series: patches/mine", "series: patches/none", 5, "trees.mine.series: there is no"),
    ],
)  # fmt: skip
def test_complaint_has_line_and_key(tmp_path: Path, old: str, new: str, line: int, where: str) -> None:
    assert GOOD.count(old) == 1
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(UsageError) as error:
        load(path)
    complaints = str(error.value).splitlines()
    assert any(text.startswith(f"{path}:{line}: {where}") for text in complaints), complaints


def test_all_complaints_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("about: the first", "about: 1").replace("about: the second", "about: 2"))
    with pytest.raises(UsageError) as error:
        load(path)
    assert [text.split(": ")[1] for text in str(error.value).splitlines()] == ["cells.one.about", "cells.two.about"]


@pytest.mark.parametrize(
    "text, said",
    [
        ("cells: [", "not YAML"),
        ("", "the whole file"),
        ("trees: {}\ncells: {}\n", "cells: "),
        ("- a\n- b\n", "the whole file"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError, match=said) as error:
        load(path)
    assert str(error.value).startswith(f"{path}:")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml: No such file"):
        load(tmp_path / "none.yaml")


def test_choose_keeps_the_order_of_the_matrix() -> None:
    matrix = load(MATRIX)
    names = [cell.name for cell in choose(matrix, ["x86_64-static", "x86_64-regs"])]
    assert names == ["x86_64-regs", "x86_64-static"]
    assert [cell.name for cell in choose(matrix, [])] == [name for name, cell in matrix.cells.items() if cell.main]


def test_choose_unknown_cell() -> None:
    with pytest.raises(UsageError, match=r"no cell 'x86_64-reg'; .*x86_64-regs, "):
        choose(load(), ["x86_64-regs", "x86_64-reg"])
