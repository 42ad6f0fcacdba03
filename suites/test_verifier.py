# SPDX-License-Identifier: GPL-2.0
"""BPF_PROG_LOAD: what a filter may do, what it may not, and how it is translated."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from farm.guest.agent import Agent, Refused
from farm.version import Version
from suites import arch, assembler, calls, filters, versions
from suites.assembler import R0, R1, R2, R3, R6, R10, Code, Instruction
from suites.contract import (
    ARGS_OFFSETS,
    BPF_F_SLEEPABLE,
    BPF_MAP_TYPE_ARRAY,
    BPF_MAP_TYPE_PROG_ARRAY,
    BPF_PERF_EVENT,
    FTRACE_TYPE,
    HELPERS,
    prog_type,
)
from suites.tracefs import Tracing

pytestmark = pytest.mark.needs("bpf_ftrace")

FUNCTION = "target_args5"

TRACE_IT = assembler.mov(R0, 1) + assembler.leave()

#: Those of one program type or another, above all of kprobes, from which a
#: filter differs by what its context is. A sleeping one ends the list.
FORBIDDEN_HELPERS = (
    "override_return", "perf_event_output", "get_stackid", "get_stack", "get_attach_cookie", "perf_prog_read_value",
    "read_branch_records", "get_func_arg", "d_path", "seq_printf", "sys_bpf", "skb_load_bytes", "redirect",
    "copy_from_user",
)  # fmt: skip


def _refused(agent: Agent, errno: str, what: str, code: Code, **options: Any) -> None:
    """That the program is refused, with the verifier's reasons if it is not as expected."""
    got, log = "success", ""
    try:
        filters.load(agent, code, **options)
    except Refused as refused:
        got, log = refused.name, refused.log
    assert got == errno, f"{what} gave {got}, not {errno}\n{log}"


def _read(offset: int, size: int) -> Code:
    return assembler.load(R0, R1, offset, size)


def _shifted(by: int) -> Code:
    """A read at a place that the instruction does not tell by itself."""
    return assembler.alu("+", R1, by) + assembler.load(R0, R1, 0)


#: r2 is 0 or 8, as arg1 wants it.
VARIABLE = assembler.load(R2, R1, 0, 1) + assembler.alu("&", R2, 8) + assembler.alu("+", R1, R2)

BAD_ACCESS: dict[str, list[Code]] = {
    "write": [
        *(assembler.store(R1, 8, 0, size) for size in (1, 2, 4, 8)),
        assembler.store(R1, 0, R10),
        assembler.mov(R2, 1) + assembler.store(R1, 32, R2),
        assembler.mov(R2, 1) + assembler.fetch_add(R1, 0, R2),
    ],
    "negative_offset": [_read(-8, 8), _read(-4, 4), _read(-1, 1), _read(-32768, 8), _shifted(-8)],
    "beyond_the_end": [_read(40, 8), _read(40, 4), _read(40, 1), _read(36, 8), _read(112, 8), _read(32767, 1)],
    "misaligned": [_read(4, 8), _read(1, 8), _read(2, 4), _read(33, 4), _read(1, 2), _read(39, 2)],
    "variable_offset": [VARIABLE + assembler.load(R0, R1, 0), VARIABLE + assembler.load(R0, R1, 0, 1)],
    "moved_context": [_shifted(8), _shifted(40), _shifted(1)],
}


@pytest.mark.parametrize("what", BAD_ACCESS)
def test_bad_access(agent: Agent, what: str) -> None:
    for number, code in enumerate(BAD_ACCESS[what], 1):
        _refused(agent, "EACCES", f"access to the context, {what} {number}", code + TRACE_IT)


