# SPDX-License-Identifier: GPL-2.0
"""Random programs, and how two interpretations of one are compared."""

import struct
from dataclasses import dataclass
from typing import Protocol

from hypothesis import strategies as st

from suites import assembler, expressions
from suites.assembler import R0, R1, R2, R7, R10, Code
from suites.expressions import Argument, Binary, Both, Compare, Constant, Either, Expression, Not, compile_, evaluate

CALLS = 20

#: The recording map: how many runs there were, and what each of them returned.
RECORD = struct.Struct(f"<Q{CALLS}Q")
KEY_PLACE = -512  # on the stack, below what compiled expressions use

U64 = st.integers(0, expressions.MASK)
INTERESTING = st.sampled_from([0, 1, 2, 31, 32, 63, 64, 0x7F, 0xFF, 0x8000, 0xFFFF, *(1 << b for b in (31, 32, 63))])
WIDTH = st.sampled_from([64, 32])
WHOLE = st.builds(Argument, st.integers(1, 5))
NARROW = st.sampled_from([Argument(n, size, at) for n in range(1, 6) for size in (4, 2, 1) for at in range(0, 8, size)])
ARITHMETIC = st.sampled_from([operation for operation in assembler.ALU if operation != "mov"])
COMPARISON = st.sampled_from(list(assembler.JUMP))


@dataclass(frozen=True)
class Example:
    """A program, and the arguments of the calls that it filters."""

    expression: Expression
    arguments: tuple[tuple[int, ...], ...]


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """Constants and arguments come from one pool; otherwise nothing would ever be equal."""
    pool = draw(st.lists(U64, min_size=1, max_size=3))
    values = st.one_of(st.sampled_from(pool), INTERESTING, U64)
    leaves: st.SearchStrategy[Expression] = st.one_of(WHOLE, WHOLE, NARROW, st.builds(Constant, values))
    numbers = st.recursive(leaves, lambda inner: st.builds(Binary, ARITHMETIC, WIDTH, inner, inner), max_leaves=6)
    conditions: st.SearchStrategy[Expression] = st.recursive(
        st.builds(Compare, COMPARISON, WIDTH, numbers, numbers),
        lambda inner: st.one_of(st.builds(Not, inner), st.builds(Both, inner, inner), st.builds(Either, inner, inner)),
        max_leaves=4,
    )
    expression = draw(st.one_of(conditions, conditions, numbers))
    arguments = st.tuples(*[values] * 5)
    return Example(expression, tuple(draw(st.lists(arguments, min_size=CALLS, max_size=CALLS))))


def program(expression: Expression, record: int) -> Code:
    """Return the value of the expression, and keep it in the map."""
    return (
        assembler.mov(expressions.CONTEXT, R1)
        + compile_(expression)
        + assembler.mov(R7, R0)
        + assembler.store(R10, KEY_PLACE, 0, 4)
        + assembler.map_fd(R1, record)
        + assembler.mov(R2, R10)
        + assembler.alu("+", R2, KEY_PLACE)
        + assembler.call(1)  # bpf_map_lookup_elem
        + assembler.jump_if("==", R0, 0, "out")
        + assembler.mov(R1, 1)
        + assembler.fetch_add(R0, 0, R1)
        + assembler.jump_if(">=", R1, CALLS, "out")
        + assembler.alu("<<", R1, 3)
        + assembler.alu("+", R0, R1)
        + assembler.store(R0, 8, R7)
        + assembler.label("out")
        + assembler.mov(R0, R7)
        + assembler.leave()
    )


class Judge(Protocol):
    """Another interpreter of expressions."""

    def judge(self, example: Example) -> tuple[list[int], list[bool]]:
        """What the program returned for each call, and whether the call was traced."""
        ...


def compare(example: Example, kernel: Judge) -> list[bool]:
    """Compare call by call. Returns the verdicts if all agree."""
    returned, traced = kernel.judge(example)
    for arguments, got, was_traced in zip(example.arguments, returned, traced, strict=True):
        expected = evaluate(example.expression, arguments)
        named = ", ".join(f"arg{n} = {value:#x}" for n, value in enumerate(arguments, 1))
        assert got == expected, f"{example.expression} for {named}: the program returned {got:#x}, not {expected:#x}"
        wanted = bool(expected & 0xFFFFFFFF)
        assert was_traced == wanted, (
            f"{example.expression} for {named}: the program returned {got:#x}, "
            f"and the call was {'traced' if was_traced else 'not traced'}"
        )
    return traced
