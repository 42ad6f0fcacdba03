# SPDX-License-Identifier: GPL-2.0
"""The numbers and layouts that user space is compiled with."""

import pytest

from farm.artifact import locate
from farm.guest.agent import Agent, Refused
from farm.kernel import abi
from farm.kernel.builder import Built
from suites.contract import ARGS_OFFSETS, ARGS_SIZE, FTRACE_TYPE
from suites.versions import PROG_TYPES

pytestmark = pytest.mark.needs("bpf_ftrace")


def test_program_types_keep_their_numbers(built: Built) -> None:
    """enum bpf_prog_type has every member of the base with its number, and one more at the end."""
    numbers = abi.read(locate(built.module)).prog_types
    expected = {name: number for number, name in enumerate(PROG_TYPES)}
    moved = {name: numbers.get(name) for name, number in expected.items() if numbers.get(name) != number}
    assert not moved, f"program types with another number than before: {moved}"
    assert numbers.get("BPF_PROG_TYPE_FTRACE") == FTRACE_TYPE, (
        f"BPF_PROG_TYPE_FTRACE is {numbers.get('BPF_PROG_TYPE_FTRACE')}, the end of the enum is {FTRACE_TYPE}"
    )


def test_context_layout(built: Built) -> None:
    """struct bpf_ftrace_args has five arguments of 64 bits, and nothing else."""
    seen = abi.read(locate(built.module))
    assert seen.args, "the tree's uapi headers have no struct bpf_ftrace_args"
    assert seen.args == ARGS_OFFSETS, f"arguments at {seen.args} of struct bpf_ftrace_args, and not at {ARGS_OFFSETS}"
    assert seen.args_size == ARGS_SIZE, f"struct bpf_ftrace_args has {seen.args_size} bytes, and not {ARGS_SIZE}"


def _load(agent: Agent, number: int, offset: int, size: int = 8) -> None:
    """Load `r0 = *(uN *)(ctx + offset); exit` as a program of the type."""
    opcode = {1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79}[size]
    load = bytes([opcode, 0x10]) + offset.to_bytes(2, "little", signed=True) + bytes(4)
    exit_ = bytes.fromhex("9500000000000000")
    fd = agent.request("prog_load", type=number, insns=(load + exit_).hex(), license="GPL")["fd"]
    agent.request("close", fd=fd)


def test_kernel_agrees_on_the_number(agent: Agent) -> None:
    """The program type that programs are compiled with has this context in the kernel."""
    for offset in ARGS_OFFSETS.values():
        _load(agent, FTRACE_TYPE, offset)
    with pytest.raises(Refused) as refused:
        _load(agent, FTRACE_TYPE + 1, 0)
    assert refused.value.name == "EINVAL", f"type {FTRACE_TYPE + 1} gave {refused.value.name}, there is none"
