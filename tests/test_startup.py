# SPDX-License-Identifier: GPL-2.0
"""The tests of tracers at boot, as the log tells of them."""

from farm.guest.startup import outcomes

GOOD = """\
[    0.410000] Running postponed tracer tests:
[    0.420000] Testing tracer function: PASSED
[    0.900000] Testing dynamic ftrace: PASSED
[    1.400000] Testing dynamic ftrace ops #1: 
[    2.000000] (1 0 1 0 0) 
[    2.100000] (1 1 2 0 0) 
[    2.600000] (2 1 3 0 332) 
[    2.700000] (2 2 4 0 357) PASSED
[    3.000000] Testing ftrace regs: PASSED
[    3.100000] Testing tracer nop: PASSED
[    3.200000] Testing kprobe tracing: OK
[    3.300000] trace_kprobe: Testing kprobe tracing again: OK
"""  # noqa: W291

TORN = """\
[    0.420000] Testing tracer irqsoff: 
[    0.430000] random: crng init done
[    0.440000] PASSED
[    0.450000] Testing tracer wakeup: .. no entries found ..FAILED!
[    0.460000] ------------[ cut here ]------------
[    0.470000] Testing tracer wakeup_rt: 
[    0.480000] Testing tracer wakeup_dl: PASSED
[    0.490000] PASSED
[    0.500000] Testing kprobe tracing: NG: Some tests are failed. Please check them.
"""  # noqa: W291


def test_all_good() -> None:
    assert outcomes(GOOD) == {
        "tracer function": "PASSED",
        "dynamic ftrace": "PASSED",
        "dynamic ftrace ops #1": "PASSED",
        "ftrace regs": "PASSED",
        "tracer nop": "PASSED",
        "kprobe tracing": "OK",
        "kprobe tracing again": "OK",
    }


def test_failed_torn_and_without_an_end() -> None:
    assert outcomes(TORN) == {
        "tracer irqsoff": "PASSED",
        "tracer wakeup": "FAILED!",
        "tracer wakeup_rt": "",
        "tracer wakeup_dl": "PASSED",
        "kprobe tracing": "NG: Some tests are failed. Please check them.",
    }


def test_a_log_without_tests() -> None:
    assert outcomes("[    0.1] Linux version 6.12\n") == {}
