# SPDX-License-Identifier: GPL-2.0
"""What people type and write that is wrong, and what the farm must answer.

A row is what is typed behind `farm`, the exit status, and what the message must hold. Names in
braces are places below the test's directory, made by `make`.
"""

import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

from farm.record import records
from farm.record.records import Run, VerdictRecord
from farm.record.verdict import Verdict
from tests.conftest import LINUX, Repository

Row = tuple[str, int, str]

GOOD_MATRIX = """\
trees:
  mine:
    package: linux-source-mine
    archive: /usr/src/mine.tar.xz
    series: patches/mine
fragments:
  base: []
  regs: [with_regs]
cells:
  one:
    about: the first
    tree: mine
    fragments: [base, regs]
    main: true
"""

#: Matrices by name: what is replaced in the good one, by what, and what must be said.
MATRICES: dict[str, tuple[str, str, str]] = {
    "twice": ("cells:\n", "cells:\n  one:\n    about: lost\n    tree: mine\n    fragments: [base]\n",
              "matrix.yaml:14: cells.one: stands twice, in lines 10 and 14"),
    "twice-key": ("    main: true\n", "    main: true\n    main: false\n", "main: stands twice, in lines 14 and 15"),
    "unknown-key": ("    main:", "    mian:", "cells.one.mian: no such key; did you mean main? there is: about"),
    "unknown-top": ("fragments:\n", "fragmints:\n", "fragmints: no such key; did you mean fragments?"),
    "unknown-tree": ("    tree: mine", "    tree: mien", "no tree 'mien'; did you mean mine? there is: mine"),
    "unknown-fact": ("[with_regs]", "[with_reg]", "no fact 'with_reg'; did you mean with_regs? there is: bpf_ftrace"),
    "fact-of-no-version": ("[with_regs]", "[with_regs since 6.12]", "'since 6.12' is not when it is so; write"),
    "unknown-fragment": ("[base, regs]", "[base, rags]", "no fragment 'rags'; did you mean regs? there is: base"),
    "number": ("about: the first", "about: 5", "cells.one.about: must be text"),
    "no-list": ("[with_regs]", "with_regs", "fragments.regs: must be a list"),
    "no-bool": ("main: true", "main: maybe", "cells.one.main: must be true or false"),
    "missing": ("    about: the first\n", "", "cells.one.about: is missing"),
    "no-fragments": ("[base, regs]", "[]", "cells.one.fragments: must not be empty"),
    "long-fragment": ("[base, regs]", f"[{'f' * 257}]", "fragments.0: must be up to 100 of a-z, 0-9"),
    "long-cell": ("  one:\n", f"  {'c' * 257}:\n", "must be up to 100 of a-z, 0-9"),
    "long-series": ("patches/mine", "p" * 5000, "trees.mine.series: there is no"),
    "guest": ("    main: true", "    guest: {memory: 1}", "cells.one.guest.memory: must be at least 64"),
    "guest-word": ("    main: true", "    guest: large", "cells.one.guest: must have keys and values"),
    "guest-key": ("    main: true", "    guest: {cpu: 1}", "cpu: no such key; did you mean cpus? there is: memory"),
    "arch": ("    main: true", "    arch: arm64", "cells.one.arch: no architecture 'arm64'; there is: x86_64"),
    "toolchain": ("    main: true", "    toolchain: tcc", "cells.one.toolchain: must be gcc or clang"),
    "since": ("    main: true", "    since: 6.12", "cells.one.since: must be text; put it into quotes"),
    "until": ("    main: true", "    until: '6.12'", "cells.one.until: must be a version, as v6.12"),
    "suite": ("    series: patches/mine", "    suite: Debian 13", "trees.mine.suite: must be a suite of Debian"),
    "package": ("linux-source-mine", "../mine", "trees.mine.package: must be the name of a Debian package"),
    "nightly": ("    series: patches/mine", "    nightly: [two]", "trees.mine.nightly.0: no cell 'two'; there is: one"),
    "unclosed": ("[with_regs]", "[with_regs", "not YAML: "),
    "tab": ("  base: []", "\tbase: []", "matrix.yaml:7: not YAML: "),
    "control": ("the first", "the \x01 first", "matrix.yaml:11: not YAML: the character"),
    "date": ("the first", "2026-13-45", "not YAML: month must be in 1..12"),
    "alias": ("[with_regs]", "*nowhere", "matrix.yaml:8: not YAML: found undefined alias"),
    "no-cells": (GOOD_MATRIX[GOOD_MATRIX.index("cells:"):], "cells: {}\n", "cells: must not be empty"),
    "word": (GOOD_MATRIX, "matrix\n", "the whole file: must have keys and values"),
    "empty": (GOOD_MATRIX, "", "the whole file: is empty; it needs trees, fragments, cells"),
    "comment": (GOOD_MATRIX, "# cells\n", "the whole file: is empty"),
    "deep": (GOOD_MATRIX, "[" * 5000, "not YAML that can be read: it is nested too deep"),
    "no-file": ("[base, regs]", "[base]", "cells.one.fragments.0: there is no"),
}  # fmt: skip

