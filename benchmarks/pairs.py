# SPDX-License-Identifier: GPL-2.0
"""Two checkouts of the farm, one after the other, again and again: what a change costs.

    python -m benchmarks.pairs BEFORE AFTER [-n PAIRS] -- run x86_64-regs

BEFORE and AFTER are checkouts in which `make setup` was run. The command is one of
farm's; each pair runs it once in either, in turns which is first. Times on a shared
machine differ by more than what is measured: believe the ratio, and the spread of it.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from pathlib import Path


def seconds(checkout: Path, words: list[str]) -> float:
    """How long the command takes in a checkout; its results go to a directory of its own."""
    with tempfile.TemporaryDirectory() as results:
        argv = [str(checkout / ".venv/bin/farm"), *words, "--results", results]
        started = time.monotonic()
        done = subprocess.run(argv, cwd=checkout, capture_output=True, text=True, check=False)
        took = time.monotonic() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)}: exit {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("-n", "--pairs", type=int, default=5)
    parser.add_argument("words", nargs="+", metavar="-- COMMAND")
    asked = parser.parse_args()
    both = [asked.before.resolve(), asked.after.resolve()]
    for checkout in both:
        seconds(checkout, asked.words)  # what is in the cache after it
    ratios = []
    for number in range(asked.pairs):
        order = both if number % 2 == 0 else both[::-1]
        took = {checkout: seconds(checkout, asked.words) for checkout in order}
        ratios.append(took[both[1]] / took[both[0]])
        print(f"pair {number + 1}: {took[both[0]]:.1f} s, {took[both[1]]:.1f} s, ratio {ratios[-1]:.3f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
