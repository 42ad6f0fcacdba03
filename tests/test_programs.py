# SPDX-License-Identifier: GPL-2.0
"""The assembler and the expressions of the suites: what is compared with the
kernel must be right by itself, and a kernel that is wrong must be seen."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given

from suites import assembler
from suites.assembler import R0, R1, R2, R6, R10, Code, Instruction
from suites.expressions import (
    MASK,
    Argument,
    Binary,
    Both,
    Compare,
    Constant,
    Either,
    Expression,
    Not,
    compile_,
    evaluate,
)
from suites.generated import Example, compare, examples, program

SOURCE = """
 w1 = 5
 r0 s>>= r1
 r2 = *(u16 *)(r6 - 2)
 *(u64 *)(r10 - 8) = r0
 r2 = 0x123456789abcdef0 ll
 if r0 s< r1 goto +1
 if w0 > 4096 goto +0
 call 1
 exit
"""


def test_encoding_is_that_of_clang(tmp_path: Path) -> None:
    code = (
        assembler.alu("mov", R1, 5, 32)
        + assembler.alu("s>>", R0, R1)
        + assembler.load(R2, R6, -2, 2)
        + assembler.store(R10, -8, R0)
        + assembler.constant(R2, 0x123456789ABCDEF0)
        + assembler.jump_if("s<", R0, R1, "end")
        + assembler.jump_if(">", R0, 4096, "end", 32)
        + assembler.label("end")
        + assembler.call(1)
        + assembler.leave()
    )
    (tmp_path / "a.s").write_text(SOURCE)
    assembled, raw = str(tmp_path / "a.o"), str(tmp_path / "a.bin")
    subprocess.run(["clang", "--target=bpf", "-mcpu=v3", "-c", str(tmp_path / "a.s"), "-o", assembled], check=True)
    subprocess.run(["llvm-objcopy", "-O", "binary", "--only-section=.text", assembled, raw], check=True)
    assert assembler.assemble(code) == Path(raw).read_bytes().hex()


def test_jumps_lead_to_their_labels() -> None:
    code = assembler.jump("b") + assembler.label("a") + assembler.mov(R0, 1) + assembler.label("b") + assembler.leave()
    jump, _, _ = assembler.disassemble(assembler.assemble(code))
    assert jump == Instruction(0x05, offset=1)
    with pytest.raises(AssertionError, match="two labels 'a'"):
        assembler.assemble(assembler.label("a") * 2)


@given(examples())
def test_compiled_code_is_whole(example: Example) -> None:
    """Every jump stays within the program, and the stack holds what is put there."""
    instructions = assembler.disassemble(assembler.assemble(program(example.expression, 3)))
    for number, one in enumerate(instructions):
        if one.opcode & 0x07 in (0x05, 0x06) and one.opcode not in (0x85, 0x95):
            assert 0 <= one.offset < len(instructions) - number - 1
        if one.opcode == 0x7B and one.dst == R10:
            assert -512 <= one.offset < 0


ARGUMENTS = (0x1122334455667788, MASK, 0, 1 << 31, 5)

VALUES: list[tuple[Expression, int]] = [
    (Argument(1), 0x1122334455667788),
    (Argument(1, 2, 4), 0x3344),
    (Argument(1, 1, 7), 0x11),
    (Binary("+", 64, Argument(2), Constant(2)), 1),
    (Binary("-", 32, Constant(0), Constant(1)), 0xFFFFFFFF),
    (Binary("*", 64, Argument(2), Argument(2)), 1),
    (Binary("/", 64, Argument(1), Argument(3)), 0),
    (Binary("%", 64, Argument(1), Argument(3)), 0x1122334455667788),
    (Binary("%", 32, Argument(1), Argument(3)), 0x55667788),
    (Binary("<<", 64, Constant(1), Constant(65)), 2),
    (Binary("<<", 32, Constant(1), Constant(33)), 2),
    (Binary(">>", 64, Argument(2), Constant(60)), 15),
    (Binary("s>>", 64, Argument(2), Constant(60)), MASK),
    (Binary("s>>", 32, Argument(4), Constant(31)), 0xFFFFFFFF),
    (Binary("s>>", 64, Argument(4), Constant(31)), 1),
    (Compare("s<", 64, Argument(2), Constant(0)), 1),
    (Compare("<", 64, Argument(2), Constant(0)), 0),
    (Compare("s<", 32, Argument(4), Constant(0)), 1),
    (Compare("s<", 64, Argument(4), Constant(0)), 0),
    (Compare("&", 64, Argument(5), Constant(2)), 0),
    (Compare("&", 64, Argument(5), Constant(6)), 1),
    (Not(Argument(3)), 1),
    (Both(Argument(1), Argument(3)), 0),
    (Either(Argument(3), Argument(1)), 1),
]


@pytest.mark.parametrize("expression, value", VALUES, ids=[str(expression) for expression, _ in VALUES])
def test_values(expression: Expression, value: int) -> None:
    assert evaluate(expression, ARGUMENTS) == value


@dataclass(frozen=True)
class Wrong:
    """A kernel with a bug: `order` are the arguments that it takes for 1 to 5."""

    order: tuple[int, ...] = (0, 1, 2, 3, 4)
    decides: int = 0xFFFFFFFF
    inverted: bool = False

    def judge(self, example: Example) -> tuple[list[int], list[bool]]:
        returned = [
            evaluate(example.expression, [arguments[place] for place in self.order]) for arguments in example.arguments
        ]
        return returned, [bool(value & self.decides) != self.inverted for value in returned]


ONE_CALL = ((1, 2, 3, 4, 1 << 32),)


@pytest.mark.parametrize(
    "kernel, expression, reason",
    [
        (Wrong(order=(0, 1, 3, 2, 4)), Argument(3), "the program returned 0x4, not 0x3"),
        (Wrong(order=(0, 1, 2, 3, 3)), Argument(5), "the program returned 0x4, not 0x100000000"),
        (Wrong(decides=MASK), Argument(5), "the program returned 0x100000000, and the call was traced"),
        (Wrong(decides=1), Argument(2), "the program returned 0x2, and the call was not traced"),
        (Wrong(inverted=True), Constant(1), "the program returned 0x1, and the call was not traced"),
    ],
    ids=["swapped", "missing", "all_64_bits", "lowest_bit", "inverted"],
)
def test_wrong_kernel_is_seen(kernel: Wrong, expression: Expression, reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        compare(Example(expression, ONE_CALL), kernel)


def test_right_kernel_passes() -> None:
    assert compare(Example(Argument(2), ONE_CALL), Wrong()) == [True]
    assert compare(Example(Argument(5), ONE_CALL), Wrong()) == [False]


def _used(code: Code) -> set[int]:
    return {item.dst for item in code if isinstance(item, Instruction)}


def test_compiled_code_leaves_the_other_registers() -> None:
    for expression, _ in VALUES:
        assert _used(compile_(expression)) <= {R0, R1, R10}