#: Run directories by name: the key of run.json that is replaced, and by what; None takes it away.
RUNS: dict[str, tuple[str, object]] = {
    "whole": ("id", "whole"),
    "left": ("status", "interrupted"),
    "schema": ("schema", 99),
    "no-schema": ("schema", None),
    "no-cells": ("cells", None),
    "cells-word": ("cells", "x86_64-regs"),
    "planned-word": ("planned", "many"),
    "no-host": ("host", 5),
}

PATCH = """\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: {author} <a@localhost>
Date: Sat, 1 Jan 2000 00:00:00 +0000
Subject: [PATCH] Change

A change.
---
{diff}
--
2.39.0
"""

#: A change of what `tests.conftest.LINUX` has, and one of what it has not.
DIFF = """\
diff --git a/Kconfig b/Kconfig
--- a/Kconfig
+++ b/Kconfig
@@ -1 +1,2 @@
 mainmenu "Test"
+# more
"""
STRANGE_DIFF = DIFF.replace('mainmenu "Test"', 'mainmenu "Strange"')


def make(place: Path) -> None:
    """Lay out what the rows name."""
    linux = Repository(place / "linux")
    linux.commit(LINUX, "Import")
    Repository(place / "other").commit({"README": "mine\n"})
    Repository(place / "bare-of-commits")
    for name in ("nogit", "empty-series", "odd-series", "results", "a-directory.patch", "dir@"):
        (place / name).mkdir()
    (place / "a-file").write_text("a file\n")
    (place / "odd-series/0001-odd.patch").write_text("no patch\n")
    _patches(place, linux)
    _matrices(place / "matrices")
    _runs(place / "results")


def _patches(place: Path, linux: Repository) -> None:
    patches = {
        "diff.patch": DIFF.encode(),
        "unified.patch": DIFF.partition("\n")[2].encode(),
        "empty.patch": b"",
        "blank.patch": b"\n \n",
        "binary.patch": bytes(range(256)) * 9,
        "words.patch": b"please change the kernel\n",
        "strange.patch": PATCH.format(author="A", diff=STRANGE_DIFF).encode(),
        "strange-latin1.patch": PATCH.format(author="J\u00f6rg", diff=STRANGE_DIFF).encode("latin-1"),
        "no-file.patch": PATCH.format(author="A", diff=DIFF.replace("Kconfig", "none.c")).encode(),
        "no-change.patch": PATCH.format(author="A", diff="").encode(),
        "nobody.patch": PATCH.format(author="", diff=DIFF).replace("<a@localhost>", "").encode(),
    }
    for name, content in patches.items():
        (place / name).write_bytes(content)
    (place / "in-it.patch").write_text(PATCH.format(author="A", diff=DIFF))
    patched = shutil.copytree(linux.path, place / "patched")
    words = ["git", "-C", str(patched), "-c", "user.name=U", "-c", "user.email=u@localhost", "am", "--quiet"]
    subprocess.run([*words, str(place / "in-it.patch")], check=True)


def _matrices(place: Path) -> None:
    for name, (old, new, _) in MATRICES.items():
        assert GOOD_MATRIX.count(old) == 1, name
        _matrix(place / name, GOOD_MATRIX.replace(old, new).encode())
        if name == "no-file":
            (place / name / "kconfigs/x86_64/base.config").unlink()
    _matrix(place / "latin1", GOOD_MATRIX.replace("the first", "the f\u00fcrst").encode("latin-1"))
    _matrix(place / "zeros", bytes(100))
    _matrix(place / "bad-fragment", GOOD_MATRIX.encode())
    (place / "bad-fragment/kconfigs/x86_64/base.config").write_bytes(b"CONFIG_A=y\n# \xfc\n")
    _matrix(place / "no-option", GOOD_MATRIX.encode())
    (place / "no-option/kconfigs/x86_64/regs.config").write_text("CONFIG_A=y\nA=y\n")
    _matrix(place / "good", GOOD_MATRIX.encode())


