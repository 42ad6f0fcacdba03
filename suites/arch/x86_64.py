# SPDX-License-Identifier: GPL-2.0
"""x86-64: the System V ABI (3.2.3), and struct pt_regs (asm/ptrace.h) as the trampolines fill it."""

import farm.arch
from suites.arch.convention import Convention, Promise

_ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")

_SLOTS = {
    "r15": 0, "r14": 8, "r13": 16, "r12": 24, "rbp": 32, "rbx": 40,
    "r11": 48, "r10": 56, "r9": 64, "r8": 72, "rax": 80, "rcx": 88, "rdx": 96, "rsi": 104, "rdi": 112,
    "orig_rax": 120, "rip": 128, "cs": 136, "rflags": 144, "rsp": 152, "ss": 160,
}  # fmt: skip

#: CF PF AF ZF SF OF.
_ARITHMETIC = 0x8D5

_KERNEL_CS, _KERNEL_DS = 0x10, 0x18

_CALL_SAVED = frozenset({*_ARGUMENTS, "rax", "rbp"})
_HANDED = {"rdi": "ip", "rsi": "parent", "rdx": "ops", "rcx": "fregs"}

X86_64 = Convention(
    machine=farm.arch.of("x86_64"),
    arguments=_ARGUMENTS,
    stack_arguments=("8(%rsp)", "16(%rsp)"),
    returned=("rax", "rdx"),
    scratch=frozenset({"rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"}),
    arithmetic=_ARITHMETIC,
    unowned=1 << 21,  # ID
    resume=1 << 16,  # RF
    slots=_SLOTS,
    size=168,
    outside_frame=frozenset({"rbx", "r10", "r11", "r12", "r13", "r14", "r15", "rflags"}),
    promises={
        # CS is how a callback knows whether it has all registers (ftrace_get_regs)
        "ftrace_caller": Promise(
            _CALL_SAVED | {"rsp"}, {"orig_rax": 0, "cs": 0}, _HANDED, frozenset({"r10", "r11"}), _ARITHMETIC
        ),
        "ftrace_regs_caller": Promise(
            frozenset(_SLOTS) - {"orig_rax", "rip", "cs", "ss"},
            {"orig_rax": 0, "cs": _KERNEL_CS, "ss": _KERNEL_DS},
            _HANDED,
            frozenset({"r11"}),
        ),
        "__fentry__": Promise(
            _CALL_SAVED, {"orig_rax": 0}, {"rdi": "ip", "rsi": "parent"}, frozenset({"r10", "r11"}), _ARITHMETIC
        ),
    },
    fp="rbp",
    cycle_clock="x86-tsc",
    jump="orig_rax",
    # rsp is the trampoline's own, r11 is free by then
    not_restored=frozenset({"rsp", "r11", "rflags"}),
)
