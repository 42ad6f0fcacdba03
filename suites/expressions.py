# SPDX-License-Identifier: GPL-2.0
"""Expressions over the arguments of a call, evaluated here and compiled to eBPF.

There are two independent interpretations of one tree: for each call, the kernel
must give the same answer as Python.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from suites import assembler
from suites.assembler import R0, R1, R6, R10, Code
from suites.contract import ARGS_OFFSETS

MASK = (1 << 64) - 1

#: Where the compiled code finds the context.
CONTEXT = R6


@dataclass(frozen=True)
class Argument:
    """`size` bytes of an argument, 1 to 5, from its byte `at` on."""

    number: int
    size: int = 8
    at: int = 0

    def __str__(self) -> str:
        whole = f"arg{self.number}"
        return whole if self.size == 8 else f"{whole}[{self.at}:{self.at + self.size}]"


@dataclass(frozen=True)
class Constant:
    value: int

    def __str__(self) -> str:
        return f"{self.value:#x}"


@dataclass(frozen=True)
class Binary:
    """Arithmetic, modulo 2**width. Division by zero is 0, its remainder the
    dividend, and a shift is by the low 6 or 5 bits: that is BPF."""

    operation: str
    width: int
    left: "Expression"
    right: "Expression"

    def __str__(self) -> str:
        return f"({self.left} {self.operation}{self.width} {self.right})"


@dataclass(frozen=True)
class Compare:
    """1 or 0. `&` is whether the two have a bit in common."""

    operation: str
    width: int
    left: "Expression"
    right: "Expression"

    def __str__(self) -> str:
        return f"({self.left} {self.operation}{self.width}? {self.right})"


@dataclass(frozen=True)
class Not:
    """1 if the operand is 0, else 0."""

    operand: "Expression"

    def __str__(self) -> str:
        return f"!{self.operand}"


@dataclass(frozen=True)
class Both:
    """1 or 0, the right one looked at only if the left is not 0."""

    left: "Expression"
    right: "Expression"

    def __str__(self) -> str:
        return f"({self.left} && {self.right})"


@dataclass(frozen=True)
class Either:
    """1 or 0, the right one looked at only if the left is 0."""

    left: "Expression"
    right: "Expression"

    def __str__(self) -> str:
        return f"({self.left} || {self.right})"


Expression = Argument | Constant | Binary | Compare | Not | Both | Either


def _signed(value: int, width: int) -> int:
    return value - (1 << width) if value >> (width - 1) else value


def evaluate(expression: Expression, arguments: Sequence[int]) -> int:
    """The value, of 64 bits."""
    match expression:
        case Argument(number, size, at):
            return arguments[number - 1] >> (8 * at) & ((1 << (8 * size)) - 1)
        case Constant(value):
            return value
        case Binary(operation, width, left, right):
            return arithmetic(operation, width, evaluate(left, arguments), evaluate(right, arguments))
        case Compare(operation, width, left, right):
            return int(comparison(operation, width, evaluate(left, arguments), evaluate(right, arguments)))
        case Not(operand):
            return int(not evaluate(operand, arguments))
        case Both(left, right):
            return int(bool(evaluate(left, arguments)) and bool(evaluate(right, arguments)))
        case Either(left, right):
            return int(bool(evaluate(left, arguments)) or bool(evaluate(right, arguments)))


def arithmetic(operation: str, width: int, left: int, right: int) -> int:
    mask = (1 << width) - 1
    left, right = left & mask, right & mask
    shift = right & (width - 1)
    match operation:
        case "+":
            value = left + right
        case "-":
            value = left - right
        case "*":
            value = left * right
        case "/":
            value = left // right if right else 0
        case "%":
            value = left % right if right else left
        case "&":
            value = left & right
        case "|":
            value = left | right
        case "^":
            value = left ^ right
        case "<<":
            value = left << shift
        case ">>":
            value = left >> shift
        case "s>>":
            value = _signed(left, width) >> shift
        case _:
            raise ValueError(operation)
    return value & mask


def comparison(operation: str, width: int, left: int, right: int) -> bool:
    mask = (1 << width) - 1
    left, right = left & mask, right & mask
    if operation.startswith("s"):
        left, right = _signed(left, width), _signed(right, width)
    match operation.removeprefix("s"):
        case "==":
            return left == right
        case "!=":
            return left != right
        case ">":
            return left > right
        case ">=":
            return left >= right
        case "<":
            return left < right
        case "<=":
            return left <= right
        case "&":
            return left & right != 0
    raise ValueError(operation)


def compile_(expression: Expression, path: str = "e") -> Code:
    """Code that leaves the value in R0. It uses R1, and one place on the stack for each
    step down to a leaf. `path` are the steps so far; labels are named after it."""
    match expression:
        case Argument(number, size, at):
            return assembler.load(R0, CONTEXT, ARGS_OFFSETS[f"arg{number}"] + at, size)
        case Constant(value):
            return assembler.constant(R0, value)
        case Binary(operation, width, left, right):
            operand = _imm_of(operation, width, right)
            if operand is not None:
                return compile_(left, f"{path}l") + assembler.alu(operation, R0, operand, width)
            return _operands(left, right, path) + assembler.alu(operation, R0, R1, width)
        case Compare(operation, width, left, right):
            if isinstance(right, Constant) and assembler.fits_imm(right.value):
                code = compile_(left, f"{path}l")
                return code + _truth(assembler.jump_if(operation, R0, right.value, path, width), path)
            return _operands(left, right, path) + _truth(assembler.jump_if(operation, R0, R1, path, width), path)
        case Not(operand_):
            return compile_(operand_, f"{path}l") + _truth(assembler.jump_if("==", R0, 0, path), path)
        case Both(left, right):
            code = compile_(left, f"{path}l") + assembler.jump_if("==", R0, 0, path)
            code += compile_(right, f"{path}r") + assembler.jump_if("==", R0, 0, path)
            return code + _answer(1, 0, path)
        case Either(left, right):
            code = compile_(left, f"{path}l") + assembler.jump_if("!=", R0, 0, path)
            code += compile_(right, f"{path}r") + assembler.jump_if("!=", R0, 0, path)
            return code + _answer(0, 1, path)


def _imm_of(operation: str, width: int, right: Expression) -> int | None:
    """A constant operand that the instruction itself can hold: the verifier
    refuses a division by zero there, and a shift beyond the width."""
    if not isinstance(right, Constant) or not assembler.fits_imm(right.value):
        return None
    if operation in ("/", "%"):
        return right.value or None
    if operation in ("<<", ">>", "s>>") and right.value >= width:
        return None
    return right.value


def _operands(left: Expression, right: Expression, path: str) -> Code:
    """The left one in R0, the right one in R1."""
    place = -8 * len(path)
    code = compile_(left, f"{path}l") + assembler.store(R10, place, R0)
    code += compile_(right, f"{path}r") + assembler.mov(R1, R0)
    return code + assembler.load(R0, R10, place)


def _truth(jump: Code, path: str) -> Code:
    """1 in R0 if the jump to the label `path` is taken, else 0."""
    return jump + _answer(0, 1, path)


def _answer(fallen: int, jumped: int, path: str) -> Code:
    """Put one value into R0 for code from above, and the other one after a jump to `path`."""
    code = assembler.mov(R0, fallen) + assembler.jump(f"{path}.end")
    return code + assembler.label(path) + assembler.mov(R0, jumped) + assembler.label(f"{path}.end")
