# SPDX-License-Identifier: GPL-2.0
"""Sends the result of a run to the people in the configuration, if there is news."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from farm.base.errors import Blamed, FarmError
from farm.history import changes, index, query, reading, store
from farm.history.changes import Side
from farm.history.reading import Besides
from farm.record.records import Run
from farm.tell import deliver, message
from farm.tell.config import Config
from farm.tell.message import Told


def look(directory: Path) -> Told:
    """A run, and how it differs from the last comparable one beside it. Raises
    FarmError if there is no run."""
    try:
        read = reading.read(directory)
    except reading.Unreadable as error:
        raise FarmError(f"{error}: there is nothing to send") from error
    results = directory.resolve().parent
    summary, seen = index.take(directory)
    besides = reading.besides(directory)
    try:
        index.index(results)
        with store.reading(results) as db:
            comparison = query.compared(db, summary)
    except FarmError as error:
        # for example on a full disk: then send it without the history, because it must be sent
        comparison = changes.compare(None, Side(summary, seen))
        besides = replace(besides, news=(*besides.news, f"not compared: {error}"))
    return Told(directory, read.run, read.verdicts, comparison, besides)


def without_run(directory: Path, name: str, command: Sequence[str], started: str, news: Sequence[str]) -> Told:
    """A night of that name that left no run of its cells, and why; `directory` has what it left."""
    run = Run(
        id=name,
        command=list(command),
        tree=None,
        series=None,
        select="",
        cells=[],
        accel="no guest",
        accel_reason="",
        workers=0,
        host={},
        versions={},
        matrix="",
        started=started,
        status="refused",
    )
    summary = reading.summary(directory, reading.Reading(run, (), ()), {})
    return Told(directory, run, (), changes.compare(None, Side(summary, {})), Besides(tuple(news)))


def tell(told: Told, config: Config, always: bool = False) -> list[str]:
    """Send what there is to send, and return to whom. If something fails, raises FarmError after
    sending all the rest; the verdicts are unchanged."""
    if not always and config.when == "changed" and not message.worth(told):
        return []
    ways: list[Callable[[], str]] = []
    if mail := config.mail:
        made = message.mail(told, mail.sender, mail.to, datetime.now().astimezone())
        ways.append(lambda: deliver.mail(made, mail))
    if hook := config.webhook:
        ways.append(lambda: deliver.webhook(message.document(told), hook))
    done, failed = [], []
    for way in ways:
        try:
            done.append(way())
        except Blamed as error:
            failed.append(error)
    if failed:
        also = f"told: {'; '.join(done)}\n" if done else ""
        causes = "\n".join(str(error) for error in failed)
        raise FarmError(f"{causes}\n{also}the verdicts are safe; once it is mended: farm tell {told.directory}")
    return done


def draft(told: Told, config: Config | None) -> str:
    """The text of the mail, for a look at it."""
    mail = config.mail if config else None
    sender, to = (mail.sender, mail.to) if mail else ("farm@localhost", ["you@localhost"])
    made = message.mail(told, sender, to, datetime.now().astimezone())
    head = "".join(f"{name}: {value}\n" for name, value in made.items() if name in ("From", "To", "Subject"))
    return f"{head}\n{message.body(told)}"
