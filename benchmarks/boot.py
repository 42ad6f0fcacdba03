# SPDX-License-Identifier: GPL-2.0
"""How long a guest takes from QEMU's start to the answer of its first command,
and what QEMU takes of the host's memory meanwhile.

    python -m benchmarks.boot [CELL] [TIMES]

The kernel must be in the cache already: `farm build CELL`.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from farm.guest import accel, vm
from farm.kernel import builder
from farm.matrix import MATRIX, choose, load
from farm.worker.spec import guest_spec


def main(name: str = "x86_64-regs", times: str = "10") -> None:
    (cell,) = choose(load(), [name])
    assert cell.machine, f"{name} has no guest"
    process = builder.start(builder.Order([name], None, None, str(MATRIX)))
    (built,) = [event.built for event in builder.events(process) if event.built]
    chosen = accel.choose("auto")
    spec = guest_spec(cell, built, chosen.name)
    ready, answered, memory = [], [], []
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(int(times)):
            started = time.monotonic()
            with vm.boot(spec, Path(directory) / "console.log") as guest:
                ready.append(guest.boot_seconds)
                guest.connection.run("uname -r", guest.deadline(20))
                answered.append(time.monotonic() - started)
                memory.append(guest.resident())
    print(f"{name} under {chosen.name}, {times} boots, load {Path('/proc/loadavg').read_text().split()[0]}")
    for what, values, unit in (
        ("SSH session", ready, "s"),
        ("first command answered", answered, "s"),
        ("resident memory of QEMU", memory, "MiB"),
    ):
        print(f"  {what}: median {statistics.median(values):.2f}, from {min(values):.2f} to {max(values):.2f} {unit}")


if __name__ == "__main__":
    main(*sys.argv[1:])