def test_good_access(agent: Agent) -> None:
    """One program may read every aligned part of every argument, any number of times."""
    reads = [_read(offset, size) for size in (1, 2, 4, 8) for offset in range(0, 40, size)]
    filters.load(agent, tuple(instruction for code in reads for instruction in code) + TRACE_IT)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_signed_access(agent: Agent, tracing: Tracing, size: int) -> None:
    """A part of an argument may be read with its sign: -1 is -1, wherever the part is."""
    tracing.start("function", FUNCTION)
    for offset in range(0, 8, size):
        code = assembler.load_signed(R2, R1, 8 + offset, size) + assembler.mov(R0, 0)
        code += assembler.jump_if("!=", R2, -1, "refused") + assembler.mov(R0, 1) + assembler.label("refused")
        event = filters.open_event(agent, FUNCTION)
        filters.set_program(agent, event, filters.load(agent, code + assembler.leave()))
        ones = ((1 << 8 * size) - 1) << 8 * offset
        tracing.clear()
        calls.call(agent, *(("args5", (7, value, 7, 7, 7)) for value in (ones, ones >> 1 & ones, ones ^ calls.MASK)))
        agent.request("close", fd=event)
        traced = tracing.calls()
        assert traced == {FUNCTION: 1}, (
            f"of 3 calls one has -1 in the {size} bytes from byte {offset} of arg2 on, and the trace has {dict(traced)}"
        )


def test_program_array(agent: Agent) -> None:
    """Tail calls work only between programs of the same type."""
    array = agent.request("map_create", type=BPF_MAP_TYPE_PROG_ARRAY, key_size=4, value_size=4, max_entries=2)["fd"]
    for number, expected in ((FTRACE_TYPE, "success"), (prog_type("KPROBE"), "EINVAL"), (FTRACE_TYPE, "success")):
        value = filters.load(agent, TRACE_IT, number).to_bytes(4, "little").hex()
        got = filters.refusal(agent, "map_update", fd=array, key="00000000", value=value)
        assert got == expected, f"a program of type {number} in an array of filters gave {got}, not {expected}"


def test_forbidden_helpers(agent: Agent) -> None:
    for helper in FORBIDDEN_HELPERS:
        _refused(agent, "EINVAL", f"bpf_{helper}", assembler.call(HELPERS[helper]) + TRACE_IT)


def test_function_address_is_not_known(agent: Agent) -> None:
    """get_func_ip is refused: this helper of tracing programs works only in a few of their types."""
    _refused(agent, "ENOTSUPP", "bpf_get_func_ip", assembler.call(HELPERS["get_func_ip"]) + TRACE_IT)


def test_no_sleeping(agent: Agent) -> None:
    _refused(agent, "EINVAL", "a program that may sleep", TRACE_IT, flags=BPF_F_SLEEPABLE)


def test_no_attach_type(agent: Agent) -> None:
    """There is one way to attach a filter, so it may name none. Types that never look at theirs take any."""
    for attach_type in (1, BPF_PERF_EVENT):
        options = {"expected_attach_type": attach_type}
        filters.load(agent, TRACE_IT, prog_type("TRACEPOINT"), **options)
        _refused(agent, "EINVAL", f"a program with expected_attach_type {attach_type}", TRACE_IT, **options)


@pytest.mark.parametrize("what", ["spinlock", "timer"])
def test_forbidden_map(agent: Agent, version: Version, what: str) -> None:
    """A map that a tracing program might have to wait for is refused. Another type takes the same map."""
    path = f"/payload/{what}.bpf.o"
    agent.request("object_load", path=path, ftrace_type=prog_type("SCHED_CLS"))
    got = filters.refusal(agent, "object_load", path=path, ftrace_type=FTRACE_TYPE)
    refused = what == "spinlock" or not versions.TIMERS_ALLOWED.hold(version)
    allowed = what == "timer" and not versions.TIMERS_REFUSED.hold(version)
    expected = ["EINVAL"] * refused + ["success"] * allowed
    assert got in expected, f"a map with a {what} gave {got}, not {' or '.join(expected)}"


