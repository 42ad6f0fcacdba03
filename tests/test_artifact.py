# SPDX-License-Identifier: GPL-2.0
"""Artifacts: a name that travels, and a directory that is what was put there."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm import artifact
from farm.artifact import Ref, Unusable, exists, locate, parse
from farm.base import cache
from farm.base.errors import Exit
from farm.kernel.builder import Built, as_json, from_json
from farm.record import cellstate

KERNEL = Ref("kernels", "0123")


def write(directory: Path) -> None:
    (directory / "image").write_text("kernel\n")
    (directory / "below").mkdir()
    (directory / "below/config").write_text("CONFIG_X=y\n")


@given(st.sampled_from(sorted(cache.KINDS)), st.from_regex(r"[0-9a-f]{20}", fullmatch=True), st.text())
def test_names(kind: str, key: str, top: str) -> None:
    """As it is written now, and as the run directories of before have it: as a path in a cache."""
    assert parse(f"{kind}/{key}") == parse(f"{top}/{kind}/{key}") == Ref(kind, key)
    assert parse(str(Ref(kind, key))) == Ref(kind, key)


@pytest.mark.parametrize("text", ["", "kernels", "kernels/", "nix/0123", "/none", "a/kernels"])
def test_what_names_no_artifact(text: str) -> None:
    with pytest.raises(ValueError, match="names no artifact"):
        parse(text)


@pytest.mark.usefixtures("cache_root")
def test_made_once_and_found() -> None:
    assert not exists(KERNEL)
    made = artifact.make("kernels", "0123", write)
    assert made == KERNEL
    assert exists(KERNEL)
    assert (locate(KERNEL) / "image").read_text() == "kernel\n"
    assert artifact.make("kernels", "0123", lambda _: pytest.fail("made twice")) == KERNEL


def test_missing(cache_root: Path) -> None:
    with pytest.raises(Unusable) as raised:
        locate(KERNEL, "x86_64-regs")
    said = f"x86_64-regs: the cache in {cache_root} has no kernels/0123; `farm build x86_64-regs` makes it again"
    assert str(raised.value) == said
    assert raised.value.exit == Exit.FARM


@pytest.mark.parametrize("what", ["image", "below/config", ".contents", "another", "gone"])
def test_changed(cache_root: Path, what: str) -> None:
    """It is not used, and made again where it can be."""
    artifact.make("kernels", "0123", write)
    path = cache_root / "kernels/0123" / what
    if what == "gone":
        (cache_root / "kernels/0123/image").unlink()
    else:
        path.write_text("changed")
    artifact._contents.cache_clear()  # as in another process
    with pytest.raises(Unusable, match=r"x86_64-regs: kernels/0123 in .* was changed after it was stored"):
        locate(KERNEL, "x86_64-regs")
    artifact.make("kernels", "0123", write)
    assert (locate(KERNEL) / "image").read_text() == "kernel\n"
    assert (locate(KERNEL) / "below/config").read_text() == "CONFIG_X=y\n"
    assert not (locate(KERNEL) / "another").exists()


def test_artifact_of_a_farm_that_sealed_none(cache_root: Path) -> None:
    (cache_root / "kernels/0123").mkdir(parents=True)
    assert locate(KERNEL) == cache_root / "kernels/0123"


def test_built_as_it_was_written_before(tmp_path: Path) -> None:
    """A run directory of before has paths of somebody's cache; what is known of it is known still."""
    artifacts = Ref("kernels", "aa"), Ref("programs", "bb"), Ref("modules", "cc")
    built = Built("c", "source", "commit", "content", "aa", *artifacts, False, 2.5)
    assert from_json(as_json(built)) == built
    old = {**as_json(built), "kernel": "/home/u/.cache/ftrace-farm/kernels/aa", "module": "/x/modules/cc"}
    del old["arch"]
    assert from_json(old) == built
    cellstate.tell_built(tmp_path, built)
    text = (tmp_path / "cells/c/built.json").read_text()
    assert '"kernel": "kernels/aa"' in text
    assert "/home" not in text
