# SPDX-License-Identifier: GPL-2.0
"""An executor for tests, which starts no process: two functions say how builds and tests end."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from farm.base.interrupt import kill_interrupts
from farm.execute.contract import Capacity, Ended, Sink
from farm.kernel.builder import Event, Order
from farm.matrix import Cell
from farm.record.records import Planned, VerdictRecord
from farm.worker.selftests import Compared
from farm.worker.unit import Pair, Unit

#: A test of a unit, and what gives its verdict.
Test = tuple[Planned, Callable[[Path], VerdictRecord]]


class Scripted:
    """`events` are those of a builder; `tests` are those of a unit, in any order of suites; `compared`
    are the kernel's own tests."""

    def __init__(
        self,
        events: Callable[[Order], Iterator[Event]],
        tests: Callable[[Unit], Sequence[Test]],
        compared: Callable[[Pair, Path], Iterator[Compared]] | None = None,
    ) -> None:
        self._events = events
        self._tests = tests
        self._compared = compared

    def capacity(self, cells: Sequence[Cell], accel: str) -> Capacity:
        return Capacity(2, "tcg", "asked for", {"machine": "x86_64"}, {"qemu": "none"})

    @contextmanager
    def build(self, order: Order) -> Iterator[Iterator[Event]]:
        yield self._events(order)

    def test(self, units: Sequence[Unit], directory: Path, sink: Sink, guests: int, stop: bool) -> Ended:
        try:
            with kill_interrupts():
                for unit in units:
                    for event in self._events(unit.order):
                        sink.build_event(event)
                tests = [test for unit in units for test in self._of(unit)]
                sink.planned([planned for planned, _ in tests])
                for _, verdict in tests:
                    record = verdict(directory)
                    sink.verdict(record)
                    if stop and record.bad:
                        return Ended.STOPPED
        except KeyboardInterrupt:
            return Ended.INTERRUPTED
        return Ended.FINISHED

    def _of(self, unit: Unit) -> list[Test]:
        """The tests of a unit that are not done, in their order."""

        def again(planned: Planned, verdict: Callable[[Path], VerdictRecord], attempt: int) -> Test:
            return replace(planned, attempt=attempt), lambda at: replace(verdict(at), attempt=attempt)

        first = {suite: number for number, suite in enumerate(unit.first)}
        tests = sorted(self._tests(unit), key=lambda test: first.get(test[0].suite, len(first)))
        repeated = [again(*test, attempt) for attempt in range(1, unit.repeat + 1) for test in tests]
        return [test for test in repeated if test[0] not in unit.done]

    def compare(
        self,
        pair: Pair,
        directory: Path,
        report: Callable[[Mapping[str, int]], None],
        notice: Callable[[str], None],
    ) -> Iterator[Compared]:
        assert self._compared
        report(dict.fromkeys(pair.kernels, 0))
        return self._compared(pair, directory)