@pytest.mark.needs("fentry")  # for the kernel's BTF
def test_context_of_a_global_function(agent: Agent, tracing: Tracing) -> None:
    """A global function is verified by itself, and may take the context of a filter, as BTF says."""
    try:
        loaded = agent.request("object_load", path="/payload/global.bpf.o", ftrace_type=FTRACE_TYPE)
    except Refused as refused:
        raise AssertionError(f"a global function does not get the context: {refused}\n{refused.log}") from refused
    (program,) = loaded["programs"].values()
    filters.set_program(agent, filters.open_event(agent, FUNCTION), program)
    tracing.start("function", FUNCTION)
    calls.call(agent, *(("args5", (value, 7, 7, 7, 7)) for value in (1, 7, 1 << 63 | 7, 7)))
    traced = tracing.calls()
    assert traced == {FUNCTION: 2}, f"of 4 calls 2 have arg1 == arg2, and the trace has {traced}"


@pytest.mark.needs("fentry")  # for the kernel's BTF
def test_kernel_type_of_the_context(agent: Agent) -> None:
    """A filter may ask for its context as the kernel knows it, and finds nothing in it to read: the
    trampoline does not fill all registers."""
    got, log = "success", ""
    try:
        agent.request("object_load", path="/payload/cast.bpf.o", ftrace_type=FTRACE_TYPE)
    except Refused as refused:
        got, log = refused.name, refused.log
    assert got == "EACCES", f"a read through the kernel's type of the context gave {got}, not EACCES\n{log}"


def test_no_test_run(agent: Agent) -> None:
    """A test run is refused, because there is no call. The same program of another type runs."""
    code = TRACE_IT
    other = filters.load(agent, code, prog_type("RAW_TRACEPOINT"))
    assert int(agent.request("prog_test_run", fd=other)["retval"], 16) == 1
    program = filters.load(agent, code)
    for ctx in ({}, {"ctx": bytes(40).hex()}):
        got = filters.refusal(agent, "prog_test_run", fd=program, **ctx)
        assert got == "ENOTSUPP", f"BPF_PROG_TEST_RUN gave {got}, not ENOTSUPP"


# What is allowed, and does what it says.


@dataclass(frozen=True)
class Helper:
    """Code that leaves a helper's result in R0, and what the result must be like."""

    code: Code
    right: Callable[[int, Agent], bool]


def _call(name: str) -> Code:
    return assembler.call(HELPERS[name])


#: Four bytes of the stack, and the address of them in R2 or R1.
_KEY = assembler.store(R10, -8, 0, 8) + assembler.mov(R2, R10) + assembler.alu("+", R2, -8)


def _pid(agent: Agent) -> int:
    return int(agent.request("hello")["pid"])


def _helpers(scratch: int) -> dict[str, Helper]:
    comm = assembler.mov(R1, R10) + assembler.alu("+", R1, -16) + assembler.mov(R2, 16)
    read = assembler.mov(R1, R10) + assembler.alu("+", R1, -8) + assembler.mov(R2, 8)
    into_map = assembler.map_fd(R1, scratch) + _KEY
    found = assembler.jump_if("==", R0, 0, "none") + assembler.load(R0, R0, 0) + assembler.label("none")
    value = assembler.store(R10, -16, 77) + assembler.mov(R3, R10) + assembler.alu("+", R3, -16)
    written = into_map + value + assembler.mov(assembler.R4, 0) + _call("map_update_elem")
    return {
        "get_current_pid_tgid": Helper(
            _call("get_current_pid_tgid"), lambda got, agent: got == _pid(agent) << 32 | _pid(agent)
        ),
        "get_current_uid_gid": Helper(_call("get_current_uid_gid"), lambda got, _: got == 0),
        "get_current_comm": Helper(
            comm + _call("get_current_comm") + assembler.load(R0, R10, -16),
            lambda got, _: got.to_bytes(8, "little") == b"agent\0\0\0",
        ),
        "get_smp_processor_id": Helper(_call("get_smp_processor_id"), lambda got, _: got == 0),
        "ktime_get_ns": Helper(_call("ktime_get_ns"), lambda got, _: got > 0),
        "get_current_task": Helper(_call("get_current_task"), lambda got, _: got >> 63 == 1),
        "get_prandom_u32": Helper(_call("get_prandom_u32"), lambda got, _: got < 1 << 32),
        "jiffies64": Helper(_call("jiffies64"), lambda got, _: got > 0),
        # a word of the task itself, which is a pointer of the kernel's that no fault is behind
        "probe_read_kernel": Helper(
            _call("get_current_task") + assembler.mov(R3, R0) + read + _call("probe_read_kernel"),
            lambda got, _: got == 0,
        ),
        "map_update_elem": Helper(written, lambda got, _: got == 0),
        "map_lookup_elem": Helper(into_map + _call("map_lookup_elem") + found, lambda got, _: got == 77),
        # an element of an array cannot be deleted
        "map_delete_elem": Helper(into_map + _call("map_delete_elem"), lambda got, _: got == (-22) & calls.MASK),
    }