def _matrix(place: Path, text: bytes) -> None:
    for directory in ("kconfigs/x86_64", "patches/mine"):
        (place / directory).mkdir(parents=True)
    for fragment in ("base", "regs"):
        (place / f"kconfigs/x86_64/{fragment}.config").write_text("CONFIG_X=y\n")
    (place / "kconfigs/matrix.yaml").write_bytes(text)


def _runs(results: Path) -> None:
    for name, (key, value) in RUNS.items():
        directory = results / name
        run = Run(
            id=name, command=["farm", "run"], tree=None, series=None, select="", cells=["x86_64-regs"], accel="tcg",
            accel_reason="asked for", workers=1, host={}, versions={}, matrix="m", started=records.now(),
            status="finished", finished=records.now(), planned=1, exit=0,
        )  # fmt: skip
        directory.mkdir()
        raw = asdict(run) | {key: value}
        (directory / "run.json").write_text(json.dumps({k: v for k, v in raw.items() if (k, v) != (key, None)}))
        records.append_verdict(directory, VerdictRecord("test_a", "slots", "x86_64-regs", Verdict.PASS, 0.1))
    whole = (results / "left/run.json").read_text()
    for name, text in (("cut", whole[:100]), ("no-json", "run\n"), ("a-list", "[]"), ("no-run-json", "")):
        (results / name).mkdir()
        (results / name / "run.json").write_text(text)
    for name, line in (("garbage", "\x00\x00\x01\n"), ("half", '{"test": "test_b"}\n'), ("typed", '{"test": 5}\n')):
        shutil.copytree(results / "left", results / name)
        with (results / name / "verdicts.jsonl").open("a") as handle:
            handle.write(line)
        records.append_verdict(results / name, VerdictRecord("test_c", "slots", "x86_64-regs", Verdict.PASS, 0.1))


WRONG_MATRICES: list[Row] = [
    (f"cells --matrix {{matrices}}/{name}/kconfigs/matrix.yaml", 2, said) for name, (_, _, said) in MATRICES.items()
]

