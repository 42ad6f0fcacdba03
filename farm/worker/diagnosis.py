# SPDX-License-Identifier: GPL-2.0
"""Finds out from the picture of a frame which value went where. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from farm.record.records import Slot

#: What suites/outside.py writes into stack and registers before a call. The target module poisons
#: the stack with another value, so that the two can be told apart.
POISON = 0xB6B6B6B6B6B6B6B6

WORD, MASK = 8, (1 << 64) - 1

#: These values are in so many places that their origin cannot be known.
COMMON = (0, MASK)


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with one register. `where` is the first place on its way with a wrong value: the
    trampoline's `slot`, what the `program` saw, or what the `callee` received. `call` means that
    only the callee was looked at, so it may be any of these. `source` is the register whose value
    is there instead; it is empty if there is none or it is unknown. `instead` describes this for
    keys: it names registers, not arguments, and is empty if the value only differs. `text` is for
    people. `explains` counts the wrong slots that this explains."""

    register: str
    where: str
    source: str
    instead: str
    text: str
    explains: int = 1

    @property
    def certain(self) -> bool:
        """Whether more is known than that a value differs."""
        return bool(self.instead)


def diagnose(slots: Sequence[Slot]) -> list[str]:
    """The findings of a picture, one line each, without values: "arg1's slot holds rsi (arg2)".
    Empty if nothing is wrong."""
    return [one.text for one in diagnoses(slots)]


def diagnoses(slots: Sequence[Slot]) -> list[Diagnosis]:
    """The findings as records, in the order of the slots. If several slots are shifted by one, or two
    are swapped, the first of them has one record for all."""
    found = [_diagnose(slot, slots) for slot in slots if slot.wrong]
    return _shifted(found, slots) or _swapped(found, slots) or found


def _diagnose(slot: Slot, slots: Sequence[Slot]) -> Diagnosis:
    where, value = _first_wrong(slot)
    subject = {"slot": f"{slot.name}'s slot", "program": f"the program's {slot.name}"}.get(
        where, f"the callee's {slot.name}"
    )
    if source := _source(value, slot, slots):
        named = source.register if source.name == source.register else f"{source.register} ({source.name})"
        return Diagnosis(slot.register, where, source.register, f"holds {source.register}", f"{subject} holds {named}")
    if value == POISON:
        what = "was never written" if where in ("slot", "program") else "was never restored"
        return Diagnosis(slot.register, where, "", what, f"{subject} {what}")
    if what := _made_of(slot.passed, value):
        return Diagnosis(slot.register, where, "", what, f"{subject} {what}")
    return Diagnosis(slot.register, where, "", "", f"{subject} {_bits(slot.passed ^ value)}")


def _first_wrong(slot: Slot) -> tuple[str, int]:
    """The first place, on the way from the caller, with a wrong value, and that value. The program
    reads the slot, so what it saw stands for the slot if nobody looked at the slot itself."""
    if slot.raw is not None and slot.raw != slot.passed:
        return "slot", slot.raw
    if slot.program is not None and slot.program != slot.passed:
        return ("slot" if slot.raw is None else "program"), slot.program
    assert slot.callee is not None, "only asked of slots that are wrong"
    return ("call" if slot.raw is None and slot.program is None else "callee"), slot.callee


def _source(value: int, slot: Slot, slots: Sequence[Slot]) -> Slot | None:
    """The other register that was passed with this value. None if there is none, or several."""
    others = [other for other in slots if other.register != slot.register and other.passed == value]
    return others[0] if len(others) == 1 and value not in COMMON else None


def _made_of(passed: int, value: int) -> str:
    """What was done to the right value to get this one. Empty if unknown."""
    for bits in (32, 16, 8):
        low = passed & ((1 << bits) - 1)
        if value == low:
            return f"has only the low {bits} bits"
        if value == low | (MASK & -(1 << bits)) and low >> (bits - 1):
            return f"has only the low {bits} bits, sign-extended"
    if value == 0:
        return "holds 0"
    if value == passed & ~0xFFFFFFFF:
        return "has only the high 32 bits"
    if value == int.from_bytes(passed.to_bytes(WORD, "little"), "big"):
        return "has its bytes swapped"
    if value >> 47 == 0x1FFFF != passed >> 47 and value != MASK and (value ^ passed) & 0xFFFFFFFF:
        return "holds an address of the kernel"
    return ""


def _bits(wrong: int) -> str:
    low, high = (wrong & -wrong).bit_length() - 1, wrong.bit_length() - 1
    return f"differs in bits {low} to {high}" if high - low < 32 else "holds another value"


def _shifted(found: Sequence[Diagnosis], slots: Sequence[Slot]) -> list[Diagnosis]:
    """One record for slots that each hold what belongs into the next one, all in the same direction.
    The last slot of the row has no next one and may hold anything."""
    offsets = {slot.register: slot.offset for slot in slots}
    moved = set()
    known = [one for one in found if one.source]
    for one in known:
        here, there = offsets[one.register], offsets[one.source]
        moved.add(there - here if here is not None and there is not None else 0)
    if len(known) < 2 or any(one.where != "slot" for one in found) or moved not in ({WORD}, {-WORD}):
        return []
    ends = [one for one in found if not one.source]
    if ends not in ([], [found[0]], [found[-1]]):
        return []
    first = known[0]
    name = next(slot.name for slot in slots if slot.register == found[0].register)
    return [
        replace(
            found[0], instead=first.instead, text=f"the slots from {name} on are shifted by one", explains=len(found)
        )
    ]


def _swapped(found: Sequence[Diagnosis], slots: Sequence[Slot]) -> list[Diagnosis]:
    """One record for two registers that hold each other's value."""
    if len(found) != 2 or found[0].where != found[1].where:
        return []
    one, other = found
    if (one.source, other.source) != (other.register, one.register):
        return []
    names = {slot.register: slot.name for slot in slots}
    both = f"{names[one.register]} and {names[other.register]}"
    what = {"slot": f"the slots of {both}", "program": f"the program's {both}"}.get(one.where, f"the callee's {both}")
    return [replace(one, text=f"{what} are swapped", explains=2)]