#: Added to each result: one that is zero differs from none.
MARK = 0x5A5A5A5A


def test_helpers(agent: Agent, tracing: Tracing) -> None:
    """A filter has the helpers of any tracing program, and they work in a traced call."""
    array = {"type": BPF_MAP_TYPE_ARRAY, "key_size": 4, "value_size": 8}
    scratch = agent.request("map_create", **array, max_entries=1)["fd"]
    helpers = _helpers(scratch)
    results = agent.request("map_create", **array, max_entries=len(helpers))["fd"]
    agent.request("pin", cpu=0)
    tracing.start("function", FUNCTION)
    for number, helper in enumerate(helpers.values()):
        keep = (
            assembler.alu("+", R0, MARK)
            + assembler.store(R10, -24, R0)
            + assembler.store(R10, -32, number, 4)
            + assembler.map_fd(R1, results)
            + assembler.mov(R2, R10)
            + assembler.alu("+", R2, -32)
            + assembler.mov(R3, R10)
            + assembler.alu("+", R3, -24)
            + assembler.mov(assembler.R4, 0)
            + _call("map_update_elem")
        )
        program = filters.load(agent, helper.code + keep + TRACE_IT)
        filters.set_program(agent, filters.open_event(agent, FUNCTION), program)
    # in the order in which the filters were opened or not: all see one call, and the update is there for the second
    calls.call(agent, *[("args5", (0,) * 5)] * 2)
    values = agent.request("map_read", fd=results, value_size=8, count=len(helpers))["values"]
    raw = [int.from_bytes(bytes.fromhex(value), "little") for value in values]
    missing = [name for name, value in zip(helpers, raw, strict=True) if not value]
    assert not missing, f"programs that did not run to their end, one for each helper: {missing}"
    got = {name: (value - MARK) & calls.MASK for name, value in zip(helpers, raw, strict=True)}
    wrong = {name: hex(value) for name, value in got.items() if not helpers[name].right(value, agent)}
    assert not wrong, f"helpers, and what they returned: {wrong}"


# What the verifier makes of a load.


def _loads(program: str) -> list[Instruction]:
    """The loads through R6, where the program keeps its context."""
    return [one for one in assembler.disassemble(program) if one.opcode & 0x07 == 0x01 and one.src == R6]


@pytest.mark.parametrize("size", [8, 4, 2, 1])
def test_translation(agent: Agent, size: int) -> None:
    """The verifier translates every load of an argument into a load of its slot, only for the five arguments."""
    offsets = range(0, 40, size)
    code = assembler.mov(R6, R1)
    for offset in offsets:
        code += assembler.load(R0, R6, offset, size)
    program = filters.load(agent, code + assembler.leave())
    loads = _loads(agent.request("prog_info", fd=program, xlated=True)["xlated"])
    expected = [arch.of(agent.arch).slot_of(offset // 8) for offset in offsets]
    names = list(ARGS_OFFSETS)
    assert len(loads) == len(expected), f"{len(expected)} loads of {size} bytes became {len(loads)}"
    wrong = [
        f"{size} bytes of {names[offset // 8]} from byte {offset % 8} on are read at {load.offset}, not {slot}"
        for offset, load, slot in zip(offsets, loads, expected, strict=True)
        if load.offset != slot
    ]
    assert not wrong, "; ".join(wrong)
