# SPDX-License-Identifier: GPL-2.0
"""Reports a night in the morning: lines with its run, the screen, the site, a mail. If one of them fails,
for example on a full disk, the others are still made."""

import re
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.text import Text

from farm.base.atomic import save_json
from farm.base.errors import Blamed, Exit, FarmError
from farm.history import index, query, reading, store
from farm.history.model import order
from farm.history.reading import Besides
from farm.hunt.mutants import Outcome, Score
from farm.nightly import night as nights
from farm.nightly.night import Night
from farm.record import records
from farm.report import changes as change_report
from farm.report.site.make import make as make_site
from farm.report.text import plain
from farm.tell import config as tell_config
from farm.tell import tell as telling

#: The outcomes of mutants that need action.
LOUD = (Outcome.SURVIVED, Outcome.ERROR)


def show(out: Console, results: Path, directory: Path, night: Night) -> Exit:
    """Print what changed, make the site, and send a mail as tell.yaml says, if there is one. Returns the exit
    status of the night, 3 if any of this failed."""
    failed = False

    def attempt(what: Callable[[], None]) -> None:
        nonlocal failed
        try:
            what()
        except (Blamed, OSError) as error:
            failed = True
            out.print(Text(f"{'farm' if isinstance(error, Blamed) else 'host'}: {error}"), soft_wrap=True)

    attempt(lambda: _take(out, results))
    told = Besides()

    def write_down() -> None:
        nonlocal told
        told = besides(results, night)
        if where := _cells(night):
            save_json(results / where / reading.NIGHT, asdict(told))

    attempt(write_down)
    attempt(lambda: _changes(out, results, night))
    for line in (*told.news, *told.notes):
        out.print(Text(plain(f"{night.id}: {line}")), soft_wrap=True)
    attempt(lambda: out.print(Text(str(make_site(results, _cells(night)))), soft_wrap=True))
    if tell_config.default().exists():
        attempt(lambda: _tell(out, results, directory, night, told))
    return Exit.FARM if failed else night.exit


@contextmanager
def told_of_failure(results: Path) -> Iterator[None]:
    """Send a mail as tell.yaml says if the night itself cannot begin or continue: nobody reads its output."""
    try:
        yield
    except Exception as error:
        if tell_config.default().exists():
            now = records.now()
            said = f"the night failed: {str(error) or type(error).__name__}"
            name = f"{nights.PREFIX}{re.sub('[^0-9]', '', now)[:14]}"
            try:
                told = telling.without_run(results, name, ["nightly"], now, [said])
                telling.tell(told, tell_config.load(tell_config.default()))
            except Blamed as untold:
                print(f"no message could be sent: {untold}", file=sys.stderr)
        raise


def _cells(night: Night) -> str:
    return next(step.run for step in night.steps if step.name == "cells")


def _take(out: Console, results: Path) -> None:
    for one in index.index(results).skipped:
        out.print(Text(plain(f"not taken: {one}")), soft_wrap=True)


def _changes(out: Console, results: Path, night: Night) -> None:
    with store.reading(results) as db:
        for step in night.steps:
            if ran := query.run(db, step.run):
                change_report.show(out, query.compared(db, ran))


def _tell(out: Console, results: Path, directory: Path, night: Night, told: Besides) -> None:
    """Send one message about the cells and the night, and one about the kernel's own tests."""
    config = tell_config.load(tell_config.default())
    failed = []
    for step in night.steps:
        if step.name in ("mutants", "trees") or (step.name == "selftests" and not step.run):
            continue
        try:
            look = (
                telling.look(results / step.run)
                if step.run
                else telling.without_run(directory, night.id, step.words, night.started, told.news)
            )
            if done := telling.tell(look, config):
                out.print(Text(f"told {'; '.join(done)}"), soft_wrap=True)
        except Blamed as error:
            failed.append(str(error))
    if failed:
        raise FarmError("\n".join(failed))


def besides(results: Path, night: Night) -> Besides:
    """What happened in a night besides the results of its runs."""
    news, notes = [], []
    for step in night.steps:
        if step.name == "trees" and step.exit not in (None, Exit.PASSED):
            news.append("trees: the newest of Debian's kernels could not all be had; `farm fetch` says why")
        elif step.name != "mutants" and not step.run and step.exit != Exit.PASSED:
            news.append(f"{step.name}: `farm {step.words[0]}` left no run; {step.said or f'it ended with {step.exit}'}")
        elif step.exit is None or (step.said and step.exit != Exit.PASSED):
            news.append(f"{step.name}: {step.said or 'not done yet'}")
        elif step.said:
            notes.append(f"{step.name}: {step.said}")
    scores = nights.tried(results, night)
    if scores:
        with store.reading(results) as db:
            news += _loud(scores, _known(db, night))
        tested = [score for score in scores.values() if score.outcome is not Outcome.EQUIVALENT]
        caught = sum(score.outcome in (Outcome.CAUGHT, Outcome.OTHERWISE) for score in tested)
        notes.append(f"mutants: {caught} of {len(tested)} caught")
    return Besides(tuple(news), (*notes, *(f"left out: {one}" for one in night.left)))


def _known(db: sqlite3.Connection, night: Night) -> dict[str, str]:
    """The outcome of each mutant when it was last tried before this night."""
    before = [hunt for hunt in store.mutations(db) if order(hunt.id, "") <= order(night.last_hunt, "")]
    return {name: end for hunt in before for name, end in hunt.outcomes.items() if end != Outcome.LEFT}


def _loud(scores: Mapping[str, Score], known: Mapping[str, str]) -> list[str]:
    """The mutants that now have a bad outcome, but had none before."""
    return [
        f"mutant {name}: {score.outcome}" + (f" in {score.cell}" if score.cell else "")
        for name, score in scores.items()
        if score.outcome in LOUD and known.get(name) != score.outcome
    ]
