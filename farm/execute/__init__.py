# SPDX-License-Identifier: GPL-2.0
"""Where units of work run. Each executor keeps the contract of farm.execute.contract, and has a name here."""

from farm.base.errors import UsageError
from farm.execute.contract import Executor
from farm.execute.local import Local

EXECUTORS: dict[str, Executor] = {"local": Local()}


def named(name: str) -> Executor:
    """The executor of a name. Raises UsageError if there is none."""
    if name not in EXECUTORS:
        raise UsageError(f"no executor {name!r}; there is: {', '.join(EXECUTORS)}")
    return EXECUTORS[name]
