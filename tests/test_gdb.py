# SPDX-License-Identifier: GPL-2.0
"""GDB's remote protocol, as much of it as the farm speaks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.arch.x86_64 import X86_64
from farm.base.errors import FarmError
from farm.guest.gdb import packet, registers, take_packet

#: The beginning of QEMU 7.2's answer to `g`, at a breakpoint in ftrace_regs_caller.
CAPTURED = (
    "0600000000000000000000000000000060bd52008088ffff0082aa81ffffffffc00200a0ffffffff700100a0ffffffff"
    "b0be52008088ffff60bd52008088ffff55000000000000006600000000000000000000000000000000000000000000"
    "0020b7e38bfd7f000020be52008088ffff0300000000000000f06678c00000000073b70381ffffffff8202000010000000"
    "1800000000000000"
)

#: Payloads with the characters that mean something on the line, more often than by chance.
payloads = st.binary() | st.lists(st.sampled_from([b"#", b"$", b"}", b"*", b"a"])).map(b"".join)


def test_packets_as_they_are_documented() -> None:
    assert packet(b"") == b"$#00"
    assert packet(b"OK") == b"$OK#9a"
    assert packet(b"}") == b"$}]#da"
    assert take_packet(b"$0* #7a") == (b"0000", b"")


@given(payloads)
def test_packet_comes_back(payload: bytes) -> None:
    assert take_packet(packet(payload)) == (payload, b"")


@given(st.lists(payloads, max_size=4), st.data())
def test_packets_come_in_pieces(sent: list[bytes], data: st.DataObject) -> None:
    """Acknowledgements in between, and cut where a socket likes to cut."""
    line = b"".join(b"+" + packet(payload) for payload in sent) + b"+"
    got, buffer = [], b""
    while line:
        cut = data.draw(st.integers(1, len(line)))
        buffer, line = buffer + line[:cut], line[cut:]
        while True:
            payload, buffer = take_packet(buffer)
            if payload is None:
                break
            got.append(payload)
    assert got == sent
    assert buffer == b""


@given(st.binary(min_size=1).filter(lambda payload: not set(payload) & set(b"#$}*")), st.data())
def test_wrong_checksum_is_seen(payload: bytes, data: st.DataObject) -> None:
    line = bytearray(packet(payload))
    at = data.draw(st.integers(1, len(payload)))
    line[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte not in b"#$" and byte != line[at]))
    with pytest.raises(FarmError, match="wrong checksum"):
        take_packet(bytes(line))


@pytest.mark.parametrize("line", [b"$a}#de", b"$a*#8b"])
def test_escape_of_nothing(line: bytes) -> None:
    with pytest.raises(FarmError, match="ends within an escape"):
        take_packet(line)


def test_registers() -> None:
    found = registers(CAPTURED, X86_64.registers)
    assert len(found) == 18
    assert (found["rax"], found["rdx"], found["rdi"]) == (6, 0xFFFFFFFF81AA8200, 0xFFFFFFFFA0000170)
    assert (found["rcx"], found["r8"], found["r15"]) == (found["rsp"], 0x55, 0xC07866F0)
    assert (found["rip"], found["rflags"]) == (0xFFFFFFFF8103B773, 0x282)
    with pytest.raises(FarmError, match="sent 16 bytes of registers, which end before rcx"):
        registers(CAPTURED[:32], X86_64.registers)
