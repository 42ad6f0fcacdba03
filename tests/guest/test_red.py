# SPDX-License-Identifier: GPL-2.0
"""Each kind of check can fail: a running kernel is broken where the check looks,
and the check names what is wrong.

The bugs are planted into what is the same on every build: the trampoline's own
code, the start of a function, words of data.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from farm.record.verdict import Verdict
from tests.guest.test_run import farm_run, refused

#: `mov $1,%eax; ret` and `xor %eax,%eax; ret`, to be put over a function's start.
TRUE, FALSE = "b801000000c3", "31c0c3"

NOP5 = "0f1f440000"

#: In an ops, the byte of its flags that has FTRACE_OPS_FL_FILTERABLE, BIT(19).
FILTERABLE, NOT_FILTERABLE = "+0x12:00=08", "+0x12:08=00"


@dataclass(frozen=True)
class Bug:
    """A poke, the tests that look there, and what one of them must say."""

    poke: str
    select: str
    says: str
    cell: str = "x86_64-regs"
    verdict: Verdict = Verdict.FAIL


BUGS = {
    # The trampoline.
    "rsi_slot_from_rdi": Bug(  # mov %rsi,0x68(%rsp)
        "ftrace_caller:4889742468=48897c2468",
        "test_arguments and ftrace_caller-function]",
        r"arg2 \(rsi, 104\(%rsp\)\) was passed as \w+, the stack held \w+, the program saw",
    ),
    "r9_not_restored": Bug(  # mov 0x40(%rsp),%r9
        f"ftrace_call:4c8b4c2440={NOP5}", "test_alone[x86_64-regs-ops]", r"arg6 \(r9"
    ),
    "rax_slot_from_rcx": Bug(  # mov %rcx,0x58(%rsp)
        "ftrace_regs_caller:48894c2458=48894c2450",
        "test_core_function[x86_64-regs-direct]",
        r"arg4 \(rcx|mmap\(2\) .* did not receive its arguments",
    ),
    "r10_not_restored": Bug(f"ftrace_regs_call:4c8b542438={NOP5}", "test_registers", r"\br10 is \w+"),
    "caller_from_the_flags": Bug(  # mov 0xb8(%rsp),%rsi
        "ftrace_regs_caller:488bb424b8000000=488bb424b0000000",
        "test_filtered[x86_64-regs-kprobe_before-function]",
        "all were called by target_call_function",
    ),
    "flags_not_restored": Bug(  # mov 0x90(%rsp),%rax becomes mov $0x202,%rax
        "ftrace_regs_call:488b842490000000=48c7c00202000090", "test_alone[x86_64-regs-ops_regs]", "rflags is 0x202, not"
    ),
    "orig_rax_not_zeroed": Bug(  # movq $0x0,0x78(%rsp)
        "ftrace_caller:48c744247800000000=660f1f840000000000", "test_shared_trampoline", r"orig_rax \(orig_rax, 120"
    ),
    "jump_to_garbage": Bug(
        "ftrace_regs_caller:48c744247800000000=660f1f840000000000",
        "test_unfiltered[x86_64-regs-ops_regs_before-function]",
        "general protection fault|unable to handle page fault",  # as the garbage has it
        verdict=Verdict.CRASH,
    ),
    "all_registers_promised": Bug(  # movq $0x0,0x88(%rsp)
        "ftrace_caller_op_ptr:48c784248800000000000000=0f1f8400000000000f1f4000",
        "test_alone[x86_64-regs-ops]",
        "ftrace says it has all registers",
    ),
    "changed_register_ignored": Bug(  # mov 0x28(%rsp),%rbx
        f"ftrace_regs_call:488b5c2428={NOP5}", "test_changed_registers[x86_64-regs-tracer]", "rbx is 0xa1a1a1a1a1a10001"
    ),
    "changed_address_ignored": Bug(  # mov %rax,0xa8(%rsp)
        "ftrace_call:48898424a8000000=0f1f840000000000",
        "test_alone[x86_64-regs-replace]",
        "the function itself was called",
    ),
    "rdx_lost_behind_the_graph_tracer": Bug(  # mov 0x60(%rsp),%rdx
        f"return_to_handler:488b542460={NOP5}",
        "test_filtered[x86_64-regs-nmi-function_graph]",
        "rdx came back as",
    ),
    "frame_of_the_caller_astray": Bug(  # push 0x10(%rsp)
        "ftrace_caller:ff742410=ff742408", "test_alone[x86_64-regs-fp-ops]", "the stack is 0x", cell="x86_64-regs-fp"
    ),
    # The filters.
    "no_call_passes": Bug(f"bpf_ftrace_traced={FALSE}", "test_return_values", "return"),
    "arg2_from_the_slot_of_rdx": Bug("ftrace_arg_slots:6800=6000", "test_random_programs", "arg2"),
    "program_is_not_attached": Bug(
        f"bpf_ftrace_event_set_prog={FALSE}", "test_life_of_an_event", "the program refused the call"
    ),
    "anybody_may": Bug(f"capable={TRUE}", "test_capabilities", "EACCES"),
    "every_address_is_that_of_a_symbol": Bug(  # movq $0,(%rdx); mov $1,%eax; ret
        "kallsyms_lookup_size_offset=48c70200000000b801000000c3", "test_open_refuses_the_middle", "EINVAL"
    ),
    "context_is_not_checked": Bug(f"ftrace_is_valid_access={TRUE}", "test_bad_access[x86_64-regs-write]", "EACCES"),
    "module_is_not_held": Bug(
        f"try_module_get={TRUE}", "test_filter_holds_the_module", "WARNING: .* module_put", verdict=Verdict.CRASH
    ),
    "module_is_not_let_go": Bug("module_put=c3", "test_life_of_an_event", r"the module ftrace_target has \d+ users"),
    # Who is filtered.
    "function_tracer_is_not_filtered": Bug(
        f"global_ops{NOT_FILTERABLE}", "test_filtered[x86_64-regs-hardirq-function]", "function in hardirq: "
    ),
    "graph_tracer_is_not_filtered": Bug(
        f"graph_ops{NOT_FILTERABLE}", "test_tracer[x86_64-regs-function_graph]", "graph"
    ),
    "stack_tracer_is_not_filtered": Bug(f"trace_ops{NOT_FILTERABLE}", "test_tracer and stack", "stack"),
    "pstore_is_not_filtered": Bug(f"pstore_ftrace_ops{NOT_FILTERABLE}", "test_tracer and pstore", "pstore, filtered"),
    "triggers_are_not_filtered": Bug(
        "register_ftrace_function_probe:00000800=00000000", "test_tracer and traceoff", "traceoff, filtered by value"
    ),
    "instances_are_not_filtered": Bug(
        "ftrace_allocate_ftrace_ops:00200800=00200000",
        "test_all_at_once[x86_64-regs-function]",
        "instance among others",
    ),
    "perf_is_not_filtered": Bug(
        "perf_ftrace_event_register:00000800=00000000", "test_tracer[x86_64-regs-perf]", "perf, filtered by value"
    ),
    "kprobes_are_filtered": Bug(
        f"kprobe_ftrace_ops{FILTERABLE}", "test_observer and kprobe and filter_first and not graph", "kprobe"
    ),
    # Load, and what is left behind.
    "r9_not_restored_under_load": Bug(f"ftrace_call:4c8b4c2440={NOP5}", "test_storm", r"arg6 was passed as \w+, and"),
    "both_set_the_program": Bug(f"bpf_ftrace_event_set_prog={FALSE}", "test_only_one_sets_the_program", "'OK OK': 20"),
    "program_is_kept": Bug("bpf_prog_put=c3", "test_owner_is_killed", r"left behind: .*BPF program \d+, filter"),
}


@pytest.mark.parametrize("name", BUGS)
def test_bug_is_named(name: str, tmp_path: Path) -> None:
    bug = BUGS[name]
    ran = farm_run(tmp_path, bug.cell, "-n", "1", "-x", "-k", bug.select, "--poke", bug.poke, status=1)
    reasons = [record.reason for record in ran.verdicts if record.verdict is bug.verdict]
    assert any(re.search(bug.says, reason) for reason in reasons), ran.said
    assert f"--poke {bug.poke}" in ran.said, "the command that repeats it breaks the kernel in the same way"


def test_poke_that_does_not_fit(tmp_path: Path) -> None:
    """Bytes that are not there are told once, with no verdict and no run of it."""
    results = tmp_path / "results"
    words = ["x86_64-regs", "-k", "test_program_loads", "--poke", "ftrace_caller:deadbeef=90909090"]
    said = refused("run", *words, "--results", str(results))
    assert "these bytes are not within 1024 bytes after ftrace_caller" in said
    assert list(results.iterdir()) == []
