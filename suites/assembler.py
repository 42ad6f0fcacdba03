# SPDX-License-Identifier: GPL-2.0
"""An assembler for eBPF: instructions are records, and code is a tuple of them.

It is for programs that no compiler writes: wrong ones and random ones.
Documentation/bpf/standardization/instruction-set.rst has the encoding.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Register(IntEnum):
    """R1 is the context, R6 to R9 survive calls, R10 is the upper end of the frame."""

    R0 = 0
    R1 = 1
    R2 = 2
    R3 = 3
    R4 = 4
    R5 = 5
    R6 = 6
    R7 = 7
    R8 = 8
    R9 = 9
    R10 = 10


R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Register


@dataclass(frozen=True)
class Instruction:
    """One instruction of 8 bytes. A jump to a `label` gets its offset when it is assembled."""

    opcode: int
    dst: int = 0
    src: int = 0
    offset: int = 0
    imm: int = 0
    label: str = ""

    def encoded(self) -> bytes:
        return struct.pack("<BBhI", self.opcode, self.src << 4 | self.dst, self.offset, self.imm & 0xFFFFFFFF)


@dataclass(frozen=True)
class Label:
    """A place in the code, after the instruction before it."""

    name: str


Code = tuple[Instruction | Label, ...]

#: The opcodes, without class, source and size.
ALU = {
    "+": 0x00, "-": 0x10, "*": 0x20, "/": 0x30, "|": 0x40, "&": 0x50, "<<": 0x60, ">>": 0x70,
    "%": 0x90, "^": 0xA0, "mov": 0xB0, "s>>": 0xC0,
}  # fmt: skip
JUMP = {
    "==": 0x10, ">": 0x20, ">=": 0x30, "&": 0x40, "!=": 0x50, "s>": 0x60, "s>=": 0x70,
    "<": 0xA0, "<=": 0xB0, "s<": 0xC0, "s<=": 0xD0,
}  # fmt: skip
SIZE = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}

_FROM_REGISTER = 0x08
_ATOMIC_FETCH_ADD = 0x01
_PSEUDO_MAP_FD = 1


def fits_imm(value: int) -> bool:
    """Whether the 32 bits of an instruction, extended by their sign, can give this 64-bit value."""
    return value < 1 << 31 or value >= (1 << 64) - (1 << 31)


def alu(operation: str, dst: Register, operand: Register | int, width: int = 64) -> Code:
    """`dst = dst operation operand`; with 32 bits it clears the upper half."""
    opcode = ALU[operation] | {64: 0x07, 32: 0x04}[width]
    if isinstance(operand, Register):
        return (Instruction(opcode | _FROM_REGISTER, dst, operand),)
    return (Instruction(opcode, dst, imm=operand),)


def mov(dst: Register, operand: Register | int) -> Code:
    return alu("mov", dst, operand)


def constant(dst: Register, value: int) -> Code:
    """Any value of 64 bits."""
    if fits_imm(value):
        return mov(dst, value)
    return _wide(dst, 0, value)


def map_fd(dst: Register, fd: int) -> Code:
    """The map with this file descriptor in the process that loads the program."""
    return _wide(dst, _PSEUDO_MAP_FD, fd)


def _wide(dst: Register, src: int, value: int) -> Code:
    return (Instruction(0x18, dst, src, imm=value), Instruction(0, imm=value >> 32))


def load(dst: Register, src: Register, offset: int, size: int = 8) -> Code:
    """`dst = *(uN *)(src + offset)`"""
    return (Instruction(0x61 | SIZE[size], dst, src, offset),)


def load_signed(dst: Register, src: Register, offset: int, size: int) -> Code:
    """`dst = *(sN *)(src + offset)`, of less than 8 bytes, extended by its sign"""
    return (Instruction(0x81 | SIZE[size], dst, src, offset),)


def store(dst: Register, offset: int, operand: Register | int, size: int = 8) -> Code:
    """`*(uN *)(dst + offset) = operand`"""
    if isinstance(operand, Register):
        return (Instruction(0x63 | SIZE[size], dst, operand, offset),)
    return (Instruction(0x62 | SIZE[size], dst, 0, offset, operand),)


def fetch_add(dst: Register, offset: int, src: Register) -> Code:
    """Add `src` to the 64 bits there, atomically; `src` gets the old value."""
    return (Instruction(0xDB, dst, src, offset, _ATOMIC_FETCH_ADD),)


def label(name: str) -> Code:
    """The target of jumps to `name`."""
    return (Label(name),)


def jump(label: str) -> Code:
    return (Instruction(0x05, label=label),)


def jump_if(operation: str, dst: Register, operand: Register | int, label: str, width: int = 64) -> Code:
    """Jump to the label, which must be further down, if `dst operation operand`."""
    opcode = JUMP[operation] | {64: 0x05, 32: 0x06}[width]
    if isinstance(operand, Register):
        return (Instruction(opcode | _FROM_REGISTER, dst, operand, label=label),)
    return (Instruction(opcode, dst, imm=operand, label=label),)


def call(helper: int) -> Code:
    return (Instruction(0x85, imm=helper),)


def leave() -> Code:
    """Return what is in R0."""
    return (Instruction(0x95),)


def assemble(code: Sequence[Instruction | Label]) -> str:
    """The program in the form that the agent takes."""
    places: dict[str, int] = {}
    instructions: list[Instruction] = []
    for item in code:
        if isinstance(item, Label):
            assert item.name not in places, f"two labels {item.name!r}"
            places[item.name] = len(instructions)
        else:
            instructions.append(item)
    data = bytearray()
    for number, item in enumerate(instructions):
        offset = places[item.label] - number - 1 if item.label else item.offset
        data += Instruction(item.opcode, item.dst, item.src, offset, item.imm).encoded()
    return data.hex()


def disassemble(program: str) -> list[Instruction]:
    """The instructions of a program, split into their fields only."""
    return [
        Instruction(opcode, registers & 0xF, registers >> 4, offset, imm)
        for opcode, registers, offset, imm in struct.iter_unpack("<BBhI", bytes.fromhex(program))
    ]