ROWS: list[Row] = [
    # commands and options
    ("nix", 2, "No such command 'nix'"),
    ("rnu", 2, "Did you mean 'run'?"),
    ("mutant", 2, "Did you mean 'mutants'?"),
    ("cells --nix", 2, "No such option: --nix"),
    ("run --result x", 2, "--results"),
    ("run --tre x", 2, "--tree"),
    ("run --acel tcg", 2, "--accel"),
    ("run -z", 2, "No such option: -z"),
    ("run --partial=3", 2, "Option '--partial' does not take a value"),
    ("cells --matrix", 2, "Option '--matrix' requires an argument"),
    ("boot", 2, "Missing argument 'CELL'"),
    ("boot x86_64-regs x86_64-off", 2, "unexpected extra argument"),
    ("exec", 2, "Missing argument 'CELL'"),
    ("exec x86_64-regs", 2, "Missing argument '-- CMD…'"),
    ("compare a", 2, "Missing argument"),
    ("export whole", 2, "Missing option '--format'"),
    ("bisect --bad b", 2, "Missing option '--good'"),
    # cells
    ("run nix", 2, "no cell 'nix'; `farm cells` lists them: x86_64-regs"),
    ("run x86_64-reg", 2, "no cell 'x86_64-reg'; did you mean x86_64-regs?"),
    ("run ''", 2, "no cell ''"),
    ("run --all x86_64-regs", 2, "--all and x86_64-regs: name cells, or give --all"),
    ("fetch debian-7", 2, "no tree 'debian-7'; did you mean debian-7.3? there is: debian-6.12"),
    ("run x86_64-nograph --tree debian-7.3", 2, "x86_64-nograph is for kernels until v6.13, and debian-7.3 is v7.3"),
    ("cells --tree debian-7", 2, "--tree debian-7: no such directory"),
    ("cells x86_64-reg", 2, "did you mean x86_64-regs?"),
    ("build nix", 2, "no cell 'nix'"),
    ("build --all x86_64-regs", 2, "--all and x86_64-regs"),
    ("boot nix", 2, "no cell 'nix'"),
    ("exec nix -- true", 2, "no cell 'nix'"),
    ("tests nix", 2, "no cell 'nix'"),
    ("series nix", 2, "no cell 'nix'"),
    ("selftests nix", 2, "no cell 'nix'"),
    ("mutants --cell nix", 2, "no cell 'nix'"),
    ("bisect --good a --bad b --tree {linux} --cell nix", 2, "no cell 'nix'"),
    ("config-bisect --good nix --bad x86_64-regs", 2, "no cell 'nix'"),
    ("config-bisect --minimise nix", 2, "no cell 'nix'"),
    ("selftests {only-built}", 2, "{only-built} is only built, it has no guest; see `farm cells`"),
    ("boot {only-built}", 2, "{only-built} is only built, it has no guest"),
    ("exec {only-built} -- true", 2, "{only-built} is only built, it has no guest"),
    ("bisect --good a --bad b --tree {linux} --cell {only-built}", 2, "{only-built}: it is only built"),
    # -k
    ("run -k 'slots and ('", 2, "-k 'slots and (': expected not OR left parenthesis OR identifier; got end of input"),
    ("run -k 'slots and'", 2, "got end of input, column 10; write names with and, or, not, as 'slots and not arg6'"),
    ("run -k 'a or or b'", 2, "got or, column 6"),
    ("run -k 'slots; rm'", 2, """unexpected character ";", column 6"""),
    ("run -k ''", 2, "-k is empty; give EXPR, or leave out the option"),
    ("run -k ' '", 2, "-k is empty"),
    ("run -k '()'", 2, "got right parenthesis"),
    ("run -k 'not'", 2, "-k 'not': expected"),
    ("run -k 'a b'", 2, "got identifier"),
    ("run -k 'a & b'", 2, 'unexpected character "&"'),
    ("run -k 'a) or (b'", 2, "got right parenthesis"),
    ("tests -k 'and'", 2, "-k 'and': expected"),
    ("series -k 'abi or'", 2, "-k 'abi or': expected"),
    ("bisect --good a --bad b -k 'slots and ('", 2, "-k 'slots and (': expected"),
    ("config-bisect --minimise x86_64-regs -k '(('", 2, "-k '((': expected"),
    # numbers
    ("run --repeat 0", 2, "Invalid value for '--repeat'"),
    ("run --repeat x", 2, "Invalid value for '--repeat'"),
    ("run --repeat 1000000000", 2, "Invalid value for '--repeat'"),
    ("run -n -1", 2, "Invalid value for '-n'"),
    ("run --guests many", 2, "Invalid value for '-n'"),
    ("run --guests 100000", 2, "Invalid value for '-n'"),
    ("run --accel kvn", 2, "'kvn' is none of auto, kvm, tcg"),
    ("exec x86_64-regs --accel '' -- true", 2, "'' is none of auto, kvm, tcg"),
    ("exec x86_64-regs --limit 0 -- true", 2, "0.0 must be more than 0"),
    ("exec x86_64-regs --limit -5 -- true", 2, "-5.0 must be more than 0"),
    ("exec x86_64-regs --limit nan -- true", 2, "nan must be more than 0"),
    ("exec x86_64-regs --limit inf -- true", 2, "inf must be more than 0, and at most a million"),
    ("exec x86_64-regs --limit soon -- true", 2, "Invalid value for '--limit'"),
    ("bisect --good a --bad b --tree {linux} --confidence 1.5", 2, "--confidence 1.5: must be between 0 and 1"),
    ("bisect --good a --bad b --tree {linux} --confidence 0", 2, "--confidence 0.0: must be between 0 and 1"),
    ("bisect --good a --bad b --tree {linux} --confidence nan", 2, "--confidence nan: must be between 0 and 1"),
    ("bisect --good a --bad b --tries 0", 2, "Invalid value for '--tries'"),
    ("config-bisect --minimise x86_64-regs --confidence 2", 2, "--confidence 2.0: must be between 0 and 1"),
    ("mutants --clean -1", 2, "Invalid value for '--clean'"),
    ("series --from 0", 2, "Invalid value for '--from'"),
    ("nightly --budget 6", 2, "--budget '6': give hours or minutes, as in 6h or 90m"),
    ("nightly --budget -1h", 2, "give hours or minutes"),
    ("nightly --budget ''", 2, "--budget '': give hours or minutes"),
    ("nightly --budget 1s", 2, "--budget '1s'"),
    ("nightly --install --at 25:99", 2, "--at '25:99': the time must be HH:MM, 00:00 to 23:59"),
    ("nightly --install --at noon", 2, "--at 'noon': the time must be HH:MM"),
    ("nightly --at 01:30", 2, "--at is the time for --install"),
    ("clean --runs -1", 2, "Invalid value for '--runs'"),
    # trees
    ("run --tree /nonexistent", 2, "--tree /nonexistent: no such directory; give PATH or PATH@REV"),
    ("run --tree debian-7.4", 2, "and no tree of the matrix; did you mean debian-7.3? give PATH, PATH@REV, or one of"),
    ("run --tree ''", 2, "--tree is empty; give PATH[@REV]|NAME, or leave out the option"),
    ("run --tree {linux}@", 2, "no revision after the @"),
    ("run --tree @", 2, "--tree @: no such directory"),
    ("run --tree {linux}@nix", 2, "has no revision 'nix'"),
    ("run --tree {linux}@-x", 2, "has no revision '-x'"),
    ("run --tree {place}/nogit", 2, "is not a git repository that can be read"),
    ("run --tree {place}/other", 2, "this is no Linux source, it has no Kconfig"),
    ("run --tree {place}/bare-of-commits", 2, "has no revision 'HEAD'"),
    ("run --tree {place}/a-file", 2, "no such directory"),
    ("run --tree ~nobody-of-that-name/linux", 2, "no such directory"),
    ("run --tree {long}", 2, "no such directory"),
    ("build --tree /nonexistent", 2, "--tree /nonexistent: no such directory"),
    ("boot x86_64-regs --tree /nonexistent", 2, "--tree /nonexistent: no such directory"),
    ("exec x86_64-regs --tree /nonexistent -- true", 2, "--tree /nonexistent: no such directory"),
    ("selftests --tree /nonexistent", 2, "--tree /nonexistent: no such directory"),
    ("selftests --base /nonexistent", 2, "/nonexistent: no such directory"),
    ("series --tree /nonexistent", 2, "--tree /nonexistent: no such directory"),
    ("bisect --good a --bad b --tree /nonexistent", 2, "/nonexistent: no such directory"),
    ("bisect --good a --bad b --tree {place}/nogit", 2, "no git repository that can be read"),
    ("bisect --good nix --bad HEAD --tree {linux}", 2, "has no revision 'nix'"),
    ("bisect --good HEAD --bad HEAD --tree {linux}", 2, "are the same commit"),
    ("bisect --good HEAD --tree {linux}", 2, "no bad end: give --bad REV, or --tree PATH@REV"),
    ("bisect --good HEAD --bad b --tree {linux}@c", 2, "the tree's revision is the bad end; name it once"),
    ("bisect --good HEAD --tree {linux}@nix", 2, "has no revision 'nix'"),
    ("config-bisect", 2, "give --good CELL and --bad CELL, or --minimise CELL"),
    ("config-bisect --good x86_64-regs", 2, "give --good CELL and --bad CELL"),
    ("config-bisect --good a --bad b --minimise c", 2, "give --good CELL and --bad CELL, or --minimise CELL"),
    ("config-bisect --good x86_64-regs --bad x86_64-regs", 2, "are the same cell"),
    # series
    ("run --series /nonexistent", 2, "--series /nonexistent: no such directory; give a directory of patches, or none"),
    ("run --tree {linux} --series /nonexistent", 2, "--series /nonexistent: no such directory"),
    ("run --tree {linux} --series ''", 2, "--series is empty"),
    ("run --tree {linux} --series {place}/a-file", 2, "no such directory; give a directory of patches, or none"),
    ("run --tree {linux} --series {place}/empty-series", 2, "no *.patch files in this directory"),
    ("run --tree {linux} --series {place}/odd-series", 2, "0001-odd.patch does not apply: it is no patch as"),
    ("run --tree {linux}", 2, "does not apply; the tree is as it was"),
    ("build x86_64-regs --tree {linux} --series {place}/odd-series", 2, "0001-odd.patch does not apply"),
    ("series --series /nonexistent", 2, "--series /nonexistent: no such directory"),
    ("series --tree {linux} --series {place}/empty-series", 2, "no *.patch files in this directory"),
    ("nightly --series /nonexistent", 2, "--series /nonexistent: no such directory"),
    ("nightly --tree /nonexistent", 2, "--tree /nonexistent: no such directory"),
    # patches
    ("run --patch /nonexistent", 2, "--patch /nonexistent: no such file"),
    ("run --patch ''", 2, "--patch is empty"),
    ("run --patch {place}/a-directory.patch", 2, "this is a directory; for all patches in it give --series"),
    ("run --patch /dev/null", 2, "/dev/null: this is no file that can be read twice"),
    ("run --patch {place}/empty.patch", 2, "empty.patch: this patch is empty"),
    ("run --patch {place}/blank.patch", 2, "blank.patch: this patch is empty"),
    (
        "run --patch {place}/diff.patch",
        2,
        "this is a diff without author and message; commit the change, and take what",
    ),
    ("run --patch {place}/unified.patch", 2, "`git format-patch -1` writes of it"),
    ("run {one} --patch {place}/binary.patch", 2, "binary.patch does not apply: it is no patch as"),
    ("run {one} --patch {place}/words.patch", 2, "words.patch does not apply: it is no patch as"),
    ("run {one} --patch {place}/strange.patch", 2, "  Kconfig: the hunk at line 1 (@@ -1 +1,2 @@)"),
    ("run {one} --patch {place}/strange.patch", 2, "strange.patch does not apply; the tree is as it was"),
    ("run {one} --patch {place}/strange-latin1.patch", 2, "  Kconfig: the hunk at line 1"),
    ("run {one} --patch {place}/no-file.patch", 2, "none.c: does not exist in index"),
    ("run {one} --patch {place}/no-change.patch", 2, "no-change.patch does not apply"),
    ("run {one} --patch {place}/nobody.patch", 2, "nobody.patch does not apply"),
    ("run {patched} --patch {place}/in-it.patch", 2, "in-it.patch: the tree has this patch already; leave it out"),
    ("build {one} --patch {place}/strange.patch", 2, "strange.patch does not apply"),
    ("boot {one} --patch {place}/strange.patch", 2, "strange.patch does not apply"),
    ("exec {one} --patch {place}/diff.patch -- true", 2, "this is a diff without author and message"),
    ("selftests {one} --patch /nonexistent", 2, "--patch /nonexistent: no such file"),
    ("bisect --good HEAD~ --bad HEAD --tree {place}/patched --patch /nonexistent", 2, "/nonexistent: no such file"),
    # pokes
    ("run --poke nonsense", 2, "--poke 'nonsense': not SYMBOL[+OFFSET][:OLD]=NEW with bytes in hex, as"),
    ("run --poke ''", 2, "--poke '': not SYMBOL"),
    ("run --poke a=", 2, "not SYMBOL"),
    ("run --poke a=xyz", 2, "not SYMBOL"),
    ("run --poke a:00=001", 2, "001 is half a byte too short or too long: two digits make a byte"),
    ("run --poke a:0=00", 2, "0 is half a byte too short or too long"),
    ("run --poke a:00=0011", 2, "1 bytes cannot be replaced by 2"),
    ("run --poke a+x=00", 2, "the offset x is no number; write it as 24 or 0x18"),
    ("run --poke a+0x=00", 2, "the offset 0x is no number"),
    ("run --poke a+0xffffffffffffffff=00", 2, "is beyond the end of every function"),
    # mutants
    ("mutants nix", 2, "no mutant 'nix'; there is"),
    ("mutants S-restore-r9-forgoten", 2, "there is: S-restore-r9-forgotten"),
    ("mutants 'Z-*'", 2, "no mutant 'Z-*'"),
    ("mutants --clean 3 --list", 2, "--clean tries no mutant: leave out --list and --dry-run"),
    # runs
    ("run --resume nix --results {results}", 2, "no run nix: neither"),
    ("run --resume '' --results {results}", 2, "no run "),
    ("run --resume whole --results {results}", 2, "the run is finished, there is nothing to go on with"),
    ("run --resume cut --results {results}", 2, "cut/run.json: not JSON, it may have been cut off"),
    ("run --resume no-json --results {results}", 2, "no-json/run.json: not JSON"),
    ("run --resume a-list --results {results}", 2, "a-list/run.json: schema none, this farm reads 1"),
    ("run --resume no-run-json --results {results}", 2, "no-run-json/run.json: not JSON"),
    ("run --resume schema --results {results}", 2, "schema/run.json: schema 99, this farm reads 1"),
    ("run --resume no-schema --results {results}", 2, "no-schema/run.json: schema none"),
    ("run --resume no-cells --results {results}", 2, "no-cells/run.json: cells is missing"),
    ("run --resume cells-word --results {results}", 2, "cells-word/run.json: cells: must be a list"),
    ("run --resume planned-word --results {results}", 2, "planned: must be a whole number"),
    ("run --resume no-host --results {results}", 2, "host: must be keys and values"),
    ("run --resume garbage --results {results}", 2, "garbage/verdicts.jsonl:2: this is no verdict: not JSON"),
    ("run --resume half --results {results}", 2, "verdicts.jsonl:2: this is no verdict: suite is missing"),
    ("run --resume typed --results {results}", 2, "verdicts.jsonl:2: this is no verdict: test: must be text"),
    (
        "run --resume left -k slots --results {results}",
        2,
        "--resume continues a run with its own options: leave out -k",
    ),
    ("run x86_64-regs --resume left --results {results}", 2, "leave out CELL"),
    ("run --resume left --repeat 2 --patch x --results {results}", 2, "leave out --patch, --repeat"),
    ("run --resume left --accel tcg --results {results}", 2, "leave out --accel"),
    ("run --resume {long} --results {results}", 2, "no run "),
    ("run --results {place}/a-file", 2, "--results {place}/a-file: File exists; it is in the way of a directory"),
    ("run --results {place}/a-file/below", 2, "a-file/below: Not a directory; it is in the way"),
    ("run --results /proc/foo", 2, "--results /proc/foo: No such file or directory"),
    ("export nix --format ktap --results {results}", 2, "no run nix: neither"),
    ("export whole --format ktpa --results {results}", 2, "--format ktpa: did you mean ktap?"),
    ("export whole --format '' --results {results}", 2, "there is junit, ktap, kcidb, jsonl"),
    ("export cut --format ktap --results {results}", 2, "cut/run.json"),
    ("export whole --format ktap -o /nonexistent/x --results {results}", 3, "/nonexistent/x"),
    ("compare whole nix --results {results}", 2, "nix: neither a run directory nor a run of"),
    ("compare whole:x86_64-regs left --results {results}", 2, "name a cell of both runs or of neither"),
    ("compare whole:nix left:nix --results {results}", 2, "has no cell nix; it has x86_64-regs"),
    ("compare '' '' --results {results}", 2, "neither a run directory nor a run of"),
    ("compare cut left --results {results}", 2, "cut/run.json"),
    ("report nix --results {results}", 2, "nix"),
    # tell
    ("tell nix --results {results}", 2, "no run nix"),
    ("tell whole --config /nonexistent --results {results}", 2, "/nonexistent: no such file: docs/telling.md says"),
    ("tell whole --config {place}/a-file --results {results}", 2, "the whole file: must have keys and values"),
    # matrices
    ("cells --matrix /nonexistent", 2, "/nonexistent: No such file or directory"),
    ("cells --matrix {place}", 2, "Is a directory; name a file"),
    ("cells --matrix {long}", 2, "File name too long; give a shorter one"),
    ("cells --matrix {matrices}/latin1/kconfigs/matrix.yaml", 2, "matrix.yaml:11: byte 0xfc is not UTF-8; save the"),
    ("cells --matrix {matrices}/zeros/kconfigs/matrix.yaml", 2, "matrix.yaml:1: not YAML: the character"),
    ("run --matrix {matrices}/twice/kconfigs/matrix.yaml", 2, "cells.one: stands twice"),
    ("run one --matrix {matrices}/bad-fragment/kconfigs/matrix.yaml", 2, "base.config:2: byte 0xfc is not UTF-8"),
    ("run one --matrix {matrices}/no-option/kconfigs/matrix.yaml", 2, "regs.config:2: neither CONFIG_NAME=value nor"),
    ("build one --matrix {matrices}/no-option/kconfigs/matrix.yaml", 2, "regs.config:2: neither CONFIG_NAME=value nor"),
    ("build one --matrix {matrices}/good/kconfigs/matrix.yaml", 3, "/usr/src/mine.tar.xz is missing; install it"),
    *WRONG_MATRICES,
]
