# SPDX-License-Identifier: GPL-2.0
"""What a picture of the frame says of the bug."""

from dataclasses import replace

import pytest

from farm.record.records import Slot
from farm.worker.diagnosis import MASK, POISON, diagnose, diagnoses

#: As the suites pass them: each register another value, no half or byte the same.
PASSED = (0x1032547698BADCF1, 0x23016745AB89EFC2, 0x3210765498FEDC93, 0x45670123CDEF89A4, 0x54761032DCFE98B5)
REGISTERS = ("rdi", "rsi", "rdx", "rcx", "r8")


def frame(count: int = 5, **raw: int) -> list[Slot]:
    """A picture in which the slot of each register in `raw` holds that value, and all else is right."""
    return [
        Slot(f"arg{n + 1}", register, 112 - 8 * n, passed, raw=raw.get(register, passed))
        for n, (register, passed) in enumerate(zip(REGISTERS[:count], PASSED, strict=False))
    ]


@pytest.mark.parametrize(
    "raw, said",
    [
        ({}, []),
        ({"rdi": PASSED[1]}, ["arg1's slot holds rsi (arg2)"]),
        ({"rdi": POISON}, ["arg1's slot was never written"]),
        ({"rdx": 0}, ["arg3's slot holds 0"]),
        ({"rdi": PASSED[0] & 0xFFFFFFFF}, ["arg1's slot has only the low 32 bits"]),
        ({"rdi": PASSED[0] | 0xFFFFFFFF00000000}, ["arg1's slot has only the low 32 bits, sign-extended"]),
        ({"rsi": PASSED[1] & 0xFFFF}, ["arg2's slot has only the low 16 bits"]),
        ({"rsi": PASSED[1] & 0xFF}, ["arg2's slot has only the low 8 bits"]),
        ({"rsi": PASSED[1] & ~0xFFFFFFFF}, ["arg2's slot has only the high 32 bits"]),
        ({"rsi": 0xC2EF89AB45670123}, ["arg2's slot has its bytes swapped"]),
        ({"rcx": PASSED[3] ^ 8}, ["arg4's slot differs in bits 3 to 3"]),
        ({"rcx": PASSED[3] ^ 0x1080}, ["arg4's slot differs in bits 7 to 12"]),
        ({"rcx": 0xFFFFFFFF81234567}, ["arg4's slot holds an address of the kernel"]),
        ({"rcx": MASK}, ["arg4's slot holds another value"]),
        ({"rcx": 0x7777}, ["arg4's slot holds another value"]),
        ({"rdi": PASSED[1], "r8": 0}, ["arg1's slot holds rsi (arg2)", "arg5's slot holds 0"]),
        ({"rdi": PASSED[1], "rsi": PASSED[0]}, ["the slots of arg1 and arg2 are swapped"]),
        ({"rdi": PASSED[1], "rsi": 5}, ["arg1's slot holds rsi (arg2)", "arg2's slot holds another value"]),
        (dict(zip(REGISTERS, [*PASSED[1:], 5], strict=True)), ["the slots from arg1 on are shifted by one"]),
        (dict(zip(REGISTERS, [5, *PASSED[:4]], strict=True)), ["the slots from arg1 on are shifted by one"]),
        (dict(zip(REGISTERS[2:], [*PASSED[3:], 5], strict=True)), ["the slots from arg3 on are shifted by one"]),
        # one of the row is owed to something else: nothing is said of all of them
        (
            {"rdi": PASSED[1], "rsi": 5, "rdx": PASSED[3]},
            ["arg1's slot holds rsi (arg2)", "arg2's slot holds another value", "arg3's slot holds rcx (arg4)"],
        ),
    ],
)  # fmt: skip
def test_diagnose(raw: dict[str, int], said: list[str]) -> None:
    assert diagnose(frame(**raw)) == said


def test_sign_extension_is_of_a_negative_number() -> None:
    negative = Slot("arg1", "rdi", 112, passed=0x1032547698BADCF1, raw=0xFFFFFFFF98BADCF1)
    positive = replace(negative, passed=0x1032547618BADCF1, raw=0xFFFFFFFF18BADCF1)
    assert diagnose([negative]) == ["arg1's slot has only the low 32 bits, sign-extended"]
    assert diagnose([positive]) == ["arg1's slot differs in bits 32 to 63"]


def test_a_value_that_several_registers_had_is_nobodys() -> None:
    same = [replace(slot, passed=PASSED[1], raw=PASSED[1]) if slot.name == "arg3" else slot for slot in frame()]
    same[0] = replace(same[0], raw=PASSED[1])
    assert diagnose(same) == ["arg1's slot holds another value"]


@pytest.mark.parametrize("value", [0, MASK])
def test_nobody_owns_zeros_and_ones(value: int) -> None:
    slots = frame(rdi=value)
    slots[1] = replace(slots[1], passed=value, raw=value)
    assert "rsi" not in diagnose(slots)[0]


@pytest.mark.parametrize(
    "seen, said",
    [
        ({"raw": 2, "program": 2, "callee": 2}, "arg1's slot holds"),
        ({"program": 2}, "arg1's slot holds"),  # nobody looked: it is what the program read
        ({"raw": 1, "program": 2}, "the program's arg1 holds"),
        ({"raw": 1, "program": 1, "callee": 2}, "the callee's arg1 holds"),
        ({"callee": 2}, "the callee's arg1 holds"),
    ],
)
def test_where_it_went_wrong_first(seen: dict[str, int], said: str) -> None:
    values = {witness: PASSED[value - 1] for witness, value in seen.items()}
    assert diagnose([Slot("arg1", "rdi", 112, PASSED[0], **values), frame()[1]]) == [f"{said} rsi (arg2)"]


def test_poison_behind_the_trampoline_was_not_restored() -> None:
    slot = Slot("r9", "r9", 64, PASSED[0], raw=PASSED[0], callee=POISON)
    assert diagnose([slot]) == ["the callee's r9 was never restored"]


def test_registers_by_their_own_names_are_not_named_twice() -> None:
    slots = [replace(slot, name=slot.register) for slot in frame(rdi=PASSED[1])]
    assert diagnose(slots) == ["rdi's slot holds rsi"]
    (one,), (other,) = diagnoses(slots), diagnoses(frame(rdi=PASSED[1]))
    assert (one.register, one.where, one.instead) == (other.register, other.where, other.instead)


def test_callee_and_program_have_swaps_too() -> None:
    slots = [replace(frame()[n], callee=PASSED[1 - n]) for n in (0, 1)]
    assert diagnose(slots) == ["the callee's arg1 and arg2 are swapped"]
