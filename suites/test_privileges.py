# SPDX-License-Identifier: GPL-2.0
"""Which privileges it takes to load a filter, and to attach it."""

import pytest

from farm.guest.agent import Agent
from farm.guest.vm import Guest
from suites import assembler, filters
from suites.assembler import R0, R1, R2, R3, R10
from suites.contract import ALL_CAPABILITIES, CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, FTRACE_TYPE, HELPERS
from suites.tracefs import Tracing

pytestmark = pytest.mark.needs("bpf_ftrace")

FUNCTION = "target_args2"
PROGRAM = assembler.assemble(assembler.mov(R0, 1) + assembler.leave())

#: What a session is left with: what perf_event_open gives then, and BPF_PROG_LOAD.
#: CAP_SYS_ADMIN stands for the two others, as it did before there were these.
CAPABILITIES = {
    "none": (frozenset(), "EACCES", "EPERM"),
    "bpf": (frozenset({CAP_BPF}), "EACCES", "EPERM"),
    "perfmon": (frozenset({CAP_PERFMON}), "EACCES", "EPERM"),
    "bpf_and_perfmon": (frozenset({CAP_BPF, CAP_PERFMON}), "EACCES", "success"),
    "all_but_sys_admin": (ALL_CAPABILITIES - {CAP_SYS_ADMIN}, "EACCES", "success"),
    "all_but_sys_admin_and_bpf": (ALL_CAPABILITIES - {CAP_SYS_ADMIN, CAP_BPF}, "EACCES", "EPERM"),
    "all_but_sys_admin_and_perfmon": (ALL_CAPABILITIES - {CAP_SYS_ADMIN, CAP_PERFMON}, "EACCES", "EPERM"),
    "sys_admin": (frozenset({CAP_SYS_ADMIN}), "success", "success"),
}


def _open(agent: Agent, function: str = FUNCTION) -> str:
    attr = {"type": filters.pmu_type(agent), "function": function}
    return filters.refusal(agent, "perf_open", attr=attr, pid=-1, cpu=0)


def _load(agent: Agent, insns: str = PROGRAM) -> str:
    return filters.refusal(agent, "prog_load", type=FTRACE_TYPE, insns=insns, license="GPL")


def _reader(helper: str) -> str:
    """A program that has a helper read 8 bytes of the kernel's memory to the stack."""
    code = assembler.mov(R1, R10) + assembler.alu("+", R1, -8) + assembler.mov(R2, 8) + assembler.mov(R3, 0)
    return assembler.assemble(code + assembler.call(HELPERS[helper]) + assembler.mov(R0, 1) + assembler.leave())


@pytest.mark.parametrize("left", CAPABILITIES)
def test_capabilities(agent: Agent, left: str) -> None:
    """To attach a filter takes CAP_SYS_ADMIN, because it hides calls from the tracers of others.
    To load its program takes CAP_BPF and CAP_PERFMON, because it reads the kernel's memory.
    Without permission to attach, the error does not reveal which functions exist."""
    keep, open_expected, load_expected = CAPABILITIES[left]
    assert _open(agent) == "success", "with every capability"
    agent.request("drop_capabilities", capabilities=sorted(ALL_CAPABILITIES - keep))
    got = _open(agent)
    assert got == open_expected, f"perf_event_open with capabilities {left}: {got}, not {open_expected}"
    told = "ENOENT" if open_expected == "success" else open_expected
    got = _open(agent, "no_such_function")
    assert got == told, f"perf_event_open of no function, with capabilities {left}: {got}, not {told}"
    got = _load(agent)
    assert got == load_expected, f"BPF_PROG_LOAD with capabilities {left}: {got}, not {load_expected}"


PARANOID = "/proc/sys/kernel/perf_event_paranoid"


@pytest.mark.needs("user_namespaces")
def test_root_of_a_user_namespace(agent: Agent, tracing: Tracing) -> None:
    """Root of a user namespace may not filter, even if perf itself is open to everybody: the filter
    would hide calls from users outside."""
    before = tracing.read(PARANOID)
    tracing.switch(PARANOID, "-1", before)
    agent.request("enter_user_namespace")
    got = _open(agent)
    assert got == "EACCES", f"perf_event_open with every capability in a user namespace: {got}, not EACCES"
    got = _load(agent)
    assert got == "EPERM", f"BPF_PROG_LOAD with every capability in a user namespace: {got}, not EPERM"


@pytest.mark.needs("lockdown")
@pytest.mark.spoils_guest
def test_lockdown(guest: Guest) -> None:
    """Lockdown of tracefs also locks its filters. That is lockdown level confidentiality; with
    level integrity the kernel can be traced."""
    # not the suites' own fixture: tracefs cannot be reset any more behind this test
    with guest.agent() as agent:
        for level, expected in (("none", "success"), ("integrity", "success"), ("confidentiality", "EPERM")):
            if level != "none":
                agent.request("file_write", path="/sys/kernel/security/lockdown", data=level)
            state = agent.request("file_read", path="/sys/kernel/security/lockdown")["data"].strip()
            assert f"[{level}]" in state, f"the kernel's lockdown is {state}"
            got = _open(agent)
            assert got == expected, f"perf_event_open under lockdown, {level}: {got}, not {expected}"
            for helper in ("probe_read_kernel", "probe_read_kernel_str"):
                wanted = "EINVAL" if expected == "EPERM" else expected
                got = _load(agent, _reader(helper))
                assert got == wanted, f"a program that calls {helper}, {level}: {got}, not {wanted}"
        assert _load(agent) == "success", "a program that is attached to nothing does no harm"
        agent.request("drop_capabilities", capabilities=[CAP_SYS_ADMIN])
        got = _open(agent)
        assert got == "EACCES", f"perf_event_open without CAP_SYS_ADMIN, under lockdown: {got}, not EACCES"
